/** What is measured: checkpoints, data of given lengths, and how PEFT would batch it. */
import { random } from '../../src/engine/random';
import type { BaseName } from './bases';

export interface Row {
  name: string;
  base: BaseName;
  /** Examples by their length in tokens, special tokens included. */
  lengths: number[];
  /** Of an encoder-decoder, whose `lengths` are those of the sources: lengths of the targets. */
  targets?: number[];
  batch: number;
  /** Optimizer steps of one measurement. More than one pass where they need more examples. */
  steps: number;
  /** So many first steps are left out of the speed; default 1. */
  warm_up?: number;
  /** The first step counts, too: it does work that later ones are spared. */
  counts_first?: true;
  /** Dropout of the base and of the adapters. */
  dropout: number;
  /** Default 8. */
  rank?: number;
  target_modules: string | string[];
  /** All weights are trained, without adapters; ours only. */
  full?: true;
  /** Layers with adapters; default all. */
  layers?: number[];
  /** Experiments that differ, in one process of ours and one after the other in PEFT; speed is that of all of them, as if each were trained to its end. */
  sweep?: Record<string, unknown>;
  /** Our batches are so many rows of 512 tokens, which examples share (`training.packing`); PEFT's are `batch` examples, as ours are without it. */
  packed_rows?: number;
  /** Share of each example's tokens that is learned, at its end; default all. */
  labelled?: number;
  /** Settings of the adapters beside those of the row; ours only. */
  lora?: Record<string, unknown>;
  /** Settings of the training beside those of the row. */
  training?: Record<string, unknown>;
  /** Settings of our engine beside the device. */
  engine?: Record<string, unknown>;
  /** How PEFT batches: to 128 tokens as the reference recipe does, to the longest of the batch, or batches of similar length. */
  padding: 'max_length' | 'longest' | 'grouped';
  /** Speed in these units. */
  unit: 'tokens/s' | 'examples/s';
  /** Ours ÷ PEFT that the project asks of itself; nothing where there is none. */
  must?: number;
  /** `must` is ours ÷ ours with the base in fp32. */
  must_of_fp32?: true;
}

export const dense = (count: number, length: number): number[] => Array<number>(count).fill(length);

/** Log-normal lengths of at least 4 tokens. */
function logNormal(count: number, mean_of_log: number, deviation_of_log: number, most: number): number[] {
  const stream = random(1, 'bench-lengths');
  return Array.from({ length: count }, () => Math.min(most, Math.max(4, Math.round(Math.exp(mean_of_log + deviation_of_log * stream.normal())))));
}

/** Lengths as SST-2 has them: mean about 24.5, at most 66. */
const sst2 = (count: number): number[] => logNormal(count, 3.03, 0.56, 66);

const EIGHT = { 'lora.r': [4, 8], 'training.learning_rate': [1e-4, 2e-4, 5e-4, 1e-3] };
const bert = { base: 'bert-base' as const, batch: 16, dropout: 0, target_modules: ['query', 'value'], padding: 'longest' as const };
/** After the first step each batch is measured once. */
const ragged = { ...bert, lengths: sst2(256), steps: 17, unit: 'examples/s' as const };
const gpt2 = { base: 'gpt2' as const, lengths: dense(40, 256), batch: 8, steps: 5, dropout: 0, target_modules: ['c_attn'], padding: 'longest' as const, unit: 'tokens/s' as const };

/** Short texts of 59 tokens on average, at most 512. A pass is six steps, packed or not, and six steps after the first are measured: 5,686 real tokens on every side. */
const texts = { ...gpt2, lengths: logNormal(96, 3.86, 0.7, 512), batch: 16, steps: 7 };

