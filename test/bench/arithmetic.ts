/** What is computed from measured times: nothing here measures. */
import type { Row } from './rows';

export interface Speed { tokens_per_second: number; examples_per_second: number }
/** Where a run is after a step: seconds, tokens and steps since its beginning. */
export interface Progress { time: number; tokens: number; step: number }

const NOTHING: Progress = { time: 0, tokens: 0, step: 0 };

/** The value in the middle, of an even number of them the mean of the two there. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Steps that are left out of the speed. */
export const warmUp = ({ counts_first, warm_up = 1 }: Pick<Row, 'counts_first' | 'warm_up'>): number => (counts_first ? 0 : warm_up);

/** Speed of the steps after those of the warm-up, of records of each step. */
export function speedAfterWarmUp(row: Pick<Row, 'counts_first' | 'warm_up' | 'batch'>, records: readonly Progress[]): Speed {
  const before = records[warmUp(row) - 1] ?? NOTHING, last = records.at(-1)!;
  const seconds = last.time - before.time;
  return { tokens_per_second: (last.tokens - before.tokens) / seconds, examples_per_second: ((last.step - before.step) * row.batch) / seconds };
}

/** Seconds of each step after those of the warm-up. */
export function stepSeconds(row: Pick<Row, 'counts_first' | 'warm_up'>, records: readonly Pick<Progress, 'time'>[]): number[] {
  return records.slice(warmUp(row)).map(({ time }, i) => time - (records[warmUp(row) + i - 1] ?? NOTHING).time);
}

/** Speed of so many experiments in `seconds` as if each had made all steps of the row, whose examples are of one length. */
export function sweepSpeed({ steps, batch, lengths }: Pick<Row, 'steps' | 'batch' | 'lengths'>, experiments: number, seconds: number): Speed {
  const examples_per_second = (experiments * steps * batch) / seconds;
  return { examples_per_second, tokens_per_second: examples_per_second * lengths[0] };
}
