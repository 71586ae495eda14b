/** Ctrl+C while a merge writes, and just after it has finished: a folder of the asked name is a whole checkpoint or is not there. */
import assert from 'node:assert/strict';
import { fork, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { inTemporaryFolder } from '../support/faults';
import { writeLargeBase, writing } from '../support/largeBase';
import { built, fixture } from '../support/paths';

const CASE = fixture('references', 'linear'), MODEL = join(CASE, 'model');
/** Writing this takes far longer than noticing that it has begun. */
const MUCH = 2 ** 29;

/** Merges into `folder/merged`, and interrupts it as soon as `reached` says so. */
async function merge(folder: string, base: string, reached: () => boolean, options: string[] = []): Promise<{ code: number | null; signal: string | null; out: string; err: string }> {
  const child = spawn(process.execPath, [...options, built('engine/cli.js'), 'merge', '--base', base, '--adapter', join(CASE, 'adapter_final'), '--out', join(folder, 'merged')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '', err = '', over = false;
  child.stdout.on('data', data => { out += data; });
  child.stderr.on('data', data => { err += data; });
  const ended = new Promise<{ code: number | null; signal: string | null }>(resolve => child.once('close', (code, signal) => { over = true; resolve({ code, signal }); }));
  while (!over && !reached()) await sleep(1);
  child.kill('SIGINT');
  return { ...await ended, out, err };
}

const hashes = (folder: string): string[][] => readdirSync(folder).sort().map(name => [name, createHash('sha256').update(readFileSync(join(folder, name))).digest('hex')]);

test('a merge that is interrupted while it writes ends with 130, says so, and leaves nothing', () => inTemporaryFolder(async folder => {
  const base = writeLargeBase(MODEL, join(folder, 'base'), MUCH);
  const { code, signal, out, err } = await merge(folder, base, writing(folder));
  assert.deepEqual([code, signal, out, err], [130, null, '', 'interrupted; what was unfinished is removed\n']);
  assert.deepEqual(readdirSync(folder), ['base']);
}));

test('a merge that is interrupted when its folder has got its name has left all of it', () => inTemporaryFolder(async folder => {
  const base = writeLargeBase(MODEL, join(folder, 'base'), 2 ** 20);
  const { code, signal, err } = await merge(folder, base, () => existsSync(join(folder, 'merged')));
  // It may have ended, or be about to, before the signal comes; what is said is true in every case.
  assert.ok(code === 130 ? err === 'interrupted; what was unfinished is removed\n' : (code === 0 || signal === 'SIGINT') && err === '', `${code}, ${signal}: ${err}`);
  const interrupted = hashes(join(folder, 'merged'));
  assert.deepEqual(readdirSync(folder).sort(), ['base', 'merged']);
  await inTemporaryFolder(async other => {
    assert.equal((await merge(other, base, () => false)).code, 0);
    assert.deepEqual(interrupted, hashes(join(other, 'merged')));
  });
}));

test('what an interrupted merge cannot remove is named, with the reason', () => inTemporaryFolder(async folder => {
  const [base, place, hook] = [join(folder, 'base'), join(folder, 'place'), join(folder, 'hook.cjs')];
  writeLargeBase(MODEL, base, MUCH);
  mkdirSync(place);
  writeFileSync(hook, "require('node:fs').rmSync = () => { throw Object.assign(new Error('as if'), { code: 'EACCES' }); };");
  const { code, signal, out, err } = await merge(place, base, writing(place), ['--require', hook]);
  assert.deepEqual([code, signal, out], [130, null, ''], err);
  assert.match(err, /^interrupted; what was unfinished could not be removed: \S*place\/\.tmp-merged-\S+: cannot remove: permission denied \(EACCES\)\. .*\n$/);
}));

test('a merge whose write fails says why, also where what it wrote cannot be removed', () => inTemporaryFolder(async folder => {
  const [base, place, hook] = [join(folder, 'base'), join(folder, 'place'), join(folder, 'hook.cjs')];
  writeLargeBase(MODEL, base, 2 ** 20);
  mkdirSync(place);
  writeFileSync(hook, "const fs = require('node:fs'); fs.rmSync = () => { throw Object.assign(new Error('as if'), { code: 'EACCES' }); }; fs.writeSync = () => { throw Object.assign(new Error('as if'), { code: 'EIO' }); };");
  const { code, err } = await merge(place, base, () => false, ['--require', hook]);
  assert.equal(code, 2);
  assert.match(err, /^error: \S*place\/merged\/model\.safetensors: cannot write: the disk reports a read or write error \(EIO\)\. .*\n$/);
}));

test('an engine whose editor is gone in the middle of a merge leaves nothing and ends', () => inTemporaryFolder(async folder => {
  const base = writeLargeBase(MODEL, join(folder, 'base'), MUCH);
  const child = fork(built('engine/main.js'), [], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  const ended = new Promise(resolve => child.once('exit', resolve));
  child.send({ jsonrpc: '2.0', id: 1, method: 'merge', params: { base, adapter: join(CASE, 'adapter_final'), out: join(folder, 'merged') } });
  while (!writing(folder)()) await sleep(1);
  child.disconnect();
  await ended;
  assert.deepEqual(readdirSync(folder), ['base']);
}));

test('where one of two merges has ended when the editor goes, what it wrote stays and the other leaves nothing', () => inTemporaryFolder(async folder => {
  const [place, base] = [join(folder, 'place'), writeLargeBase(MODEL, join(folder, 'base'), MUCH)];
  mkdirSync(place);
  const child = fork(built('engine/main.js'), [], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  const ended = new Promise(resolve => child.once('exit', resolve));
  const answered = new Promise(resolve => child.on('message', message => { if ((message as { id?: number }).id === 2) resolve(message); }));
  const send = (id: number, model: string, out: string): void => { child.send({ jsonrpc: '2.0', id, method: 'merge', params: { base: model, adapter: join(CASE, 'adapter_final'), out } }); };
  send(1, base, join(place, 'merged'));
  send(2, MODEL, join(folder, 'small'));
  assert.ok('result' in (await answered as object));
  while (!writing(place)()) await sleep(1);
  child.disconnect();
  await ended;
  assert.deepEqual(readdirSync(place), []);
  assert.ok(existsSync(join(folder, 'small/model.safetensors')));
}));
