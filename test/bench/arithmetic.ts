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

/**
 * By how much speeds are those that the count of operations predicts, turn by turn: of each point, its speed beside the first point's in the same turn, times
 * what it issues of operations beside it. `seconds` are those of a step, which has the same tokens at each point.
 */
export function besideCount(seconds: readonly number[], issued: number, first: { seconds: readonly number[]; issued: number }): number[] {
  return seconds.map((own, turn) => (first.seconds[turn] / own) * (issued / first.issued));
}

/**
 * Numbers of the quietest turns, that `share` of them: those in which all points together were quickest, each measured by its own step in the middle, so that
 * none counts more than another. Of the others something else on the machine took a part, and from a program that needs its caches more than from one that does not.
 */
export function quietest(seconds: readonly (readonly number[])[], share: number): number[] {
  const middles = seconds.map(median);
  const whole = seconds[0].map((_, turn) => seconds.reduce((sum, own, i) => sum + own[turn] / middles[i], 0));
  return [...whole.keys()].sort((a, b) => whole[a] - whole[b]).slice(0, Math.max(1, Math.round(share * whole.length)));
}

/** Speed of so many experiments in `seconds` as if each had made all steps of the row, whose examples are of one length. */
export function sweepSpeed({ steps, batch, lengths }: Pick<Row, 'steps' | 'batch' | 'lengths'>, experiments: number, seconds: number): Speed {
  const examples_per_second = (experiments * steps * batch) / seconds;
  return { examples_per_second, tokens_per_second: examples_per_second * lengths[0] };
}
