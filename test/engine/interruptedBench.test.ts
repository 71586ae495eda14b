/** A bench that is ended takes the engine that it measures with it, and its folder. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { isAlive } from '../../src/machine/folderOwner';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';

const skip = process.platform === 'win32' ? 'there a process is ended without being told' : false;

test('a bench that is asked to end ends its engine first, and leaves the checkpoints and nothing else', { skip }, () => inTemporaryFolder(async folder => {
  const child = spawn(process.execPath, [built('test/bench/bench.js'), '--rounding', '--rounds', '1', '--bases', 'bert-tiny'], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, TMPDIR: folder } });
  let err = '';
  child.stderr.on('data', data => { err += data; });
  const ended = new Promise(resolve => child.once('close', (code, signal) => resolve(signal ?? code)));
  const shared = join(folder, 'lora-lab-bench');
  const run = (): string | undefined => existsSync(shared) ? readdirSync(shared).filter(name => name.startsWith('bench.')).map(name => join(shared, name, 'rounding-bert-tiny/run')).find(at => existsSync(join(at, 'metrics.jsonl'))) : undefined;
  while (!run() && child.exitCode === null && child.signalCode === null) await sleep(5);
  const { pid } = JSON.parse(readFileSync(join(run() ?? assert.fail(err), '.lock'), 'utf8')) as { pid: number };
  assert.ok(isAlive(pid));
  child.kill('SIGTERM');
  assert.equal(await ended, 130, err);
  // It was told before its folder went; the system may need a moment to clear it away.
  for (let i = 0; i < 100 && isAlive(pid); i++) await sleep(20);
  assert.equal(isAlive(pid), false);
  assert.deepEqual(readdirSync(shared), ['bert-tiny']);
}));
