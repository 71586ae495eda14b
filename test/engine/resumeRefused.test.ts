/** A run that cannot go on is left as it was; one whose settings are those that it had goes on. */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import type { Experiment } from '../../src/protocol/experiment';
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
