/** How the editor sees a run folder that a process works in. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRunFolder } from '../../src/engine/runFolder';
import { readRunFolder } from '../../src/extension/runFolders';
import { inTemporaryFolder } from '../support/faults';

test('a run is active while a process of this machine holds its folder, whatever summary an earlier part left, and not for a lock that was left behind', () => inTemporaryFolder(async parent => {
  const folder = join(parent, 'run');
  const run = openRunFolder(folder, { resume: false });
  const status = async (): Promise<string | undefined> => (await readRunFolder(folder))?.status;
  writeFileSync(join(folder, 'experiment.json'), '{}');
  assert.equal(await status(), 'active');
  writeFileSync(join(folder, 'summary.json'), '{ "state": "stopped" }');
  assert.equal(await status(), 'active');
  const lock = JSON.parse(readFileSync(join(folder, '.lock'), 'utf8')) as object;
  run.close();
  assert.equal(await status(), 'stopped');
  // No process has this number; the other lock came with a folder that was copied from another machine.
  for (const left of [{ pid: 2 ** 31 - 1 }, { host: `not-${process.pid}` }]) {
    writeFileSync(join(folder, '.lock'), JSON.stringify({ ...lock, ...left }));
    assert.equal(await status(), 'stopped');
  }
}));
