/** What an evaluation measures beside the loss. Metrics that are not defined for the data are left out, never NaN. */
import type { ProblemType } from '../../protocol/experiment';
import type { EvalResult } from '../../protocol/metrics';
import type { Example } from './step.types';

/** Classes whose F1 are written one by one; with more only their mean is. */
export const MOST_LISTED = 100;

export interface Measurement {
  /** Takes in the logits of a batch, [examples, num_labels] row after row. */
  add(examples: readonly Example[], logits: Float32Array): void;
  result(): Omit<EvalResult, 'loss'>;
}

export function measurement(problem_type: ProblemType, labels: readonly string[]): Measurement {
  switch (problem_type) {
    case 'single_label_classification': return oneClass(labels);
    case 'multi_label_classification': return severalClasses(labels);
    case 'regression': return values();
  }
}

/** Accuracy, F1 and Matthews' correlation of classes. A class that is neither right nor predicted anywhere does not count, as in scikit-learn. */
function oneClass(labels: readonly string[]): Measurement {
  const counts = new Counts(labels);
  let right = 0, total = 0;
  return {
    add(examples, logits) {
      examples.forEach(({ label }, row) => {
        const predicted = largest(logits.subarray(row * labels.length, (row + 1) * labels.length));
        counts.add(label, predicted);
        if (predicted === label) right += 1;
        total += 1;
      });
    },
    result() {
      const matthews_correlation = matthews(counts.actual, counts.predicted, right, total);
      return { accuracy: right / total, ...counts.f1(false), ...(matthews_correlation === null ? {} : { matthews_correlation }) };
    },
  };
}

/** Share of examples whose classes are all right, and F1 over the classes. A class applies where its probability is above one half. */
function severalClasses(labels: readonly string[]): Measurement {
  const counts = new Counts(labels);
  let right = 0, total = 0;
  return {
    add(examples, logits) {
      examples.forEach(({ classes = new Int32Array(0) }, row) => {
        let wrong = 0;
        for (let k = 0; k < labels.length; k++) {
          const [is, predicted] = [classes.includes(k), logits[row * labels.length + k] > 0];
          counts.add(is ? k : -1, predicted ? k : -1);
          if (is !== predicted) wrong += 1;
        }
        if (wrong === 0) right += 1;
        total += 1;
      });
    },
    result: () => ({ accuracy: right / total, ...counts.f1(true) }),
  };
}

/** Pearson's and Spearman's correlation of values. */
function values(): Measurement {
  const found: number[] = [], expected: number[] = [];
  return {
    add(examples, logits) {
      examples.forEach(({ label }, row) => { found.push(logits[row]); expected.push(label); });
    },
    result() {
      const [linear, monotone] = [pearson(found, expected), pearson(ranks(found), ranks(expected))];
      return { ...(linear === null ? {} : { pearson: linear }), ...(monotone === null ? {} : { spearman: monotone }) };
    },
  };
}

/** How often each class was right, was predicted, and was both. */
export class Counts {
  readonly actual: Float64Array;
  readonly predicted: Float64Array;
  readonly both: Float64Array;

  constructor(private readonly labels: readonly string[]) {
    [this.actual, this.predicted, this.both] = [0, 1, 2].map(() => new Float64Array(labels.length));
  }

  /** -1 stands for none. */
  add(actual: number, predicted: number): void {
    if (actual >= 0) this.actual[actual] += 1;
    if (predicted >= 0) this.predicted[predicted] += 1;
    if (actual >= 0 && actual === predicted) this.both[actual] += 1;
  }

  /** 2 · both / (actual + predicted) of each class and their mean. `all`: also of classes that never occur, whose F1 is 0. */
  f1(all: boolean): Pick<EvalResult, 'f1' | 'f1_per_class'> {
    const occurring = this.labels.flatMap((name, k): [string, number][] => {
      const sum = this.actual[k] + this.predicted[k];
      return sum > 0 ? [[name, 2 * this.both[k] / sum]] : all ? [[name, 0]] : [];
    });
    const f1 = occurring.reduce((sum, [, value]) => sum + value, 0) / occurring.length;
    return this.labels.length > MOST_LISTED ? { f1 } : { f1, f1_per_class: Object.fromEntries(occurring) };
  }
}

/**
 * Matthews' correlation for any number of classes (Gorodkin 2004). Null where all examples are of one class; 0 where only
 * one is ever predicted, as in scikit-learn.
 */
export function matthews(actual: Float64Array, predicted: Float64Array, right: number, total: number): number | null {
  const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const spread = (counts: Float64Array): number => total * total - dot(counts, counts);
  if (spread(actual) === 0) return null;
  return spread(predicted) === 0 ? 0 : (right * total - dot(actual, predicted)) / Math.sqrt(spread(actual) * spread(predicted));
}

/** Pearson's correlation; null where fewer than two values or all the same make it undefined. */
export function pearson(x: ArrayLike<number>, y: ArrayLike<number>): number | null {
  const mean = (values: ArrayLike<number>): number => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
  const centred = (values: ArrayLike<number>): number[] => { const middle = mean(values); return Array.from(values, value => value - middle); };
  const constant = (values: ArrayLike<number>): boolean => Array.from(values).every(value => value === values[0]);
  if (x.length < 2 || constant(x) || constant(y)) return null;
  const [a, b] = [centred(x), centred(y)];
  const product = (p: number[], q: number[]): number => p.reduce((sum, value, i) => sum + value * q[i], 0);
  const r = product(a, b) / Math.sqrt(product(a, a)) / Math.sqrt(product(b, b));
  // A value that is not finite has no place in a correlation.
  return Number.isFinite(r) ? Math.max(-1, Math.min(1, r)) : null;
}

/** Ranks from 1; equal values share the mean of theirs. */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((a, b) => values[a] - values[b]);
  const result = new Float64Array(values.length);
  for (let from = 0; from < order.length;) {
    let to = from + 1;
    while (to < order.length && values[order[to]] === values[order[from]]) to += 1;
    for (let i = from; i < to; i++) result[order[i]] = (from + 1 + to) / 2;
    from = to;
  }
  return result;
}

/** Place of the largest value; the first of equal ones. */
export function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
