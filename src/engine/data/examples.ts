/** The tokens of a data file, held in memory for training. */
import type { DatasetSettings, ProblemType } from '../../protocol/experiment';
import { LabError } from '../errors';
import type { Example } from '../training/step.types';
import { firstOf, isParquet, placeIn, problem, readRows, type LabelForm, type Place, type TextPlace } from './dataset';
import { GrowingIntegers } from './growingIntegers';
import { BITS, exampleLabels, MULTI_HOT_ACTION } from './exampleLabels';
import { isWholeNumber, labelProblem, MOST_CLASSES, type LabelSet } from './labels';
import { parquetClassNames } from './parquetFooter';
import type { TextTokenizer } from './tokenizer';

export interface ExampleSet {
  length: number;
  /** The arrays are views of the set's own memory: read them only. */
  get(i: number): Example;
  /** Tokens of all examples together. */
  tokens: number;
  /** Tokens of the longest example. */
  longest: number;
  /** Of pairs of texts: tokens of the longest target. */
  longest_target?: number;
  /** Examples that were cut to `max_length`. */
  cut: number;
  /** Of a language model: examples of which so much was cut that nothing is left to learn. */
  without_targets?: number;
}

/** How a data file is looked at rather than read for training. */
export interface Looking {
  /** Rows after this many are left out. */
  most?: number;
  /** Hears of every example: the line that it begins on, and whether it was cut. */
  onExample?: (example: { line: number; cut: boolean }) => void;
}

type Columns = Pick<DatasetSettings, 'text_column' | 'label_column'> & Partial<Pick<DatasetSettings, 'text_pair_column'>>;

export interface LoadExamplesOptions extends Looking {
  file: string;
  dataset: Columns;
  /** What the labels are; by default one class. */
  problem_type?: ProblemType;
  /** How its labels are read. */
  form?: LabelForm;
  tokenizer: TextTokenizer;
  /** Longest example in tokens. */
  max_length: number;
  /** Sizes of the model's embedding tables. With `type_vocab_size` 0 the model has no segments, and those of the tokenizer are left out. */
  limits: { vocab_size: number; max_positions: number; type_vocab_size: number };
  /** Gets the share that is done, 0 to 1. */
  onProgress?: (fraction: number) => void;
}

interface LabelOptions { file: string; dataset: Columns; problem_type?: ProblemType }

/**
 * How a training file writes its labels, and for names the first row with one. A csv file has no types: one label that is no whole number
 * makes names of all, as in pandas. Lists are multi-hot where one holds nothing but 0 and 1, and one of them twice, which a list of classes has not,
 * or where all are [0, 1] or [1, 0]: as classes they would say the same of every example.
 * Errors: `dataset.multi-hot` with the line of a list unlike the others, and those of `readRows`.
 */
export function labelForm({ file, dataset, problem_type = 'single_label_classification' }: LabelOptions): { form: LabelForm; named?: { label: string; line: number } } {
  if (problem_type === 'multi_label_classification') {
    const form = listForm({ file, dataset });
    return { form: form === 'pairs' ? 'multi-hot' : form };
  }
  for (const { label, line } of readRows({ file, ...columns(dataset), problem_type })) {
    if (typeof label === 'string') return { form: 'names', named: { label, line } };
    if (!/\.[ct]sv$/i.test(file)) break;
  }
  return { form: 'numbers' };
}

/** `pairs`: all are [0, 1] or [1, 0]. */
function listForm({ file, dataset }: LabelOptions): LabelForm | 'pairs' {
  let hot: { size: number; line: number } | undefined;
  /** The first line with a list that holds anything else than bits, and that of each length. */
  let odd: number | undefined;
  let names = false;
  const lengths = new Map<number, number>();
  for (const { labels = [], line } of readRows({ file, ...columns(dataset), problem_type: 'multi_label_classification' })) {
    names ||= typeof labels[0] === 'string';
    if (!lengths.has(labels.length)) lengths.set(labels.length, line);
    if (!labels.every(label => BITS.has(label))) odd ??= line;
    else if (new Set(labels).size < labels.length) hot ??= { size: labels.length, line };
  }
  if (!hot) return odd === undefined && lengths.size === 1 && lengths.has(2) ? 'pairs' : names ? 'names' : 'numbers';
  const { size, line } = hot;
  const wrong = Math.min(odd ?? Infinity, ...[...lengths].flatMap(([length, first]) => (length === size ? [] : [first])));
  if (wrong === Infinity) return 'multi-hot';
  throw problem('dataset.multi-hot', { file, line: wrong }, `the list is not a 0 or 1 for each of ${size} classes, as that in ${placeIn({ file, line })} is`, MULTI_HOT_ACTION);
}

