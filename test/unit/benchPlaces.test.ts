/** Two benches at a time share checkpoints and nothing else. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs, { mkdirSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { mock, test } from 'node:test';
import { makeBase, BASES } from '../bench/bases';
import { writeExperiment } from '../bench/experiment';
import { ROWS } from '../bench/rows';
import { inTemporaryFolder } from '../support/faults';

const tiny = { ...ROWS[0], base: 'bert-tiny' as const };

test('each bench has a folder of its own, with the weights of the shared checkpoint, and leaves that checkpoint as it is', () => inTemporaryFolder(async folder => {
  const { ownBase, ownFolder, linkBase, shared } = await placesIn(folder);
  const dead = spawnSync(process.execPath, ['-e', '']).pid, here = hostname();
  const stays = [`bench.${here}.${process.ppid}`, `bench.elsewhere.${dead}`, `notes.${here}.${dead}`, 'notes.1', 'train.jsonl'];
  const goes = [`bench.${here}.${dead}`, `qwen2-0.5b.${here}.${dead}`, 'run', `bench.${process.ppid}`];
  for (const name of [...stays, ...goes]) mkdirSync(join(shared, name), { recursive: true });
  const days_ago = Date.now() / 1000 - 2 * 86400;
  for (const name of ['run', `bench.${process.ppid}`, 'notes.1']) utimesSync(join(shared, name), days_ago, days_ago);
  const base = await ownBase('bert-tiny');
  assert.equal(base, join(ownFolder(), 'bert-tiny'));
  assert.deepEqual(readdirSync(shared).sort(), [...stays, `bench.${here}.${process.pid}`, 'bert-tiny'].sort(), 'what killed benches of this machine left is gone, and nothing else');
  const dropout = (at: string): unknown => (JSON.parse(readFileSync(join(at, 'config.json'), 'utf8')) as Record<string, unknown>).hidden_dropout_prob;
  assert.equal(dropout(base), 0, 'whatever the shared one was made with');
  writeExperiment(ownFolder(), { ...tiny, dropout: 0.3 });
  assert.deepEqual([dropout(base), dropout(join(shared, 'bert-tiny'))], [0.3, undefined]);
  const weights = (at: string): string => join(at, 'model.safetensors');
  assert.equal(statSync(weights(base)).ino, statSync(weights(join(shared, 'bert-tiny'))).ino, 'no second copy on the disk');

  const links = mock.method(fs, 'linkSync', () => { throw Object.assign(new Error('as on a disk without hard links'), { code: 'EPERM' }); });
  try { await linkBase('bert-tiny', join(folder, 'copied')); } finally { links.mock.restore(); }
  assert.equal(links.mock.callCount(), 2);
  assert.deepEqual(readFileSync(weights(join(folder, 'copied'))), readFileSync(weights(base)));
}));

/** The bench's places, with `folder` for the system's temporary one. */
async function placesIn(folder: string): Promise<typeof import('../bench/places')> {
  const { TMPDIR, TEMP } = process.env;
  Object.assign(process.env, { TMPDIR: folder, TEMP: folder });
  try { return await import('../bench/places'); } finally {
    for (const [name, value] of Object.entries({ TMPDIR, TEMP })) if (value === undefined) delete process.env[name]; else process.env[name] = value;
  }
}

test('a checkpoint that two benches make at the same time is there once, and whole', () => inTemporaryFolder(async folder => {
  const base = join(folder, 'bert-tiny');
  // The other one has finished while this one wrote.
  const making = makeBase(base, BASES['bert-tiny']);
  mkdirSync(base);
  writeFileSync(join(base, 'config.json'), 'of the other one');
  await making;
  assert.equal(readFileSync(join(base, 'config.json'), 'utf8'), 'of the other one');
  assert.deepEqual(readdirSync(folder), ['bert-tiny']);
}));
