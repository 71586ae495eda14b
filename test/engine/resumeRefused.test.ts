/** A run that cannot go on is left as it was; one whose settings are those that it had goes on. */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RunControl } from '../../src/engine/control';
import { LabError } from '../../src/engine/errors';
import { SILENT, type Reporter } from '../../src/engine/reporter';
import { runSweep } from '../../src/engine/sweep';
import type { Experiment } from '../../src/protocol/experiment';
import type { SweepSummary } from '../../src/protocol/metrics';
import { inTemporaryFolder, snapshot } from '../support/faults';
import { copyCase, startRun, trainRecords } from '../support/runs';

test('a resumption that is refused because the data changed changes nothing in the run folder', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { max_steps: 6, save_strategy: 'steps', save_steps: 4, eval_strategy: 'no' } });
  await startRun(file).ended;
  // As if it had crashed after step 6: two steps are logged that no checkpoint holds.
  for (const name of ['checkpoint-6', 'adapter', 'summary.json']) rmSync(join(folder, 'run', name), { recursive: true });
  const before = snapshot(join(folder, 'run'));
  appendFileSync(join(folder, 'train.jsonl'), '\n{"text": "one more", "label": 0}\n');
  await assert.rejects(startRun(file, { resume: true }).ended, (error: unknown) => error instanceof LabError && error.report.code === 'resume.data-changed');
  assert.deepEqual(snapshot(join(folder, 'run')), before);
  assert.equal(trainRecords(join(folder, 'run')).length, 6);
}));

test('a run goes on whose max_length is the default, where its model has fewer positions than that', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { max_length: undefined, max_steps: 8 } });
  await startRun(file, { onStep: ({ step }, control) => { if (step === 3) control.want('stop'); } }).ended;
  assert.equal((JSON.parse(readFileSync(join(folder, 'run/experiment.json'), 'utf8')) as Experiment).training.max_length, 64, 'the positions of the model');
  const { state, steps } = await startRun(file, { resume: true }).ended;
  assert.deepEqual([state, steps], ['finished', 8]);
}));

/** A copy of a case with conversations whose template writes the time, to the millisecond. */
function dated(folder: string, top: object = {}): string {
  const file = copyCase(folder, { training: { max_steps: 6, max_length: 64, eval_strategy: 'no', save_strategy: 'steps', save_steps: 3 }, top }, 'llama-messages');
  const template = join(folder, 'model/chat_template.jinja');
  writeFileSync(template, `{{ strftime_now('%S.%f') }}\n${readFileSync(template, 'utf8')}`);
  return file;
}

test('a run on conversations goes on with the time that they had at its start', () => inTemporaryFolder(async folder => {
  const file = dated(folder);
  const losses = async (stop: number, resume: boolean): Promise<unknown[]> => {
    await startRun(file, { resume, onStep: ({ step }, control) => { if (step === stop) control.want('stop'); } }).ended;
    return trainRecords(join(folder, 'run')).map(({ step, loss }) => [step, loss]);
  };
  const first = await losses(2, false);
  await losses(4, true);
  const whole = await losses(0, true);
  assert.deepEqual([whole.length, whole.slice(0, 2)], [6, first]);
  assert.notDeepEqual(await losses(0, false), whole, 'a new run has a time of its own');
}));

test('a sweep on conversations goes on with the time that they had at its start, in members that had not begun too', () => inTemporaryFolder(async folder => {
  const file = dated(folder, { sweep: { 'training.learning_rate': [1e-3, 1e-2] } });
  const control = new RunControl();
  const sweep = (resume: boolean, report: Partial<Reporter> = {}): Promise<SweepSummary> => runSweep({ experiment_file: file, resume, cwd: folder, control: resume ? new RunControl() : control, report: { ...SILENT, ...report } });
  await sweep(false, { metrics: ({ records }) => { if (records.some(({ step }) => step === 3)) control.want('stop'); } });
  const { state, members, moment } = await sweep(true);
  assert.equal(state, 'finished');
  for (const { name } of members) assert.equal((JSON.parse(readFileSync(join(folder, 'run', name, 'checkpoint-6/trainer_state.json'), 'utf8')) as { moment: string }).moment, moment);
}));