export const ROWS: Row[] = [
  { ...bert, name: 'BERT-base, query and value, 16 × 128 tokens', lengths: dense(160, 128), steps: 7, unit: 'tokens/s', must: 1 },
  { ...ragged, name: 'SST-2-like lengths, against padding to 128 (the reference recipe)', padding: 'max_length', must: 6.5 },
  { ...ragged, name: 'the same, against padding to the longest of the batch', must: 1.9 },
  { ...ragged, name: 'the same, against batches of similar length', padding: 'grouped', must: 1.05 },
  { ...ragged, name: 'the same with dropout 0.1, against padding to the longest', must: 1.9, dropout: 0.1 },
  { ...gpt2, name: 'GPT-2 small, c_attn, 8 × 256 tokens', must: 1.5 },
  { ...gpt2, name: 'GPT-2 small, prompts and completions, 30 % of the tokens learned', labelled: 0.3, must: 1.8 },
  { ...gpt2, name: 'Qwen2-0.5B shape, all-linear, 2 × 512 tokens', base: 'qwen2-0.5b', lengths: dense(8, 512), batch: 2, steps: 4, target_modules: 'all-linear', must: 1 },
  { ...bert, name: 'BERT-base, adapters in the top 4 layers, 3 epochs', lengths: dense(48, 128), steps: 9, counts_first: true, layers: [8, 9, 10, 11], unit: 'tokens/s', must: 1.3 },
  { ...bert, name: '8 experiments in one process against one by one, adapters in the top 4 layers, 3 epochs', lengths: dense(32, 128), steps: 6, counts_first: true, layers: [8, 9, 10, 11], sweep: EIGHT, unit: 'tokens/s', must: 1.7 },
  { ...bert, name: 'the same with successive halving, speed as if each were trained to its end', lengths: dense(32, 128), steps: 6, counts_first: true, layers: [8, 9, 10, 11], sweep: { ...EIGHT, halving: { eta: 2, min_epochs: 1 } }, unit: 'tokens/s', must: 3 },
  { ...bert, name: 'the same with base weights in `int8` (PEFT in fp32)', lengths: dense(160, 128), steps: 7, unit: 'tokens/s', must: 1.6, engine: { precision: 'int8', compare_precision: 'off' } },
  { ...bert, name: 'the same with base weights in `int4` (PEFT in fp32)', lengths: dense(160, 128), steps: 7, unit: 'tokens/s', must: 0.9, must_of_fp32: true, engine: { precision: 'int4', compare_precision: 'off' } },
  { ...gpt2, name: 'GPT-2 small, c_attn, 2 × 1,024 tokens', lengths: dense(10, 1024), batch: 2 },
  { ...texts, name: 'GPT-2 small, short texts (about 60 tokens), packed into 2 × 512, against 16 padded to the longest', packed_rows: 2 },
  { ...texts, name: 'the same, not packed, against batches of similar length', padding: 'grouped' },
];

/** In which order the README has them: each "the same" below what it is the same as. Their numbers stay what they are. */
const ORDER = [1, 12, 13, 2, 3, 4, 5, 6, 14, 7, 15, 16, 8, 9, 10, 11];

/** Rows in the README's order, those that are not in `ROWS` after the others as they stand. */
export function inOrder(rows: readonly Row[]): Row[] {
  const place = (row: Row): number => { const number = ROWS.indexOf(row) + 1; return number ? ORDER.indexOf(number) : ORDER.length; };
  return [...rows].sort((a, b) => place(a) - place(b));
}

/** The row with our base weights in this precision, if it has none of its own. Of such a row nothing is asked. */
export const rounded = (row: Row, precision: string | undefined): Row =>
  (precision === undefined || row.engine?.precision ? row : { ...row, name: `${row.name}, ours in \`${precision}\``, must: undefined, engine: { ...row.engine, precision, compare_precision: 'off' } });

/** Those of `all` that `--rows` names by their numbers, counted from 1; without it all. */
export function named<T>(all: T[], rows: string | undefined): T[] {
  return rows?.split(',').map(number => {
    const row = all[Number(number) - 1];
    if (!row) throw new Error(`--rows ${number}: there are rows 1 to ${all.length}`);
    return row;
  }) ?? all;
}
