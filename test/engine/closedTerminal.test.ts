/** A terminal that is closed while it trains: the run ends with a checkpoint, as after Ctrl+C. A pipe that is closed ends nothing. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { findCheckpoint } from '../../src/engine/checkpointFolders';
import type { Summary } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { copyCase } from '../support/runs';

const LONG = { training: { max_steps: 100_000, save_strategy: 'no', eval_strategy: 'no' } };
const CLI = built('engine/cli.js');
/** More than two signals of one press are apart. */
const APART_MS = 400;
const until = async (what: string, reached: () => boolean, seconds = 60): Promise<void> => {
  for (const end = Date.now() + 1000 * seconds; !reached(); await sleep(20)) assert.ok(Date.now() < end, `not within ${seconds} s: ${what}`);
};
const trained = (folder: string): boolean => existsSync(join(folder, 'run/metrics.jsonl')) && readFileSync(join(folder, 'run/metrics.jsonl'), 'utf8').split('\n').length > 20;
const alive = (pid: number): boolean => { try { process.kill(pid, 0); return true; } catch { return false; } };

const noTerminal = process.platform !== 'linux' ? 'closing a terminal is tried on Linux' : spawnSync('script', ['--version']).error ? 'there is no program "script" (util-linux) that gives it a terminal' : false;

test('when its terminal is gone, a run that writes its progress there ends with a checkpoint and a summary', { skip: noTerminal }, () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, LONG);
  const noted = join(folder, 'pid');
  const terminal = spawn('script', ['--quiet', '--command', `echo $$ > '${noted}'; exec '${process.execPath}' '${CLI}' train '${file}'`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '', pid: number | undefined;
  terminal.stdout.on('data', data => { shown += data; });
  try {
    await until('steps are made', () => trained(folder));
    pid = Number(readFileSync(noted, 'utf8'));
    assert.match(shown, /[█░]{10}/, 'it has a terminal');
    terminal.kill('SIGKILL');
    await until('the run has ended', () => !alive(pid!), 20);
    const { state, steps } = JSON.parse(readFileSync(join(folder, 'run/summary.json'), 'utf8')) as Summary;
    assert.deepEqual([state, findCheckpoint(join(folder, 'run')).step], ['stopped', steps]);
  } finally {
    terminal.kill('SIGKILL');
    if (pid && alive(pid)) process.kill(pid, 'SIGKILL');
  }
}));

test('a closed terminal that is told of again and again, and what npm\'s end adds, is no insisting; pressing twice is', { skip: process.platform === 'win32' ? 'signals are for POSIX systems' : false }, () => inTemporaryFolder(async folder => {
  // Where the worker is held, nothing but somebody who insists ends the process.
  const hook = join(folder, 'hook.cjs');
  writeFileSync(hook, "const fs = require('node:fs'), { isMainThread } = require('node:worker_threads'); if (!isMainThread) fs.fsync = () => {};");
  const child = spawn(process.execPath, ['--require', hook, CLI, 'train', copyCase(folder, LONG)], { stdio: 'ignore' });
  const ended = new Promise(resolve => child.once('close', (code, signal) => resolve(signal ?? code)));
  try {
    await until('steps are made', () => trained(folder));
    for (const signal of ['SIGHUP', 'SIGHUP', 'SIGTERM'] as const) {
      child.kill(signal);
      await sleep(APART_MS);
      assert.deepEqual([child.exitCode, child.signalCode], [null, null], signal);
    }
    child.kill('SIGTERM');
    assert.equal(await ended, 'SIGINT');
  } finally {
    child.kill('SIGKILL');
  }
}));

test('a run trains on when the pipe that its messages go to is closed, and a result that nobody reads is no fault', { skip: process.platform === 'win32' ? 'a closed pipe is tried on POSIX systems' : false }, () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { eval_strategy: 'steps', eval_steps: 1 } });
  const run = spawn(process.execPath, [CLI, 'train', file], { stdio: ['ignore', 'ignore', 'pipe'] });
  run.stderr.once('data', () => run.stderr.destroy());
  const [code] = await once(run, 'exit');
  assert.equal(code, 0);
  assert.equal((JSON.parse(readFileSync(join(folder, 'run/summary.json'), 'utf8')) as Summary).state, 'finished');

  const predict = spawn(process.execPath, [CLI, 'predict', '--base', join(folder, 'model'), '--adapter', join(folder, 'run/adapter'), '--input', join(folder, 'eval.jsonl')], { stdio: ['ignore', 'pipe', 'pipe'] });
  predict.stdout.destroy();
  let said = '';
  predict.stderr.on('data', data => { said += data; });
  assert.deepEqual([...await once(predict, 'close'), said], [0, null, '']);
}));
