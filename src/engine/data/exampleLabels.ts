/** The labels of a data file in memory, as training needs them: a class number, several of them, or a value. */
import type { ProblemType } from '../../protocol/experiment';
import { LabError } from '../errors';
import type { Example } from '../training/step.types';
import { placeIn, problem, type LabelForm, type Row } from './dataset';
import { GrowingIntegers } from './growingIntegers';
import type { LabelSet } from './labels';

/** What stands for a 0 or a 1 in a multi-hot list. */
export const BITS: ReadonlyMap<string | number, number> = new Map<string | number, number>([[0, 0], [1, 1], ['false', 0], ['true', 1]]);

export const MULTI_HOT_ACTION = 'give each list one number for each class, or write lists of class names';

export interface ExampleLabels {
  /** Errors: `dataset.unknown-label`, `dataset.multi-hot`. */
  add(row: Row): void;
  get(i: number): Pick<Example, 'label' | 'classes'>;
}

export function exampleLabels(problem_type: ProblemType, labels: LabelSet, file: string, form: LabelForm): ExampleLabels {
  if (problem_type === 'regression') {
    const values: number[] = [];
    return { add: row => { values.push(row.label as number); }, get: i => ({ label: values[i] }) };
  }
  if (problem_type === 'single_label_classification') {
    const numbers = new GrowingIntegers();
    // A number beside names is no class number, but a name.
    const named = (label: string | number): string | number => (form === 'names' ? String(label) : label);
    return { add: row => numbers.push(classOf(named(row.label!), row, labels, file)), get: i => ({ label: numbers.at(i) }) };
  }
  const numbers = new GrowingIntegers();
  const ends = new GrowingIntegers();
  return {
    add(row) {
      // A class that is named twice counts once.
      for (const number of form === 'multi-hot' ? hotClasses(row, labels, file) : new Set(row.labels!.map(label => classOf(label, row, labels, file)))) numbers.push(number);
      ends.push(numbers.length);
    },
    get: i => ({ label: 0, classes: numbers.view(i ? ends.at(i - 1) : 0, ends.at(i)) }),
  };
}

/** The classes that have a 1. */
function hotClasses({ labels = [], line }: Row, { names }: LabelSet, file: string): number[] {
  const bits = labels.map(label => BITS.get(label));
  if (bits.length !== names.length || bits.includes(undefined)) {
    throw problem('dataset.multi-hot', { file, line }, `the list is not a 0 or 1 for each of the ${names.length} classes, as the labels of the training data are read`, MULTI_HOT_ACTION);
  }
  return bits.flatMap((bit, number) => (bit ? [number] : []));
}

/** The class that a label means. Error: `dataset.unknown-label`. */
export function classOf(label: string | number, { line }: Pick<Row, 'line'>, labels: LabelSet, file: string): number {
  const number = labels.numberOf(label);
  if (number !== undefined) return number;
  const some = labels.names.slice(0, 10).map(name => JSON.stringify(name)).join(', ');
  throw new LabError({
    code: 'dataset.unknown-label', file, where: placeIn({ file, line }), cause: `the label ${JSON.stringify(label)} is none of the classes ${some}${labels.names.length > 10 ? `, … (${labels.names.length})` : ''}`,
    action: 'correct the label: only classes that the training data or the checkpoint name can be learned',
  });
}
