/** The tokens of a data file, held in memory for training. */
import type { DatasetSettings } from '../../protocol/experiment';
import { LabError } from '../errors';
import type { Example } from '../training/step.types';
import { readRows, type Row } from './dataset';
import { GrowingIntegers } from './growingIntegers';
import { labelProblem, MOST_CLASSES, type LabelSet } from './labels';
import type { TextTokenizer } from './tokenizer';

export interface ExampleSet {
  length: number;
  /** The arrays are views of the set's own memory: read them only. */
  get(i: number): Example;
  /** Tokens of all examples together. */
  tokens: number;
  /** Tokens of the longest example. */
  longest: number;
  /** Examples that were cut to `max_length`. */
  cut: number;
  /** Of a language model: examples of which so much was cut that nothing is left to learn. */
  without_targets?: number;
}

type Columns = Pick<DatasetSettings, 'text_column' | 'label_column'>;

export interface LoadExamplesOptions {
  file: string;
  dataset: Columns;
  tokenizer: TextTokenizer;
  /** Longest example in tokens. */
  max_length: number;
  /** Sizes of the model's embedding tables. */
  limits: { vocab_size: number; max_positions: number; type_vocab_size: number };
  /** Gets the share that is done, 0 to 1. */
  onProgress?: (fraction: number) => void;
}

/**
 * The distinct labels of a training file, in one pass.
 * Errors: `dataset.labels` with the first line that shows the problem, and those of `readRows`.
 */
export function scanLabels({ file, dataset }: { file: string; dataset: Columns }): Set<string | number> {
  const lines = new Map<string | number, number>();
  let rows = 0;
  for (const { label, line } of readRows({ file, ...columns(dataset) })) {
    rows += 1;
    if (!lines.has(label!)) lines.set(label!, line);
    if (lines.size > MOST_CLASSES) break;
  }
  const problem = labelProblem(lines.keys());
  if (problem) throw new LabError({ code: 'dataset.labels', file, where: `line ${lines.get(problem.value)}`, cause: problem.cause, action: problem.action });
  if (lines.size > 1000 && lines.size > rows / 2) {
    throw new LabError({ code: 'dataset.labels', file, cause: `the ${rows} examples have ${lines.size} different labels`, action: `check that dataset.label_column, "${dataset.label_column}", is the column with the classes` });
  }
  return new Set(lines.keys());
}

/**
 * Tokenizes every row of a file. Takes 4 bytes for each token and 8 for each example.
 * Errors: `training.max-length`, `dataset.unknown-label`, `dataset.token-beyond-vocabulary`, `dataset.token-type`, and those of `readRows`.
 */
export function loadExamples({ file, dataset, tokenizer, max_length, limits, onProgress, labels }: LoadExamplesOptions & { labels: LabelSet }): ExampleSet {
  checkLength(max_length, limits.max_positions);
  const tokens = new GrowingIntegers();
  /** Segment numbers of all tokens; stays empty while all are 0. */
  const types = new GrowingIntegers();
  const ends = new GrowingIntegers();
  const classes = new GrowingIntegers();
  let cut = 0;
  let longest = 0;
  for (const row of readRows({ file, ...columns(dataset), onRead: onProgress })) {
    const encoded = tokenizer.encode(row.text, max_length);
    classes.push(classOf(row, labels, file));
    checkIds(encoded.input_ids, limits.vocab_size, row, file);
    if (encoded.token_type_ids) {
      checkTypes(encoded.token_type_ids, limits.type_vocab_size, row, file);
      types.resize(tokens.length);
      types.append(encoded.token_type_ids);
    }
    tokens.append(encoded.input_ids);
    ends.push(tokens.length);
    longest = Math.max(longest, encoded.input_ids.length);
    if (encoded.cut) cut += 1;
  }
  if (types.length) types.resize(tokens.length);
  return {
    length: ends.length, tokens: tokens.length, longest, cut,
    get(i) {
      if (!Number.isInteger(i) || i < 0 || i >= ends.length) throw new RangeError(`there is no example ${i} of ${ends.length}`);
      const begin = i ? ends.at(i - 1) : 0;
      const end = ends.at(i);
      return { input_ids: tokens.view(begin, end), token_type_ids: types.length ? types.view(begin, end) : null, label: classes.at(i) };
    },
  };
}

/** Error `training.max-length`: the model has fewer positions. */
export function checkLength(max_length: number, max_positions: number): void {
  if (max_length <= max_positions) return;
  throw new LabError({ code: 'training.max-length', where: 'training.max_length', cause: `is ${max_length}, the model has ${max_positions} positions`, action: `set it to at most ${max_positions}` });
}

const columns = ({ text_column, label_column }: Columns): Columns => ({ text_column, label_column });

function classOf({ label, line }: Row, labels: LabelSet, file: string): number {
  const number = labels.numberOf(label!);
  if (number !== undefined) return number;
  const some = labels.names.slice(0, 10).map(name => JSON.stringify(name)).join(', ');
  throw new LabError({
    code: 'dataset.unknown-label', file, where: `line ${line}`, cause: `the label ${JSON.stringify(label)} is none of the classes ${some}${labels.names.length > 10 ? `, … (${labels.names.length})` : ''}`,
    action: 'correct the label: only classes that the training data or the checkpoint name can be learned',
  });
}

export function checkIds(ids: ArrayLike<number> & Iterable<number>, vocab_size: number, { line }: { line: number }, file: string): void {
  const wrong = Array.prototype.find.call(ids, (id: number) => id < 0 || id >= vocab_size) as number | undefined;
  if (wrong === undefined) return;
  throw new LabError({
    code: 'dataset.token-beyond-vocabulary', file, where: `line ${line}`, cause: `the tokenizer makes the token ${wrong} of this text, the model knows the tokens 0 to ${vocab_size - 1}`,
    action: 'check that tokenizer.json or vocab.txt belongs to this checkpoint',
  });
}

function checkTypes(types: Int32Array, type_vocab_size: number, { line }: Row, file: string): void {
  const wrong = types.find(type => type < 0 || type >= type_vocab_size);
  if (wrong === undefined) return;
  throw new LabError({
    code: 'dataset.token-type', file, where: `line ${line}`, cause: `the tokenizer gives the segment number ${wrong}, the model knows ${type_vocab_size}`,
    action: 'check that tokenizer.json belongs to this checkpoint',
  });
}
