/** Folders with vocab.json and merges.txt alone, against transformers' fast tokenizers. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { endOfText } from '../../src/engine/data/endOfText';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { LabError } from '../../src/engine/errors';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Case { name: string; files: Record<string, string>; ids: number[][]; eos: number }
const { texts, cases } = JSON.parse(readFileSync(fixture('tokenizer/bpe_cases.json'), 'utf8')) as { texts: string[]; cases: Case[] };

function inFolder<T>(files: Record<string, string>, use: (folder: string) => T): Promise<T> {
  return inTemporaryFolder(folder => {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
    return use(folder);
  });
}

for (const { name, files, ids, eos } of cases) {
  test(`the same tokens as transformers: ${name}`, () => inFolder(files, folder => {
    const tokenizer = loadTokenizer(folder);
    texts.forEach((text, i) => assert.deepEqual([...tokenizer.encode(text, 100_000).input_ids], ids[i], JSON.stringify(text)));
    assert.equal(endOfText(folder, tokenizer, {}), eos);
    const plain = ['the film was good', 'naïve 中 😀'];
    for (const text of plain) assert.equal(tokenizer.decode(tokenizer.tokens(text)).trim(), text);
  }));
}

const refused = (files: Record<string, string>, code: string, file: RegExp, message: RegExp): Promise<void> => inFolder(files, folder => {
  assert.throws(() => loadTokenizer(folder), (error: LabError) => {
    assert.equal(error.report.code, code, error.message);
    assert.match(error.report.file ?? '', file);
    assert.match(error.message, message);
    return true;
  });
});

test('what is missing or does not fit together is named', async () => {
  const { files } = cases[0];
  const { 'merges.txt': merges, ...without } = files;
  await refused(without, 'tokenizer.missing', /./, /vocab\.json but no merges\.txt/);
  await refused({ ...files, 'merges.txt': `${merges}a b c\n` }, 'tokenizer.invalid', /merges\.txt$/, new RegExp(`line ${merges.split('\n').length}: "a b c" is not a pair`));
  await refused({ ...files, 'merges.txt': `${merges}q Ā\n` }, 'tokenizer.invalid', /merges\.txt$/, /is not in vocab\.json/);
  await refused({ ...files, 'vocab.json': '{"a": 0' }, 'tokenizer.invalid', /vocab\.json$/, /not valid JSON/);
  await refused({ ...files, 'vocab.json': '{"a": "b", "c": 1, "d": 2}', 'merges.txt': '' }, 'tokenizer.invalid', /vocab\.json$/, /number of the token/);
  await refused({ ...files, 'tokenizer_config.json': '{"added_tokens_decoder": {"480": {"content": "NewTok", "single_word": true}}}' }, 'tokenizer.invalid', /vocab\.json$/, /"NewTok" stands for whole words only/);
  await refused({ ...files, 'config.json': '{"model_type": "llama"}' }, 'tokenizer.missing', /./, /not for "llama".*save_pretrained/);
});

test('a SentencePiece model alone is refused by name', () => refused({ 'spiece.model': 'x' }, 'tokenizer.missing', /spiece\.model$/, /SentencePiece model, which is not read.*tokenizer\.json/));

test('merges that begin with # are pairs, and line ends of Windows change nothing', () => inFolder(cases[0].files, folder => {
  const plain = loadTokenizer(folder);
  writeFileSync(join(folder, 'merges.txt'), cases[0].files['merges.txt'].replaceAll('\n', '\r\n'));
  assert.deepEqual(texts.map(text => loadTokenizer(folder).tokens(text)).slice(0, 20), texts.map(text => plain.tokens(text)).slice(0, 20));
  const vocab = JSON.parse(cases[0].files['vocab.json']) as Record<string, number>;
  writeFileSync(join(folder, 'vocab.json'), JSON.stringify({ ...vocab, '##': Object.keys(vocab).length }));
  writeFileSync(join(folder, 'merges.txt'), '#version: 0.2\n# #\n');
  assert.deepEqual(loadTokenizer(folder).tokens('##'), [Object.keys(vocab).length]);
}));
