/** Folders with a tokenizer.json of which transformers takes vocabulary and merges alone, or all of it. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadChatTemplate, type Message } from '../../src/engine/data/chatTemplate';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Case { name: string; files: Record<string, string>; ids: number[][]; decoded: string[]; chat?: number[] }
const { texts, messages, cases } = JSON.parse(readFileSync(fixture('tokenizer/class_cases.json'), 'utf8')) as { texts: string[]; messages: Message[]; cases: Case[] };

for (const { name, files, ids, decoded, chat } of cases) {
  test(`the same tokens as transformers: ${name}`, () => inTemporaryFolder(folder => {
    for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content);
    const tokenizer = loadTokenizer(folder);
    texts.forEach((text, i) => {
      assert.deepEqual([...tokenizer.encode(text, 100_000).input_ids], ids[i], JSON.stringify(text));
      if (ids[i].length) assert.equal(tokenizer.decode(ids[i]), decoded[i], `${JSON.stringify(text)} written again`);
    });
    if (chat) assert.deepEqual(tokenizer.tokens(loadChatTemplate(folder, tokenizer.config)(messages, false)), chat);
  }));
}
