/** Code that V8 compiled in an earlier process: it makes a start shorter and never changes what is run. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadCached } from '../../src/engine/codeCache';
import { inTemporaryFolder } from '../support/faults';

const bundle = (word: string): string => `const { basename } = require('node:path');\nexports.say = () => '${word} ' + basename(__filename);\nexports.fail = () => { throw new Error('no'); };\n`;

/** A bundle, code that was kept of it, and what loading it says. */
function kept(folder: string): { file: string; code: string; load: () => { say(): string; fail(): void; keep(): void } } {
  const [file, code] = ['bundle.js', 'cache/code.bin'].map(name => join(folder, name));
  writeFileSync(file, bundle('one'));
  const load = (): ReturnType<ReturnType<typeof kept>['load']> => { const { exports, keep } = loadCached<{ say(): string; fail(): void }>(file, code); return { ...exports, keep }; };
  const first = load();
  assert.equal(first.say(), 'one bundle.js');
  first.keep();
  return { file, code, load };
}

test('kept code is used and not written again, and errors name the place in the bundle', () => inTemporaryFolder(folder => {
  const { file, code, load } = kept(folder);
  const { ino } = statSync(code);
  const { say, fail, keep } = load();
  keep();
  assert.equal(statSync(code).ino, ino);
  assert.equal(say(), 'one bundle.js');
  assert.throws(fail, (error: Error) => error.stack!.includes(`${file}:3:`));
}));

test('a bundle that changed is never run with code of the old one, also where it is as long', () => inTemporaryFolder(folder => {
  const { file, code, load } = kept(folder);
  const old = readFileSync(code);
  writeFileSync(file, bundle('two'));
  const { say, keep } = load();
  assert.equal(say(), 'two bundle.js');
  keep();
  assert.notDeepEqual(readFileSync(code), old);
  assert.equal(load().say(), 'two bundle.js');
}));

test('damaged code, and a folder that cannot be made, only make a start longer', () => inTemporaryFolder(folder => {
  const { file, code, load } = kept(folder);
  const good = readFileSync(code);
  for (const bad of [good.subarray(0, 40), Buffer.alloc(0), Buffer.from(good.map((byte, i) => (i % 97 === 96 ? byte ^ 255 : byte)))]) {
    writeFileSync(code, bad);
    const { say, keep } = load();
    assert.equal(say(), 'one bundle.js');
    keep();
    assert.equal(readFileSync(code).length, good.length);
  }
  const { exports, keep } = loadCached<{ say(): string }>(file, join(file, 'code.bin'));
  keep();
  assert.equal(exports.say(), 'one bundle.js');
}));
