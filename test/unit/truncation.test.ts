/** Texts that are too long, cut at the end that the tokenizer's `truncation_side` says. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadTexts } from '../../src/engine/data/languageExamples';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { wordTokenizer } from '../../src/engine/data/wordTokenizer';
import { LabError } from '../../src/engine/errors';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { prepare } from '../../src/engine/prepare';
import { previewData } from '../../src/engine/preview';
import { SILENT } from '../../src/engine/reporter';
import { IGNORED } from '../../src/engine/training/step.types';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { copyCase } from '../support/runs';

interface Found { max_length: number; texts: number[][]; pairs: number[][] | null; words: number[][]; first: number[][] }
interface Case { name: string; files: Record<string, string>; found: Found[] }
const { texts, pairs, cases } = JSON.parse(readFileSync(fixture('tokenizer/truncation_cases.json'), 'utf8')) as { texts: string[]; pairs: [string, string][]; cases: Case[] };

for (const { name, files, found } of cases) {
  test(`cut at the left as transformers cuts: ${name}`, () => inTemporaryFolder(folder => {
    for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content);
    const tokenizer = loadTokenizer(folder, { words: name === 'RoBERTa' });
    const words = wordTokenizer(tokenizer);
    for (const { max_length, ...expected } of found) {
      assert.deepEqual(texts.map(text => [...tokenizer.encode(text, max_length).input_ids]), expected.texts, `texts in ${max_length}`);
      if (expected.pairs) assert.deepEqual(pairs.map(([text, pair]) => [...tokenizer.encode(text, max_length, pair).input_ids]), expected.pairs, `pairs in ${max_length}`);
      const lists = texts.map(text => words.encode(text.split(' '), max_length));
      assert.deepEqual(lists.map(({ input_ids }) => [...input_ids]), expected.words, `words in ${max_length}`);
      assert.deepEqual(lists.map(({ first }) => [...first]), expected.first, `first tokens of words in ${max_length}`);
    }
  }));
}

/** A tokenizer's folder that cuts at the left. */
function leftOf(folder: string, name: string): string {
  const model = join(folder, name);
  cpSync(fixture('references', name, 'model'), model, { recursive: true });
  const file = join(model, 'tokenizer_config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, truncation_side: 'left' }));
  return model;
}

test('of a language model\'s example the end is kept, with a token that stands before its text, and what is learned of it', () => inTemporaryFolder(folder => {
  const tokenizer = loadTokenizer(leftOf(folder, 'llama-text'));
  const file = join(folder, 'data.jsonl');
  const load = (row: object, max_length: number) => {
    writeFileSync(file, JSON.stringify(row));
    const dataset = { text_column: 'text', messages_column: null, ...('text' in row ? { prompt_column: null, completion_column: null } : { prompt_column: 'prompt', completion_column: 'completion' }) };
    return loadTexts({ file, dataset, tokenizer, template: null, eos: 0, max_length, limits: { vocab_size: 320, max_positions: 64 } });
  };
  const [bos] = tokenizer.before;
  const own = tokenizer.tokens('the film was very good');
  const text = load({ text: 'the film was very good' }, 4);
  assert.deepEqual([[...text.get(0).input_ids], [...text.get(0).targets!], text.cut], [[bos, ...own.slice(-2), 0], [...own.slice(-2), 0, IGNORED], 1]);
  const learned = own.slice(tokenizer.tokens('the film was very').length);
  const completion = load({ prompt: 'the film was very', completion: ' good' }, learned.length + 3);
  assert.deepEqual([[...completion.get(0).input_ids], [...completion.get(0).targets!]], [[bos, ...own.slice(-1 - learned.length), 0], [IGNORED, ...learned, 0, IGNORED]]);
  assert.equal(load({ text: 'good' }, 20).cut, 0);
}));

test('a run says at which end its examples were cut; another side is refused', () => inTemporaryFolder(folder => {
  const file = copyCase(folder, { training: { max_length: 4 } });
  const config = join(folder, 'model/tokenizer_config.json');
  const given = JSON.parse(readFileSync(config, 'utf8')) as object;
  const said = (truncation_side: unknown): string => {
    writeFileSync(config, JSON.stringify({ ...given, truncation_side }));
    const messages: string[] = [];
    prepare(readExperimentFile(file), null, { ...SILENT, log: ({ message }) => messages.push(message) });
    return messages.join('\n');
  };
  assert.match(said(undefined), /train examples are longer than max_length 4 and were cut off at their end/);
  assert.match(said('left'), /train examples are longer than max_length 4 and were cut off at their beginning/);
  assert.throws(() => said('middle'), (error: unknown) => error instanceof LabError && error.report.code === 'tokenizer.invalid' && /truncation_side in tokenizer_config\.json is "middle"/.test(error.message));
}));

test('a max_length of which special tokens leave nothing to a text is refused at its line; with one more token a run begins', async () => {
  for (const [name, special, around] of [['linear', 2, 'a text'], ['bert-tags', 2, 'a text'], ['bert-pairs', 3, 'a pair of texts'], ['roberta-pairs', 4, 'a pair of texts']] as const) {
    await inTemporaryFolder(folder => {
      const sized = (max_length: number): string => copyCase(folder, { training: { max_length } }, name);
      const file = sized(special);
      const line = readFileSync(file, 'utf8').split('\n').findIndex(text => text.includes('"max_length"')) + 1;
      assert.throws(() => previewData({ experiment_file: file }), (error: unknown) => {
        assert.ok(error instanceof LabError, String(error));
        assert.equal(error.message, `${file}: line ${line}, training.max_length: is ${special}, and the special tokens around ${around} alone take ${special}. Set it to at least ${special + 1}.`);
        return true;
      });
      const { longest, cut } = previewData({ experiment_file: sized(special + 1) });
      assert.ok(longest === special + 1 && cut > 0, name);
    });
  }
  // GPT-2 puts nothing around a text.
  await inTemporaryFolder(folder => assert.equal(previewData({ experiment_file: copyCase(folder, { training: { max_length: 2 } }, 'gpt2-classes') }).longest, 2));
});
