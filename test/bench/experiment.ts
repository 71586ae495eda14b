/** Data and experiment of one row of the bench. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { random } from '../../src/engine/random';
import { BASES, word, wordsOf } from './bases';
import type { Row } from './rows';
import type { Changes } from '../../src/protocol/sweep';

/** Writes `train.jsonl`, `bench.lora.json` and the dropout into the base's config.json. Of a sweep, `member` is the experiment to write in its place. */
export function writeExperiment(folder: string, row: Row, member?: Changes): void {
  const { task, config, dropout } = BASES[row.base];
  const stream = random(2, 'bench-words');
  const words = (count: number): string => Array.from({ length: count }, () => word(Math.floor(stream.next() * wordsOf(config)))).join(' ');
  const lines = row.lengths.map((length, i) => {
    // [CLS] and [SEP] around a text, the end-of-text token after what a language model learns.
    if (task === 'SEQ_CLS') return { text: words(length - 2), label: i % 2 };
    if (row.targets) return { source: words(length), target: words(row.targets[i] - 1) };
    if (row.labelled === undefined) return { text: words(length - 1) };
    const completion = Math.round(length * row.labelled);
    return { prompt: words(length - completion), completion: ` ${words(completion - 1)}` };
  });
  writeFileSync(join(folder, 'train.jsonl'), `${lines.map(line => JSON.stringify(line)).join('\n')}\n`);
  writeFileSync(join(folder, row.base, 'config.json'), JSON.stringify({ ...config, ...Object.fromEntries(dropout.map(key => [key, row.dropout])) }));
  // To be halved, the members of a sweep are compared on a few examples.
  const halving = row.sweep?.halving !== undefined && !member;
  if (halving) writeFileSync(join(folder, 'eval.jsonl'), `${lines.slice(0, row.batch / 2).map(line => JSON.stringify(line)).join('\n')}\n`);
  const of = (section: string): object => Object.fromEntries(Object.entries(member ?? {}).flatMap(([key, value]) => (key.startsWith(`${section}.`) ? [[key.slice(section.length + 1), value]] : [])));
  writeFileSync(join(folder, 'bench.lora.json'), JSON.stringify({
    base_model: row.base, task, ...(row.sweep && !member ? { sweep: row.sweep } : {}),
    dataset: { train: 'train.jsonl', ...(halving ? { eval: 'eval.jsonl' } : {}), ...(row.labelled === undefined ? {} : { prompt_column: 'prompt', completion_column: 'completion' }) },
    lora: row.full ? null : { r: row.rank ?? 8, lora_alpha: 16, target_modules: row.target_modules, lora_dropout: row.dropout, ...(row.layers ? { layers_to_transform: row.layers } : {}), ...row.lora, ...of('lora') },
    training: {
      per_device_train_batch_size: row.batch, max_steps: row.steps, learning_rate: 5e-4, lr_scheduler_type: 'constant', shuffle: false, max_length: Math.max(...row.lengths, 128), save_strategy: 'no', eval_strategy: halving ? 'epoch' : 'no', ...row.training, ...of('training'),
      ...(row.packed_rows === undefined ? {} : { packing: true, per_device_train_batch_size: row.packed_rows, max_length: 512 }),
    },
    engine: { device: 'cpu', ...row.engine }, output_dir: 'run',
  }, null, 2));
}
