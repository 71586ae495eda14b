/** Two benches at a time share checkpoints and nothing else. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeBase, BASES } from '../bench/bases';
import { writeExperiment } from '../bench/experiment';
import { ROWS } from '../bench/rows';
import { inTemporaryFolder } from '../support/faults';

const tiny = { ...ROWS[0], base: 'bert-tiny' as const };

test('each bench has a folder of its own, with the weights of the shared checkpoint, and leaves that checkpoint as it is', () => inTemporaryFolder(async folder => {
  const { TMPDIR, TEMP } = process.env;
  Object.assign(process.env, { TMPDIR: folder, TEMP: folder });
  const { ownBase, ownFolder, shared } = await import('../bench/places');
  for (const [name, value] of Object.entries({ TMPDIR, TEMP })) if (value === undefined) delete process.env[name]; else process.env[name] = value;
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  for (const left of [`bench.${dead}`, `bert-base.${dead}`]) mkdirSync(join(shared, left), { recursive: true });
  mkdirSync(join(shared, `bench.${process.ppid}`));
  const base = await ownBase('bert-tiny');
  assert.equal(base, join(ownFolder(), 'bert-tiny'));
  assert.deepEqual(readdirSync(shared).sort(), [`bench.${process.pid}`, `bench.${process.ppid}`, 'bert-tiny'].sort(), 'what killed benches left is gone, what another one uses is not');
  writeExperiment(ownFolder(), { ...tiny, dropout: 0.3 });
  const dropout = (at: string): unknown => (JSON.parse(readFileSync(join(at, 'config.json'), 'utf8')) as Record<string, unknown>).hidden_dropout_prob;
  assert.deepEqual([dropout(base), dropout(join(shared, 'bert-tiny'))], [0.3, undefined]);
  assert.equal(statSync(join(base, 'model.safetensors')).ino, statSync(join(shared, 'bert-tiny/model.safetensors')).ino, 'no second copy on the disk');
}));

test('a checkpoint that two benches make at the same time is there once, and whole', () => inTemporaryFolder(async folder => {
  const base = join(folder, 'bert-tiny');
  // The other one has finished while this one wrote.
  const making = makeBase(base, BASES['bert-tiny']);
  mkdirSync(base);
  writeFileSync(join(base, 'config.json'), 'of the other one');
  await making;
  assert.equal(readFileSync(join(base, 'config.json'), 'utf8'), 'of the other one');
  assert.ok(!existsSync(`${base}.${process.pid}`));
}));
