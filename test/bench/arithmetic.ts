/** What is computed from measured times: nothing here measures. */
import type { Row } from './rows';

export interface Speed { tokens_per_second: number; examples_per_second: number }
/** Where a run is after a step: seconds, tokens and steps since its beginning. */
export interface Progress { time: number; tokens: number; step: number }

const NOTHING: Progress = { time: 0, tokens: 0, step: 0 };

/** The value below which `share` of the values are; where that is between two of them, so far between them. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

/** The value in the middle, of an even number of them the mean of the two there. */
export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Steps that are left out of the speed. */
export const warmUp = ({ counts_first, warm_up = 1 }: Pick<Row, 'counts_first' | 'warm_up'>): number => (counts_first ? 0 : warm_up);

/** Speed of the steps after those of the warm-up, of records of each step. */
export function speedAfterWarmUp(row: Pick<Row, 'counts_first' | 'warm_up' | 'batch'>, records: readonly Progress[]): Speed {
  const before = records[warmUp(row) - 1] ?? NOTHING, last = records.at(-1)!;
  const seconds = last.time - before.time;
  return { tokens_per_second: (last.tokens - before.tokens) / seconds, examples_per_second: ((last.step - before.step) * row.batch) / seconds };
}

/** Seconds of the steps of a turn but its first, of the times after each step and, before them, after the last one of the turn before. */
export const stepsOfTurn = (times: readonly number[]): number[] => times.slice(2).map((time, i) => time - times[i + 1]);

/** What issues so many operations in a step, and the seconds of its steps in each turn. */
export interface Counted { issued: number; turns: readonly (readonly number[])[] }

/** How fast a point is beside what its count of operations predicts from the first point. `seconds` says how long a step takes, of the steps of all turns. */
export const besideCount = (point: Counted, first: Counted, seconds: (turns: Counted['turns']) => number): number =>
  (seconds(first.turns) / seconds(point.turns)) * (point.issued / first.issued);

/** Speed of so many experiments in `seconds` as if each had made all steps of the row, whose examples are of one length. */
export function sweepSpeed({ steps, batch, lengths }: Pick<Row, 'steps' | 'batch' | 'lengths'>, experiments: number, seconds: number): Speed {
  const examples_per_second = (experiments * steps * batch) / seconds;
  return { examples_per_second, tokens_per_second: examples_per_second * lengths[0] };
}
