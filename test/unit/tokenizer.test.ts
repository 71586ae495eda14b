import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BertNormalizer } from '@huggingface/tokenizers';
import { ExactBertNormalizer } from '../../src/engine/data/bertTokenizer';
import { loadTokenizer, type TextTokenizer } from '../../src/engine/data/tokenizer';
import { buildTokenizer } from '../../src/engine/data/vocabulary';
import { LabError } from '../../src/engine/errors';
import { random } from '../../src/engine/random';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

type Files = Record<string, string | object>;
interface Case { name: string; files: Record<string, string>; ids: Record<string, number[][]> }
const { texts, cases } = JSON.parse(readFileSync(fixture('tokenizer/cases.json'), 'utf8')) as { texts: string[]; cases: Case[] };

/** The tokenizer of a folder with these files. */
function tokenizerOf(files: Files): Promise<TextTokenizer> {
  return inTemporaryFolder(folder => {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
    return loadTokenizer(folder);
  });
}

/** A small BERT `tokenizer.json` with parts replaced. */
function tokenizerJson(parts: object = {}): object {
  const json = JSON.parse(cases[0].files['tokenizer.json']) as object;
  return { ...json, ...parts };
}
const general = { tokenizer_class: 'PreTrainedTokenizerFast' };
const ids = (tokenizer: TextTokenizer, text: string, max_length = 128): number[] => [...tokenizer.encode(text, max_length).input_ids];

for (const { name, files, ids: expected } of cases) {
  test(`the same tokens as transformers: ${name}`, async () => {
    const tokenizer = await tokenizerOf(files);
    for (const [length, lists] of Object.entries(expected)) {
      texts.forEach((text, i) => {
        const encoded = tokenizer.encode(text, Number(length));
        assert.deepEqual([...encoded.input_ids], lists[i], `${JSON.stringify(text)} in ${length} tokens`);
        assert.equal(encoded.token_type_ids, null);
        assert.equal(encoded.cut, ids(tokenizer, text, 1000).length > Number(length), JSON.stringify(text));
      });
    }
  });
}

test('a text is cut before its closing special token', async () => {
  const tokenizer = await tokenizerOf(cases[0].files);
  const [cls, ...rest] = ids(tokenizer, 'the film was good');
  const sep = rest.at(-1)!;
  assert.equal(rest.length, 5);
  assert.deepEqual(ids(tokenizer, 'the film was good', 4), [cls, rest[0], rest[1], sep]);
  assert.deepEqual(tokenizer.encode('the film was good', 6), { input_ids: Int32Array.of(cls, ...rest), token_type_ids: null, cut: false });
  assert.equal(tokenizer.encode('the film was good', 5).cut, true);
  assert.deepEqual(ids(tokenizer, ''), [cls, sep]);
});

test('segment numbers come from the template', async () => {
  const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const template = { type: 'TemplateProcessing', single: [special('[CLS]', 2), { Sequence: { id: 'A', type_id: 1 } }, special('[SEP]', 0), special('[MASK]', 3)], pair: [], special_tokens: {} };
  const tokenizer = await tokenizerOf({ 'tokenizer.json': tokenizerJson({ post_processor: template }), 'tokenizer_config.json': general });
  const { input_ids, token_type_ids, cut } = tokenizer.encode('the film was', 5);
  assert.deepEqual([[...input_ids].slice(0, 1), [...input_ids].slice(-2), [...token_type_ids!], cut], [[2], [3, 4], [2, 1, 1, 0, 3], true]);
});

test('a tokenizer.json from before models had a type is read the same', async () => {
  const { type, ...model } = (tokenizerJson() as { model: Record<string, unknown> }).model;
  assert.equal(type, 'WordPiece');
  const untyped = tokenizerJson({ model });
  for (const config of [{}, general, { do_lower_case: false }]) {
    const [older, newer] = await Promise.all([untyped, tokenizerJson()].map(json => tokenizerOf({ 'tokenizer.json': json, 'tokenizer_config.json': config })));
    for (const text of texts) assert.deepEqual(older.encode(text, 128), newer.encode(text, 128), JSON.stringify(text));
  }
});

