/** Training examples of token classification: lists of words with a tag for each. */
import type { DatasetSettings } from '../../protocol/experiment';
import { LabError } from '../errors';
import { IGNORED } from '../training/step.types';
import { describe, firstOf, problem, readRecords, textOf, type Column, type Place } from './dataset';
import { checkIds, checkLength, checkTokens, type ExampleSet, type Looking } from './examples';
import { classOf } from './exampleLabels';
import { labelProblem, MOST_CLASSES, type LabelSet } from './labels';
import { LearnedTokens } from './learnedTokens';
import type { WordTokenizer } from './wordTokenizer';

type TagColumns = Pick<DatasetSettings, 'tokens_column' | 'tags_column'>;
type Tag = string | number;

export interface LoadTagsOptions extends Looking {
  file: string;
  dataset: TagColumns;
  tokenizer: WordTokenizer;
  labels: LabelSet;
  /** Longest example in tokens. */
  max_length: number;
  limits: { vocab_size: number; max_positions: number; type_vocab_size: number };
  onProgress?: (fraction: number) => void;
}

/**
 * The distinct tags of a training file, in one pass.
 * Errors: `dataset.labels` with the first line that shows the problem, `dataset.tags`, and those of `readRecords`.
 */
export function scanTags({ file, dataset }: { file: string; dataset: TagColumns }): Set<Tag> {
  const lines = new Map<Tag, number>();
  for (const { values: { tags }, line } of taggedRows(file, dataset)) {
    for (const tag of tags) if (tag !== IGNORED && !lines.has(tag)) lines.set(tag, line);
    if (lines.size > MOST_CLASSES) break;
  }
  const wrong = labelProblem(lines.keys());
  if (wrong) throw problem('dataset.labels', { file, line: lines.get(wrong.value)! }, wrong.cause, wrong.action.replace('dataset.label_column', 'dataset.tags_column'));
  return new Set(lines.keys());
}

/**
 * Tokenizes every row of a file. The first token of each word is to be given the word's tag; its other tokens, special tokens and
 * words with the tag -100 count for nothing, as in transformers' `run_ner`. A word without tokens is passed over.
 * Errors: `training.max-length`, `dataset.no-tokens`, `dataset.tags`, `dataset.unknown-label`, `dataset.nothing-to-learn`, `dataset.token-beyond-vocabulary`, and those of `readRecords`.
 */
export function loadTags({ file, dataset, tokenizer, labels, max_length, limits, onProgress, most = Infinity, onExample }: LoadTagsOptions): ExampleSet {
  checkLength(max_length, limits.max_positions);
  const examples = new LearnedTokens();
  for (const { values: { words, tags }, line } of firstOf(taggedRows(file, dataset, onProgress), most)) {
    const encoded = tokenizer.encode(words, max_length);
    checkTokens(encoded.input_ids, { file, line }, `the words in "${dataset.tokens_column}" have`, 'words');
    checkIds(encoded.input_ids, limits.vocab_size, { file, line });
    const wanted = new Int32Array(encoded.input_ids.length).fill(IGNORED);
    tags.forEach((tag, word) => {
      const number = tag === IGNORED ? IGNORED : classOf(tag, { line }, labels, file);
      if (encoded.first[word] >= 0) wanted[encoded.first[word]] = number;
    });
    examples.add(encoded.input_ids, wanted, encoded.cut);
    onExample?.({ line, cut: encoded.cut });
  }
  if (examples.nothing && examples.length < most) throw new LabError({ code: 'dataset.nothing-to-learn', file, cause: 'no word has both tokens and a tag', action: `check dataset.tokens_column, "${dataset.tokens_column}", and dataset.tags_column, "${dataset.tags_column}"` });
  return examples.set();
}

/** Words and tags of every row. Error `dataset.tags`: not as many tags as words. */
function* taggedRows(file: string, { tokens_column, tags_column }: TagColumns, onRead?: (fraction: number) => void): Generator<{ values: { words: string[]; tags: Tag[] }; line: number }> {
  const columns = { words: wordsColumn(tokens_column), tags: tagsColumn(tags_column) };
  for (const row of readRecords({ file, columns, keys: 'dataset.tokens_column and dataset.tags_column', onRead })) {
    const { words, tags } = row.values;
    if (words.length !== tags.length) throw problem('dataset.tags', { file, line: row.line }, `there are ${words.length} words in "${tokens_column}" and ${tags.length} tags in "${tags_column}"`, 'give one tag for each word');
    yield row;
  }
}

/** csv has no lists: a field of it is refused like any other text. */
function listOf(value: unknown, what: string, column: string, at: Place): unknown[] {
  if (Array.isArray(value)) return value;
  throw problem('dataset.wrong-type', at, `the ${what} in "${column}" are ${describe(value)}, not a list`, `give a list of ${what}, in a .jsonl or .parquet file`);
}

const wordsColumn = (name: string): Column<string[]> => ({ name, read: (value, column, at) => listOf(value, 'words', column, at).map(word => textOf(word, column, at)) });

const tagsColumn = (name: string): Column<Tag[]> => ({
  name,
  read: (value, column, at) => listOf(value, 'tags', column, at).map(tag => {
    if (typeof tag === 'string' && tag !== '' || Number.isSafeInteger(tag)) return tag as Tag;
    throw problem('dataset.wrong-type', at, `a tag in "${column}" is ${tag === '' ? 'empty' : describe(tag)}`, 'give the name of a tag, or its number');
  }),
});
