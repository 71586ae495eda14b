/** A checkpoint reaches the disk while the next steps are computed: a slow disk holds up no step, and whoever asks for it waits until it is there. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findCheckpoint } from '../../src/engine/checkpointFolders';
import { LabError } from '../../src/engine/errors';
import type { ErrorReport } from '../../src/protocol/engine';
import { inTemporaryFolder, snapshot, withSlowDisk } from '../support/faults';
import { copyCase, startRun, trainRecords } from '../support/runs';

/** Twelve steps with a checkpoint every `save_steps`. */
const saving = (save_steps: number) => ({ training: { save_strategy: 'steps', save_steps, eval_strategy: 'no', max_steps: 12, shuffle: true } });
const checkpoints = (run: string): number[] => readdirSync(run).flatMap(name => (name.startsWith('checkpoint-') ? [Number(name.slice(11))] : [])).sort((a, b) => a - b);
/** What a checkpoint holds, but for when the run began, the seconds that it took and the place of its base. */
const held = (folder: string): Record<string, unknown> => {
  const files = snapshot(folder);
  const read = (name: string): object => JSON.parse(Buffer.from(files[name], 'base64').toString()) as object;
  return { ...files, 'manifest.json': '', 'trainer_state.json': { ...read('trainer_state.json'), moment: '', seconds: 0 }, 'adapter_config.json': { ...read('adapter_config.json'), base_model_name_or_path: '' } };
};
/** Checkpoints and losses of a run on a disk that takes no time. */
async function straight(folder: string, save_steps: number): Promise<string> {
  await startRun(copyCase(folder, saving(save_steps))).ended;
  return join(folder, 'run');
}
function assertSame(run: string, expected: string): void {
  assert.deepEqual(checkpoints(run), checkpoints(expected));
  for (const step of checkpoints(expected)) assert.deepEqual(held(join(run, `checkpoint-${step}`)), held(join(expected, `checkpoint-${step}`)), `checkpoint ${step}`);
  assert.deepEqual(trainRecords(run).map(record => record.loss), trainRecords(expected).map(record => record.loss));
}

test('steps go on while the disk takes its time, and the checkpoint is that of its own step', () => inTemporaryFolder(folder => withSlowDisk(async disk => {
  const run = join(folder, 'slow/run');
  const during: number[][] = [];
  await startRun(copyCase(join(folder, 'slow'), saving(4)), { onStep: ({ step }) => {
    if (step === 4) disk.held = true;
    if (step > 4 && step < 8) during.push([step, ...checkpoints(run)]);
    if (step === 7) disk.release();
  } }).ended;
  assert.deepEqual(during, [[5], [6], [7]], 'three steps while nothing reached the disk, and no checkpoint under its name before it did');
  assertSame(run, await straight(join(folder, 'straight'), 4));
})));

test('one checkpoint at a time is on its way: the next one waits', () => inTemporaryFolder(folder => withSlowDisk(async disk => {
  const run = join(folder, 'run');
  const asked: number[] = [];
  let steps = 0;
  const { ended } = startRun(copyCase(folder, saving(2)), { onStep: ({ step }) => {
    steps = step;
    if (step === 2) disk.held = true;
    if (step === 3 || step === 4) asked.push(disk.waiting);
  } });
  await until(() => steps === 4);
  await turns();
  assert.equal(steps, 4, 'step 5 waits for the checkpoint of step 4, and that for the one of step 2');
  assert.ok(asked[0] > 5 && asked[0] === asked[1] && asked[0] === disk.waiting, `${asked} and ${disk.waiting} files on their way`);
  assert.deepEqual(checkpoints(run), []);
  disk.release();
  await ended;
  assert.deepEqual(checkpoints(run), [2, 4, 6, 8, 10, 12]);
})));

