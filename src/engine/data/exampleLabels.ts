/** The labels of a data file in memory, as training needs them: a class number, several of them, or a value. */
import type { ProblemType } from '../../protocol/experiment';
import { LabError } from '../errors';
import type { Example } from '../training/step.types';
import { placeIn, type Row } from './dataset';
import { GrowingIntegers } from './growingIntegers';
import type { LabelSet } from './labels';

export interface ExampleLabels {
  /** Error: `dataset.unknown-label`. */
  add(row: Row): void;
  get(i: number): Pick<Example, 'label' | 'classes'>;
}

export function exampleLabels(problem_type: ProblemType, labels: LabelSet, file: string): ExampleLabels {
  if (problem_type === 'regression') {
    const values: number[] = [];
    return { add: row => { values.push(row.label as number); }, get: i => ({ label: values[i] }) };
  }
  if (problem_type === 'single_label_classification') {
    const numbers = new GrowingIntegers();
    return { add: row => numbers.push(classOf(row.label!, row, labels, file)), get: i => ({ label: numbers.at(i) }) };
  }
  const numbers = new GrowingIntegers();
  const ends = new GrowingIntegers();
  return {
    add(row) {
      // A class that is named twice counts once.
      for (const number of new Set(row.labels!.map(label => classOf(label, row, labels, file)))) numbers.push(number);
      ends.push(numbers.length);
    },
    get: i => ({ label: 0, classes: numbers.view(i ? ends.at(i - 1) : 0, ends.at(i)) }),
  };
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
