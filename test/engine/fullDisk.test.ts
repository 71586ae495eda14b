/** A disk that fills up in the middle of a run: where somebody watches the run waits, otherwise it ends with its last checkpoint. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import type { ErrorReport } from '../../src/protocol/engine';
import { inTemporaryFolder, withDisk } from '../support/faults';
import { copyCase, startRun, trainRecords } from '../support/runs';

const CHECKPOINTS = { training: { save_strategy: 'steps', save_steps: 4, eval_strategy: 'no' } };

/** Runs the case while the disk is full from a step on. `answer` is called with each report of the waiting run. */
async function run(folder: string, { waits, answer }: { waits: boolean; answer(report: ErrorReport, again: () => void, stop: () => void, disk: { full: boolean }): void }) {
  const states: string[] = [];
  return withDisk(async space => {
    const { control, ended } = startRun(copyCase(folder, CHECKPOINTS), {
      waits, onStep: ({ step }) => { if (step === 8) space.full = true; },
      state: ({ state }) => states.push(state),
      blocked: ({ report }) => { if (report) setImmediate(() => answer(report, () => control.want('run'), () => control.want('stop'), space)); },
    });
    try { return { states, summary: await ended, error: undefined }; } catch (error) { return { states, summary: undefined, error }; }
  });
}

test('a run that is watched waits for room and then goes on as if nothing had been', () => inTemporaryFolder(async folder => {
  const reports: ErrorReport[] = [];
  const { summary, states } = await run(join(folder, 'a'), { waits: true, answer: (report, again, stop, space) => {
    reports.push(report);
    // The first Retry comes too early.
    if (reports.length > 1) space.full = false;
    again();
  } });
  assert.equal(summary?.state, 'finished');
  assert.equal(reports.length, 2);
  assert.match(reports[0].cause, /^the disk is full, so the run is paused: about \d+\.\d MB are needed for checkpoint-8, 0\.0 MB are free$/);
  assert.deepEqual([reports[0].file, reports[0].where, reports[0].lastGoodCheckpoint], [join(folder, 'a/run'), 'step 8', join(folder, 'a/run/checkpoint-4')]);
  assert.ok(states.includes('paused'));
  const straight = await startRun(copyCase(join(folder, 'b'), CHECKPOINTS)).ended;
  assert.equal(summary!.train_loss, straight.train_loss);
  assert.deepEqual(trainRecords(join(folder, 'a/run')).map(record => record.loss), trainRecords(join(folder, 'b/run')).map(record => record.loss));
  assert.deepEqual(readdirSync(join(folder, 'a/run')).sort(), readdirSync(join(folder, 'b/run')).sort());
}));

test('stopping instead ends the run with the error and its last checkpoint', () => inTemporaryFolder(async folder => {
  const { error } = await run(folder, { waits: true, answer: (report, again, stop) => stop() });
  assert.ok(error instanceof LabError && error.report.code === 'disk.full', String(error));
  assert.equal(error.report.lastGoodCheckpoint, join(folder, 'run/checkpoint-4'));
  assert.deepEqual(readdirSync(join(folder, 'run')).filter(name => /tmp|checkpoint/.test(name)), ['checkpoint-4']);
}));

test('without anybody to make room the run ends at once', () => inTemporaryFolder(async folder => {
  const { error } = await run(folder, { waits: false, answer: () => assert.fail('nobody is asked') });
  assert.ok(error instanceof LabError && error.report.code === 'disk.full' && error.report.lastGoodCheckpoint, String(error));
}));
