/** Parts of a tokenizer.json, against what those of tokenizers (Rust) do: test/fixtures/make_parts.py. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { exactNormalizer, exactPreTokenizer } from '../../src/engine/data/exactParts';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { buildTokenizer } from '../../src/engine/data/vocabulary';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

type Config = Record<string, unknown> & { type: string };
interface Cases { texts: string[]; pre_tokenizers: { config: Config; pieces: string[][] }[]; normalizers: { config: Config; normalized: string[] }[] }
const { texts, pre_tokenizers, normalizers } = JSON.parse(readFileSync(fixture('tokenizer/part_cases.json'), 'utf8')) as Cases;

/** A tokenizer that knows single characters, words of the tests, and nothing else. */
const json = (parts: object = {}, words: string[] = []): Record<string, unknown> => ({
  added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...parts,
  model: { type: 'WordPiece', unk_token: '?', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: Object.fromEntries(['?', ...words].map((word, id) => [word, id])) },
});

for (const type of new Set(pre_tokenizers.map(({ config }) => config.type))) {
  test(`texts are cut as in Rust: ${type}`, () => {
    for (const { config, pieces } of pre_tokenizers.filter(one => one.config.type === type)) {
      const part = exactPreTokenizer(config)!;
      texts.forEach((text, i) => assert.deepEqual(text && part.pre_tokenize(text, { section_index: 0 }), text && pieces[i], `${JSON.stringify(text)} by ${JSON.stringify(config)}`));
    }
  });
}

test('texts are normalized as in Rust', () => {
  for (const { config, normalized } of normalizers) {
    const part = exactNormalizer(buildTokenizer(json({ normalizer: config }), {}).normalizer)!;
    texts.forEach((text, i) => assert.equal(part.normalize(text), normalized[i], `${JSON.stringify(text)} by ${JSON.stringify(config)}`));
  }
});

test('a tokenizer of one\'s own finds words with accents, single signs and digits of every kind', () => inTemporaryFolder(folder => {
  const words = ['naïve', 'café', 'wait', '.', 'οδοσ', 'x', '²'];
  const pretokenizers = [{ type: 'Whitespace' }, { type: 'Punctuation' }, { type: 'Digits', individual_digits: true }];
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json({ normalizer: { type: 'Sequence', normalizers: [{ type: 'Lowercase' }] }, pre_tokenizer: { type: 'Sequence', pretokenizers } }, words)));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast' }));
  assert.deepEqual(loadTokenizer(folder).tokens('Naïve CAFÉ wait... ΟΔΟΣ x²'), [1, 2, 3, 4, 4, 4, 5, 6, 7]);
}));

test('parts that are not taken as Rust takes them are refused by name', () => inTemporaryFolder(folder => {
  const refused = (pre_tokenizer: object, says: RegExp): void => {
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json({ pre_tokenizer })));
    assert.throws(() => loadTokenizer(folder), says);
  };
  refused({ type: 'FixedLength', length: 2 }, /"FixedLength" are not supported/);
  refused({ type: 'Sequence', pretokenizers: [{ type: 'UnicodeScripts' }] }, /UnicodeScripts/);
  refused({ type: 'Split', pattern: { String: '-' }, behavior: 'Doubled', invert: false }, /"Doubled"/);
}));
