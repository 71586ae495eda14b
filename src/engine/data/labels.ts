/** Which class a label in the data means. */
import { LabError } from '../errors';
import { configLabels } from '../model/loadModel';
import type { Config } from '../model/family';
import type { LabelForm } from './dataset';

export interface LabelSet {
  /** Class names in order of class number. */
  names: string[];
  /** Class number of a value in the data; undefined for a value that is none of the classes. */
  numberOf(label: string | number): number | undefined;
}

/** More classes than this are a mistake, such as identifiers in the label column. */
export const MOST_CLASSES = 100_000;

/** In a csv file whole numbers are no names, in quotes neither. */
const NAME_THEM = 'give them names that are no numbers, such as neg and pos';

export const isWholeNumber = (name: string): boolean => /^-?\d+$/.test(name);

/**
 * A fixed set, e.g. of a resumed run. Texts are names; whole numbers are class numbers, unless every name is a number itself,
 * as in ["1", "2", "3"]: then a number means the class of that name.
 */
export function labelsFromNames(given: readonly string[]): LabelSet {
  const names = [...given];
  const numbers = new Map(names.map((name, number) => [name, number]));
  const numeric = names.every(isWholeNumber);
  return {
    names,
    numberOf: label => {
      if (typeof label === 'string' || numeric) return numbers.get(String(label));
      return label >= 0 && label < names.length ? label : undefined;
    },
  };
}

/**
 * The classes of a new run. Names come from the checkpoint's config where they fit the data, else from the data itself:
 * texts in order of their code points, or the class numbers 0 … n - 1, by the names that the data file has `written` for them.
 * `headClasses` is the number of rows of the stored classifier, null if the checkpoint has none.
 * Error: `dataset.labels`, without a file: `scanLabels` reports the same problems with file and line.
 */
export function labelsFor(config: Record<string, unknown>, headClasses: number | null, values: Iterable<string | number>, least = 2, written: readonly string[] | null = null): LabelSet {
  const data = [...values];
  const known = configLabels(config as Config);
  if (data.length === 0) return labelsFromNames(known);
  const problem = labelProblem(data, least);
  if (problem) throw new LabError({ code: 'dataset.labels', cause: problem.cause, action: problem.action });
  const named = known.some(name => !/^LABEL_\d+$/.test(name));
  const fromConfig = labelsFromNames(known);
  const fitting = data.filter(value => fromConfig.numberOf(value) !== undefined).length;
  if (typeof data[0] === 'string') {
    // A stored head decides the order of its classes; without one, names that have nothing to do with the data are left behind.
    const keep = named ? headClasses !== null || fitting > 0 : fitting === data.length;
    return keep ? fromConfig : labelsFromNames((data as string[]).sort(byCodePoint));
  }
  // Without a head, names that another one had are kept where all data fits and has no names of its own.
  if (named && (headClasses !== null || !written && fitting === data.length)) return fromConfig;
  const classes = (data as number[]).reduce((most, number) => Math.max(most, number)) + 1;
  const promised = Math.max(headClasses ?? 0, named ? 0 : known.length);
  if (written && classes <= written.length && promised <= written.length && namesNumbers(written)) return labelsFromNames(written);
  const lowest = (data as number[]).reduce((least, number) => Math.min(least, number));
  if (headClasses !== null && classes > headClasses && classes - lowest <= headClasses) {
    throw new LabError({ code: 'dataset.labels', cause: `the class numbers go from ${lowest} to ${classes - 1}, and the ${headClasses} classes of the checkpoint's head have the numbers 0 to ${headClasses - 1}`, action: `number the classes from 0 on, or ${NAME_THEM}` });
  }
  // 10 numbers in use for every 100 classes are plausible in a small sample; 2 for 5,000 are not class numbers.
  if (classes > promised && classes > Math.max(1000, 10 * data.length)) {
    throw new LabError({ code: 'dataset.labels', cause: `the class numbers go up to ${classes - 1}, but only ${data.length} different ones occur`, action: `number the classes 0, 1, 2, …, or ${NAME_THEM}` });
  }
  return labelsFromNames(Array.from({ length: Math.max(classes, promised) }, (_, number) => String(number)));
}

/** The config for `labelsFor`: multi-hot lists of another length than the names in it are of other classes, unless a head is stored, which has those. */
export const namingConfig = (config: Record<string, unknown>, form: LabelForm, headClasses: number | null, classes: number): Record<string, unknown> =>
  (form === 'multi-hot' && headClasses === null && configLabels(config as Config).length !== classes ? {} : config);

/** Whether the number of a class may stand for its name: not where the names are other numbers themselves. */
const namesNumbers = (names: readonly string[]): boolean => {
  const { numberOf } = labelsFromNames(names);
  return names.every((_, number) => numberOf(number) === number);
};

/** What is wrong with the distinct labels of a training file, and the value that shows it. `least`: how many there must be. */
export function labelProblem(values: Iterable<string | number>, least = 2): { value: string | number; cause: string; action: string } | undefined {
  let first: string | number | undefined;
  let count = 0;
  for (const value of values) {
    first ??= value;
    count += 1;
    if (typeof value !== typeof first) {
      return { value, cause: `the label ${JSON.stringify(value)} is a ${kind(value)}, but ${JSON.stringify(first)} is a ${kind(first)}`, action: 'write all labels as texts, or all as class numbers' };
    }
    if (typeof value === 'number' && value < 0) return { value, cause: `the class number ${value} is negative`, action: `number the classes 0, 1, 2, …, or ${NAME_THEM}` };
    if (typeof value === 'number' && value >= MOST_CLASSES) return { value, cause: `the class number ${value} is too large`, action: 'number the classes 0, 1, 2, …, and check dataset.label_column' };
    if (count > MOST_CLASSES) return { value, cause: `there are more than ${MOST_CLASSES} different labels`, action: 'check dataset.label_column' };
  }
  if (count >= least || count === 0) return undefined;
  return { value: first!, cause: `every example has the label ${JSON.stringify(first)}; one class cannot be learned`, action: 'add examples of another class' };
}

const kind = (value: string | number): string => (typeof value === 'number' ? 'number' : 'text');

/** JavaScript's own order is by UTF-16 unit, which differs from Python's above U+FFFF. */
function byCodePoint(a: string, b: string): number {
  const left = Array.from(a, character => character.codePointAt(0)!);
  const right = Array.from(b, character => character.codePointAt(0)!);
  const place = left.findIndex((point, i) => point !== right[i]);
  return place < 0 ? left.length - right.length : left[place] - (right[place] ?? -1);
}