for (const way of ['pause', 'stop', 'save'] as const) {
  test(`${way}: nobody is told that it is done before the checkpoint is on the disk`, () => inTemporaryFolder(folder => withSlowDisk(async disk => {
    const run = join(folder, 'run');
    const told: string[] = [];
    let waits = false;
    const { control, ended } = startRun(copyCase(folder, saving(4)), {
      onStep: ({ step }) => {
        if (step === 4) disk.held = true;
        if (step !== 5) return;
        if (way === 'save') void control.save().then(() => told.push('saved'));
        else control.want(way);
        waits = true;
      },
      state: ({ state }) => { if (state === 'paused') told.push('paused'); },
    });
    void ended.then(() => told.push('ended'));
    await until(() => waits);
    await turns();
    assert.deepEqual([told, checkpoints(run)], [[], []]);
    disk.release();
    if (way === 'pause') await until(() => told.includes('paused'));
    else if (way === 'save') await until(() => told.includes('saved'));
    else assert.equal((await ended).state, 'stopped');
    assert.deepEqual(checkpoints(run).slice(0, 2), way === 'pause' ? [4] : [4, 5]);
    control.want('run');
    await ended;
  })));
}

test('a pause that is asked for in the very step of a checkpoint is told when that is on the disk', () => inTemporaryFolder(folder => withSlowDisk(async disk => {
  const told: string[] = [];
  let waits = false;
  const { control, ended } = startRun(copyCase(folder, saving(4)), {
    onStep: ({ step }) => {
      if (step !== 4) return;
      disk.held = waits = true;
      control.want('pause');
    },
    state: ({ state }) => { if (state === 'paused') told.push('paused'); },
  });
  await until(() => waits);
  await turns();
  assert.deepEqual([told, checkpoints(join(folder, 'run'))], [[], []]);
  disk.release();
  await until(() => told.length > 0);
  assert.deepEqual(checkpoints(join(folder, 'run')), [4]);
  control.want('run');
  await ended;
})));

test('a disk that turns out to be full holds the run; with room again the checkpoint of that very step is written', () => inTemporaryFolder(folder => withSlowDisk(async disk => {
  const reports: ErrorReport[] = [];
  const { control, ended } = startRun(copyCase(join(folder, 'full'), saving(4)), {
    waits: true,
    onStep: ({ step }) => {
      // A run that is paused has its last checkpoint on the disk.
      if (step === 6) control.want('pause');
      if (step === 8) disk.failure = 'ENOSPC';
    },
    state: ({ state }) => { if (state === 'paused' && !disk.failure) control.want('run'); },
    blocked: ({ report }) => {
      if (!report) return;
      reports.push(report);
      // The first Retry comes too early.
      if (reports.length > 1) disk.failure = undefined;
      setImmediate(() => control.want('run'));
    },
  });
  assert.equal((await ended).state, 'finished');
  assert.equal(reports.length, 2);
  assert.match(reports[0].cause, /^the disk is full, so the run is paused: about \d+\.\d MB are needed for checkpoint-8/);
  assert.equal(reports[0].lastGoodCheckpoint, join(folder, 'full/run/checkpoint-4'));
  assertSame(join(folder, 'full/run'), await straight(join(folder, 'straight'), 4));
})));

test('a disk that fails ends the run with the error and the last checkpoint, and leaves nothing half written', () => inTemporaryFolder(folder => withSlowDisk(async disk => {
  const run = join(folder, 'run');
  const { control, ended } = startRun(copyCase(folder, saving(4)), {
    waits: true,
    onStep: ({ step }) => {
      if (step === 6) control.want('pause');
      if (step === 8) disk.failure = 'EIO';
    },
    state: ({ state }) => { if (state === 'paused') control.want('run'); },
  });
  const error: unknown = await ended.catch((error: unknown) => error);
  assert.ok(error instanceof LabError && error.report.code === 'disk.failed', String(error));
  assert.match(error.report.file!, /checkpoint-8|metrics\.jsonl/);
  assert.equal(error.report.lastGoodCheckpoint, join(run, 'checkpoint-4'));
  assert.deepEqual(readdirSync(run).filter(name => /^\.|checkpoint/.test(name)), ['checkpoint-4']);
  assert.equal(findCheckpoint(run).step, 4);
})));

async function until(reached: () => boolean): Promise<void> {
  while (!reached()) await new Promise(resolve => setImmediate(resolve));
}

/** Time enough for a run that waits for nothing to take many steps. */
const turns = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 300));
