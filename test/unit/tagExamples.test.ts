/** Words with tags: which token learns which tag, and what of the data is refused. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { labelsFromNames } from '../../src/engine/data/labels';
import { loadTags, scanTags } from '../../src/engine/data/tagExamples';
import { wordTokenizer } from '../../src/engine/data/wordTokenizer';
import { LabError } from '../../src/engine/errors';
import { inTemporaryFolder } from '../support/faults';

const dataset = { tokens_column: 'tokens', tags_column: 'ner_tags' };
const letters = (word: string): number[] => Array.from(word, letter => letter.charCodeAt(0) - 87);
/** A token for each letter, between 1 and 2. */
const tokenizer = wordTokenizer({ tokens: letters, around: { before: [1], after: [2] }, truncation_side: 'right' });
const limits = { vocab_size: 40, max_positions: 20, type_vocab_size: 2 };

const withRows = <T>(rows: unknown[], use: (file: string) => T, name = 'train.jsonl'): Promise<T> => inTemporaryFolder(folder => {
  const file = join(folder, name);
  writeFileSync(file, rows.map(row => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
  return use(file);
});
const load = (rows: unknown[], labels: string[], max_length = 20, name?: string) => withRows(rows, file => loadTags({ file, dataset, tokenizer, labels: labelsFromNames(labels), max_length, limits }), name);

test('the first token of each word learns its tag; other tokens, words without tokens and the tag -100 learn nothing', async () => {
  const set = await load([{ tokens: ['abc', '', 'd', 'ef'], ner_tags: ['X', 'Y', 'Y', -100] }, { tokens: ['a'], ner_tags: [0] }], ['X', 'Y']);
  assert.deepEqual([...set.get(0).input_ids], [1, 10, 11, 12, 13, 14, 15, 2]);
  assert.deepEqual([...set.get(0).targets!], [-100, 0, -100, -100, 1, -100, -100, -100]);
  assert.deepEqual([...set.get(1).targets!], [-100, 0, -100]);
  assert.deepEqual([set.length, set.cut, set.without_targets, set.longest], [2, 0, 0, 8]);
});

test('a list of words without tokens is refused with its line where the tokenizer puts nothing around it', async () => {
  const rows = [{ tokens: ['a'], ner_tags: ['X'] }, { tokens: [], ner_tags: [] }];
  assert.equal((await load(rows, ['X', 'Y'])).length, 2);
  const bare = wordTokenizer({ tokens: letters, around: { before: [], after: [] }, truncation_side: 'right' });
  await assert.rejects(withRows(rows, file => loadTags({ file, dataset, tokenizer: bare, labels: labelsFromNames(['X', 'Y']), max_length: 20, limits })), (error: unknown) => error instanceof LabError && error.report.code === 'dataset.no-tokens' && /line 2: the words in "tokens" have no tokens/.test(error.message));
});

test('what does not fit is cut off after the last token that does, words and tags alike', async () => {
  const set = await load([{ tokens: ['ab', 'cd', 'ef'], ner_tags: ['X', 'Y', 'X'] }], ['X', 'Y'], 5);
  assert.deepEqual([...set.get(0).input_ids], [1, 10, 11, 12, 2]);
  assert.deepEqual([...set.get(0).targets!], [-100, 0, -100, 1, -100]);
  assert.equal(set.cut, 1);
});

test('tags are names or numbers, and the first line that is wrong is named', async () => {
  assert.deepEqual([...await withRows([{ tokens: ['a', 'b'], ner_tags: ['O', 'B-X'] }, { tokens: ['c'], ner_tags: ['O'] }], file => scanTags({ file, dataset }))], ['O', 'B-X']);
  assert.deepEqual([...await withRows([{ tokens: ['a', 'b', 'c'], ner_tags: [1, -100, 0] }], file => scanTags({ file, dataset }))], [1, 0]);
  const refused: [unknown[], string, RegExp, string?][] = [
    [[{ tokens: ['a'], ner_tags: ['O'] }, { tokens: ['a', 'b'], ner_tags: ['O'] }], 'dataset.tags', /line 2: .*2 words.*1 tags/],
    [[{ tokens: 'a b', ner_tags: ['O', 'O'] }], 'dataset.wrong-type', /line 1: .*"tokens" are "a b", not a list.*\.jsonl/],
    [[{ tokens: ['a'], ner_tags: [1.5] }], 'dataset.wrong-type', /line 1: .*1\.5/],
    [[{ tokens: ['a', 3], ner_tags: ['O', 'O'] }], 'dataset.wrong-type', /line 1: .*"tokens" is 3/],
    [[{ tokens: ['a', 'b'], ner_tags: ['O', 'B-Z'] }], 'dataset.unknown-label', /line 1: .*"B-Z"/],
    [[{ words: ['a'], ner_tags: ['O'] }], 'dataset.missing-column', /"tokens".*"words"/],
    [['tokens,ner_tags', 'a b,O O'], 'dataset.wrong-type', /line 2: .*not a list.*\.jsonl/, 'train.csv'],
    [[{ tokens: ['', 'a'], ner_tags: ['O', -100] }], 'dataset.nothing-to-learn', /no word has both/],
  ];
  for (const [rows, code, message, name] of refused) {
    await assert.rejects(load(rows, ['O', 'B-X'], 20, name), (error: unknown) => error instanceof LabError && error.report.code === code && message.test(error.message), code);
  }
  await assert.rejects(withRows([{ tokens: ['a'], ner_tags: ['O'] }], file => scanTags({ file, dataset })), /line 1.*one class cannot be learned/);
});