test('a folder without a tokenizer says which files are looked for', async () => {
  await inTemporaryFolder(folder => {
    mkdirSync(join(folder, 'tokenizer.json'));
    assert.throws(() => loadTokenizer(folder), (error: LabError) => error.report.code === 'tokenizer.missing' && error.report.file === folder && /tokenizer\.json.*vocab\.txt/.test(error.message));
  });
});

const invalid: [string, Files, string, RegExp][] = [
  ['broken JSON', { 'tokenizer.json': '{"model": ' }, 'tokenizer.json', /not valid JSON/],
  ['a list', { 'tokenizer.json': '[]' }, 'tokenizer.json', /does not hold a JSON object/],
  ['an empty object', { 'tokenizer.json': '{}' }, 'tokenizer.json', /can be used/],
  ['bytes that are no text', { 'tokenizer.json': '\u0000\u0001' }, 'tokenizer.json', /not valid JSON/],
  ['a broken config', { 'tokenizer.json': tokenizerJson(), 'tokenizer_config.json': '{' }, 'tokenizer_config.json', /not valid JSON/],
  ['an unknown model', { 'tokenizer.json': tokenizerJson({ model: { type: 'Sentences', vocab: {} } }) }, 'tokenizer.json', /"Sentences" are not supported/],
  ['a model with a vocabulary of whole words', { 'tokenizer.json': tokenizerJson({ model: { type: 'WordLevel', unk_token: '[UNK]', vocab: { '[UNK]': 0 } } }) }, 'tokenizer.json', /"WordLevel" are not supported/],
  ['a token without a number', { 'tokenizer.json': tokenizerJson({ model: { type: 'WordPiece', unk_token: '[UNK]', vocab: { '[UNK]': 0, '[CLS]': 1, '[SEP]': 2, a: null } } }) }, 'tokenizer.json', /the number of the token "a" is null/],
  ['a negative token', { 'tokenizer.json': tokenizerJson({ model: { type: 'WordPiece', unk_token: '[UNK]', vocab: { '[UNK]': 0, '[CLS]': -1, '[SEP]': 2 } } }) }, 'tokenizer.json', /the number of the token "\[CLS\]" is -1/],
  ['no model', { 'tokenizer.json': tokenizerJson({ model: null }) }, 'tokenizer.json', /./],
  ['no vocabulary', { 'tokenizer.json': tokenizerJson({ model: { type: 'WordPiece', unk_token: '[UNK]' } }) }, 'tokenizer.json', /./],
  ['added tokens that are no list', { 'tokenizer.json': tokenizerJson({ added_tokens: 5 }) }, 'tokenizer.json', /./],
  ['an unknown normalizer', { 'tokenizer.json': tokenizerJson({ normalizer: { type: 'Dance' } }) }, 'tokenizer.json', /Dance/],
  ['an invalid regular expression', { 'tokenizer.json': tokenizerJson({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' } }), 'tokenizer_config.json': general }, 'tokenizer.json', /./],
  ['a vocabulary without the unknown token', { 'tokenizer.json': tokenizerJson({ model: { type: 'WordPiece', unk_token: '[UNK]', vocab: { '[CLS]': 0, '[SEP]': 1 } }, added_tokens: [] }) }, 'tokenizer.json', /"\[UNK\]" is not in the vocabulary/],
  ['special tokens of another name', { 'vocab.txt': '<pad>\n<unk>\n<s>\n</s>\n' }, 'vocab.txt', /"\[UNK\]" is not in the vocabulary/],
  ['an empty vocabulary', { 'vocab.txt': '' }, 'vocab.txt', /"\[UNK\]"/],
];
for (const [title, files, file, says] of invalid) {
  test(`not a tokenizer: ${title}`, async () => {
    await assert.rejects(tokenizerOf(files), (error: LabError) => {
      assert.ok(error instanceof LabError, String(error));
      assert.equal(error.report.code, 'tokenizer.invalid', error.message);
      assert.ok(error.report.file!.endsWith(file), error.message);
      assert.match(error.message, says);
      return true;
    });
  });
}

test('vocab.txt is read with CRLF and with special tokens of other names', async () => {
  const files = { 'vocab.txt': '<pad>\r\n<unk>\r\n<s>\r\n</s>\r\ngood\r\n##er\r\n', 'tokenizer_config.json': { pad_token: '<pad>', unk_token: '<unk>', cls_token: '<s>', sep_token: { content: '</s>' }, mask_token: null } };
  assert.deepEqual(ids(await tokenizerOf(files), 'gooder bad'), [2, 4, 5, 1, 3]);
});

test('text in plain ASCII is normalized as the library does it character by character', () => {
  const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
  for (const lowercase of [true, false]) {
    for (const strip_accents of [undefined, true, false]) {
      const config = { type: 'BertNormalizer' as const, clean_text: true, handle_chinese_chars: true, strip_accents, lowercase };
      for (const text of ['', printable, `${printable}\t\u0007é中`]) assert.equal(new ExactBertNormalizer(config).normalize(text), new BertNormalizer(config).normalize(text));
    }
  }
});

for (const vocab of [{ '[UNK]': 0, '[CLS]': 1, '[SEP]': 2, good: 3, film: 4 }, new Map([['[UNK]', 0], ['[CLS]', 1], ['[SEP]', 2], ['good', 3], ['film', 4]])]) {
  test(`added tokens count before those of a vocabulary that is ${vocab instanceof Map ? 'a list' : 'an object'}`, () => {
    const json = {
      normalizer: null, pre_tokenizer: { type: 'Whitespace' }, post_processor: null, decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
      added_tokens: [{ id: 7, content: 'film', special: false, lstrip: false, rstrip: false, normalized: false, single_word: false }],
      model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
    };
    const tokenizer = buildTokenizer(json, {});
    assert.deepEqual(tokenizer.encode('good film bad').ids, [3, 7, 0]);
    assert.equal(tokenizer.decode([3, 7, 0]), 'good film [UNK]');
    assert.equal(tokenizer.token_to_id('film'), 7);
    assert.equal(tokenizer.token_to_id('bad'), undefined);
  });
}

test('a regular expression that would run for hours is stopped', async () => {
  const tokenizer = await tokenizerOf({ 'tokenizer.json': tokenizerJson({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated' } }), 'tokenizer_config.json': general });
  const begun = Date.now();
  assert.throws(() => tokenizer.encode(`${'a'.repeat(50)}!`, 8), (error: LabError) => error.report.code === 'tokenizer.too-slow' && /more than 2 seconds for a text of 51 characters/.test(error.message));
  assert.ok(Date.now() - begun < 6000);
  assert.equal(tokenizer.encode('good', 8).cut, false);
});

test('200 mutated tokenizer files either work or say what is wrong', async () => {
  await inTemporaryFolder(folder => {
    const source = cases[0].files['tokenizer.json'];
    const generator = random(3, 'mutations');
    const pick = (n: number): number => Math.floor(generator.next() * n);
    const values = [null, 0, -1, 1e9, '', 'x', [], {}, true, [1], { type: 'Split' }];
    let refused = 0;
    for (let i = 0; i < 200; i++) {
      const json = JSON.parse(source) as Record<string, unknown>;
      // Walks down to a random key; the vocabulary and the added tokens are reached too.
      let at: Record<string, unknown> = json;
      for (;;) {
        const key = Object.keys(at)[pick(Object.keys(at).length)];
        const next = at[key];
        if (typeof next === 'object' && next !== null && Object.keys(next).length && pick(3)) { at = next as Record<string, unknown>; continue; }
        if (pick(2)) delete at[key]; else at[key] = values[pick(values.length)];
        break;
      }
      writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
      writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(i % 2 ? general : {}));
      try {
        const tokenizer = loadTokenizer(folder);
        for (const text of ['the film was [SEP] good 中', '']) tokenizer.encode(text, 6);
      } catch (error) {
        assert.ok(error instanceof LabError && error.report.code === 'tokenizer.invalid', `mutation ${i}: ${String((error as Error).stack)}`);
        refused += 1;
      }
    }
    assert.ok(refused > 20 && refused < 180, `${refused} refused`);
  });
});