/**
 * How an evaluation file's labels are read, where the training file has `form` and its classes are called `names`: class numbers may stand for names
 * that are no numbers themselves. Errors: `dataset.multi-hot` where one file has lists of bits and the other lists of classes, and those of `labelForm`.
 */
export function evaluationForm({ form, names, ...options }: LabelOptions & { form: LabelForm; names: readonly string[] }): LabelForm {
  if (options.problem_type === 'multi_label_classification') {
    if (form === 'multi-hot' || listForm(options) !== 'multi-hot') return form;
    const { file, dataset: { label_column } } = options;
    throw new LabError({ code: 'dataset.multi-hot', file, where: `column "${label_column}"`, cause: 'the lists are a 0 or 1 for each class, those of the training data are classes', action: 'write the labels of both files in one way' });
  }
  return form === 'names' && !names.some(isWholeNumber) ? labelForm(options).form : form;
}

/**
 * The distinct labels of a training file, in one pass; of multi-hot lists the numbers of their places.
 * Errors: `dataset.labels` with the first line that shows the problem, and those of `readRows`.
 */
export function scanLabels({ file, dataset, problem_type = 'single_label_classification', form = 'numbers' }: LabelOptions & { form?: LabelForm }): Set<string | number> {
  const lines = new Map<string | number, number>();
  let rows = 0;
  for (const { label, labels = [label!], line } of readRows({ file, ...columns(dataset), problem_type, form })) {
    if (form === 'multi-hot') return new Set(labels.keys());
    rows += 1;
    for (const one of labels) if (!lines.has(one)) lines.set(one, line);
    if (lines.size > MOST_CLASSES) break;
  }
  const several = problem_type === 'multi_label_classification';
  if (several && lines.size === 0) throw new LabError({ code: 'dataset.labels', file, cause: 'no example has a label', action: 'add labels to the lists in dataset.label_column' });
  const problem = labelProblem(lines.keys(), several ? 1 : 2);
  if (problem) throw new LabError({ code: 'dataset.labels', file, where: placeIn({ file, line: lines.get(problem.value)! }), cause: problem.cause, action: problem.action });
  if (lines.size > 1000 && lines.size > rows / 2) {
    throw new LabError({ code: 'dataset.labels', file, cause: `the ${rows} examples have ${lines.size} different labels`, action: `check that dataset.label_column, "${dataset.label_column}", is the column with the classes` });
  }
  return new Set(lines.keys());
}

/** Names that a Parquet file of `datasets` gives to the class numbers in a column; null if there are none. Errors: those of `readRows`. */
export const writtenClasses = (file: string, column: string): string[] | null => (isParquet(file) ? parquetClassNames(file, column) : null);

/** Error `dataset.labels`: the evaluation file numbers other classes than the training file, or the same ones in another order. */
export function checkSameClasses(train: string, evaluation: string, column: string): void {
  const [ours, theirs] = [train, evaluation].map(file => writtenClasses(file, column)?.join(', '));
  if (ours === undefined || theirs === undefined || ours === theirs) return;
  throw new LabError({ code: 'dataset.labels', file: evaluation, where: `column "${column}"`, cause: `numbers the classes ${theirs}, the training data numbers ${ours}`, action: 'write both files with the same ClassLabel' });
}

/**
 * Tokenizes every row of a file. Takes 4 bytes for each token and 8 for each example.
 * Errors: `training.max-length`, `dataset.no-tokens`, `dataset.unknown-label`, `dataset.multi-hot`, `dataset.token-beyond-vocabulary`, `dataset.token-type`, and those of `readRows`.
 */
