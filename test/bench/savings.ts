/**
 * What each saving of the engine brings: step time and peak memory with that one off, beside those with all of them on.
 *
 *   npm run bench -- --savings [--rounds 1] [--steps 3] [--without NAME,NAME] [--out table.md]
 */
import { SAVING_NAMES, SAVINGS, type SavingName } from '../../src/protocol/savings';
import { median } from './arithmetic';
import { measureOurs, prepare, type Measurement } from './measure';
import { ROWS, type Row } from './rows';

const [bert, ragged, completions, upper, long] = [ROWS[0], ROWS[2], ROWS[6], ROWS[8], ROWS[13]];
/** Trained whole. */
const whole: Row = { ...bert, name: 'BERT-small, trained whole, 16 × 128 tokens', base: 'bert-small', full: true, training: { learning_rate: 1e-5 } };
/** A text that an encoder attends to in blocks. */
const encoder: Row = { ...bert, name: 'BERT-small, 2,048 tokens', base: 'bert-small-2048', lengths: Array<number>(8).fill(2048), batch: 1 };
const NAMES = new Map([[encoder, encoder.name], [whole, 'BERT-small, trained whole, 16 × 128'], [bert, 'BERT-base, 16 × 128'], [ragged, 'BERT-base, SST-2-like lengths, batch 16'], [completions, 'GPT-2 small, prompts and completions, 8 × 256'], [upper, 'BERT-base, adapters in the top 4 layers, 3 epochs'], [long, 'GPT-2 small, 2 × 1,024']]);

/** Rows on which a saving has something to save; of the others BERT-base's first. */
const SHOWN_ON: Partial<Record<SavingName, Row[]>> = { padding_free: [ragged], labelled_positions: [completions], chunked_loss: [completions], portions: [bert, completions, whole], optimizer_pieces: [whole], trained_views: [whole], prefix_cache: [upper], attention_blocks: [long, encoder], folded_masks: [encoder], flushed_denormals: [long] };

/** Names of savings, separated by commas. Throws for one that there is not. */
export function savingNames(list: string): SavingName[] {
  return list.split(',').map(name => {
    if (!(SAVING_NAMES as string[]).includes(name)) throw new Error(`"${name}" is no saving; there are ${SAVING_NAMES.join(', ')}`);
    return name as SavingName;
  });
}

/** The row with these savings off. */
export const withoutSavings = (row: Row, without: SavingName[]): Row => (without.length ? { ...row, engine: { ...row.engine, without } } : row);

/** A table of one line for each saving and row that shows it. In each round all on and one off take turns. */
export async function measureSavings({ rounds, steps, chosen = SAVING_NAMES }: { rounds: number; steps: number; chosen?: SavingName[] }): Promise<string[]> {
  const table = ['| without | saves | measured with | step | with all | peak memory | with all |', '| --- | --- | --- | --- | --- | --- | --- |'];
  const lines = chosen.flatMap(name => (SHOWN_ON[name] ?? [bert]).map(row => ({ row, name })));
  for (const row of new Set(lines.map(line => line.row))) {
    const short = row.counts_first ? row : { ...row, steps: (row.warm_up ?? 1) + steps };
    const own = lines.filter(line => line.row === row);
    const arms = [[], ...own.map(({ name }) => [name])].map(off => ({ changed: withoutSavings(short, off), measured: [] as Measurement[] }));
    for (let round = 0; round < rounds; round++) {
      for (const { changed, measured } of arms) {
        await prepare(changed);
        measured.push(await measureOurs(changed));
      }
    }
    const [all, ...others] = arms.map(({ measured }) => ({ seconds: median(measured.map(m => row.batch / m.examples_per_second)), memory: median(measured.map(m => m.peak_memory_bytes)) }));
    for (const [i, { name }] of own.entries()) {
      const { seconds, memory } = others[i];
      table.push(`| \`${name}\` | ${SAVINGS[name].saves} | ${NAMES.get(row)} | ${seconds.toFixed(2)} s (${share(seconds / all.seconds)}) | ${all.seconds.toFixed(2)} s | ${(memory / 1e9).toFixed(2)} GB (${share(memory / all.memory)}) | ${(all.memory / 1e9).toFixed(2)} GB |`);
      console.log(table.at(-1));
    }
  }
  return table;
}

/** `+12 %` */
const share = (ratio: number): string => `${ratio < 1 ? '−' : '+'}${Math.abs(100 * (ratio - 1)).toFixed(0)} %`;
