/** What is measured: full-size checkpoints with random weights, data of given lengths, and how PEFT would batch it. */
import { random } from '../../src/engine/random';

export interface Row {
  name: string;
  /** Examples by their length in tokens, special tokens included. */
  lengths: number[];
  batch: number;
  /** Optimizer steps of one measurement; the first one is left out of the speed. */
  steps: number;
  /** Dropout of the base and of the adapters. */
  dropout: number;
  target_modules: string[];
  /** Layers with adapters, from the top; null means all. */
  top_layers?: number;
  /** How PEFT batches: to 128 tokens as the reference recipe does, to the longest of the batch, or batches of similar length. */
  padding: 'max_length' | 'longest' | 'grouped';
  /** Speed in these units. */
  unit: 'tokens/s' | 'examples/s';
  /** Ours ÷ PEFT that must be reached. */
  must: number;
}

const dense = (count: number, length: number): number[] => Array<number>(count).fill(length);

/** Lengths as SST-2 has them: log-normal, mean about 24.5, at most 66. */
function sst2(count: number): number[] {
  const stream = random(1, 'bench-lengths');
  return Array.from({ length: count }, () => Math.min(66, Math.max(4, Math.round(Math.exp(3.03 + 0.56 * stream.normal())))));
}

const QV = ['query', 'value'];
const base = { batch: 16, dropout: 0, target_modules: QV };

export const ROWS: Row[] = [
  { ...base, name: 'BERT-base, query and value, 16 × 128 tokens', lengths: dense(160, 128), steps: 7, padding: 'longest', unit: 'tokens/s', must: 1 },
  { ...base, name: 'SST-2-like lengths, against padding to 128 (the reference recipe)', lengths: sst2(256), steps: 16, padding: 'max_length', unit: 'examples/s', must: 6.5 },
  { ...base, name: 'the same, against padding to the longest of the batch', lengths: sst2(256), steps: 16, padding: 'longest', unit: 'examples/s', must: 1.9 },
  { ...base, name: 'the same, against batches of similar length', lengths: sst2(256), steps: 16, padding: 'grouped', unit: 'examples/s', must: 1.05 },
  { ...base, name: 'the same with dropout 0.1, against padding to the longest', lengths: sst2(256), steps: 16, padding: 'longest', unit: 'examples/s', must: 1.9, dropout: 0.1 },
];
