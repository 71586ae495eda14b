/** Written texts where the tokenizer's config asks for clean_up_tokenization_spaces: transformers', whole and piece by piece. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { cleanUp, settledPart } from '../../src/engine/data/cleanUp';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { Continuation } from '../../src/engine/generation/write';
import { random } from '../../src/engine/random';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Case { name: string; files: Record<string, string>; ids: number[][]; decoded: string[] }
const { cases } = JSON.parse(readFileSync(fixture('tokenizer/clean_up_cases.json'), 'utf8')) as { cases: Case[] };

for (const { name, files, ids, decoded } of cases) {
  test(`the same text as transformers, whole and in pieces: ${name}`, () => inTemporaryFolder(folder => {
    for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content);
    const tokenizer = loadTokenizer(folder);
    ids.forEach((tokens, i) => {
      if (!tokens.length) return;
      assert.equal(tokenizer.decode(tokens), decoded[i]);
      const text = new Continuation({ tokenizer, random: random(0, 'none'), ids: [0], longest: 1 + tokens.length });
      const pieces = tokens.map(token => text.add(token, new Set()));
      assert.deepEqual([pieces.join(''), text.text, text.stopped], [decoded[i], decoded[i], 'length'], JSON.stringify(pieces));
    });
  }));
}

test('what is settled of a text stays the same whatever follows', () => {
  const draw = random(4, 'texts');
  const parts = [' ', ' ', ' ', '.', '?', ',', "'", "' ", "n't", " 've", 's', 'm', 'word', 'é', '😀'];
  const text = (length: number): string => Array.from({ length }, () => parts[Math.floor(draw.next() * parts.length)]).join('');
  let settled = 0;
  for (let i = 0; i < 20_000; i++) {
    const [begun, more] = [text(1 + i % 12), text(1 + i % 5)];
    const certain = cleanUp(settledPart(begun));
    settled += certain.length;
    assert.ok(cleanUp(begun + more).startsWith(certain), JSON.stringify([begun, more]));
  }
  assert.ok(settled > 100_000, String(settled));
});