export function loadExamples({ file, dataset, problem_type = 'single_label_classification', form = 'numbers', tokenizer, max_length, limits, onProgress, labels, most, onExample }: LoadExamplesOptions & { labels: LabelSet }): ExampleSet {
  checkLength(max_length, limits.max_positions);
  const tokens = new GrowingIntegers();
  /** Segment numbers of all tokens; stays empty while all are 0. */
  const types = new GrowingIntegers();
  const ends = new GrowingIntegers();
  const targets = exampleLabels(problem_type, labels, file, form);
  let cut = 0;
  let longest = 0;
  for (const row of firstOf(readRows({ file, ...columns(dataset), problem_type, form, onRead: onProgress }), most)) {
    const encoded = tokenizer.encode(row.text, max_length, row.pair);
    const at = { file, line: row.line };
    checkTokens(encoded.input_ids, at, `the text in "${dataset.text_column}" has`, 'a text');
    targets.add(row);
    checkIds(encoded.input_ids, limits.vocab_size, at);
    checkTypes(encoded.token_type_ids, limits.type_vocab_size, at);
    if (encoded.token_type_ids && limits.type_vocab_size > 0) {
      types.resize(tokens.length);
      types.append(encoded.token_type_ids);
    }
    tokens.append(encoded.input_ids);
    ends.push(tokens.length);
    longest = Math.max(longest, encoded.input_ids.length);
    if (encoded.cut) cut += 1;
    onExample?.({ line: row.line, cut: encoded.cut });
  }
  if (types.length) types.resize(tokens.length);
  return {
    length: ends.length, tokens: tokens.length, longest, cut,
    get(i) {
      if (!Number.isInteger(i) || i < 0 || i >= ends.length) throw new RangeError(`there is no example ${i} of ${ends.length}`);
      const begin = i ? ends.at(i - 1) : 0;
      const end = ends.at(i);
      return { input_ids: tokens.view(begin, end), token_type_ids: types.length ? types.view(begin, end) : null, ...targets.get(i) };
    },
  };
}

/** Error `training.max-length`: the model has fewer positions. */
export function checkLength(max_length: number, max_positions: number): void {
  if (max_length <= max_positions) return;
  throw new LabError({ code: 'training.max-length', where: 'training.max_length', cause: `is ${max_length}, the model has ${max_positions} positions`, action: `set it to at most ${max_positions}` });
}

/** Error `dataset.no-tokens`: the tokenizer puts nothing around an empty text, and a model has nothing to read. transformers pads it and reads the padding. */
export function checkTokens({ length }: ArrayLike<number>, at: Place, what: string, missing: string): void {
  if (!length) throw problem('dataset.no-tokens', at, `${what} no tokens`, `give the row ${missing}, or remove it`);
}

const columns = ({ text_column, text_pair_column, label_column }: Columns): Columns => ({ text_column, text_pair_column, label_column });

/** Error `dataset.token-beyond-vocabulary`: the model's table has no row for a token. */
export function checkIds(ids: ArrayLike<number> & Iterable<number>, vocab_size: number, at: TextPlace): void {
  const wrong = Array.prototype.find.call(ids, (id: number) => id < 0 || id >= vocab_size) as number | undefined;
  if (wrong === undefined) return;
  throw problem('dataset.token-beyond-vocabulary', at, `the tokenizer makes the token ${wrong} of this text, the model knows the tokens 0 to ${vocab_size - 1}`, 'check that tokenizer.json or vocab.txt belongs to this checkpoint');
}

/** Error `dataset.token-type`: the model's table has no row for a segment number. A model without segments, `type_vocab_size` 0, takes any. */
export function checkTypes(types: Int32Array | null, type_vocab_size: number, at: TextPlace): void {
  const wrong = type_vocab_size > 0 ? types?.find(type => type < 0 || type >= type_vocab_size) : undefined;
  if (wrong === undefined) return;
  throw problem('dataset.token-type', at, `the tokenizer gives the segment number ${wrong}, the model knows ${type_vocab_size}`, 'check that tokenizer.json belongs to this checkpoint');
}
