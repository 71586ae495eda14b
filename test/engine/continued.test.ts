/** Runs that go on after an end that was no ordinary one, and what they find of the part before. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findCheckpoint } from '../../src/engine/checkpointFolders';
import { LabError } from '../../src/engine/errors';
import { isEvalRecord, type Summary } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, readMetrics, startRun, trainRecords, type TestRun } from '../support/runs';

const summaryIn = (run: string, name = 'summary.json'): Summary => JSON.parse(readFileSync(join(run, name), 'utf8')) as Summary;
const evaluations = (run: string): [number, number][] => readMetrics(run).filter(isEvalRecord).map(({ step, eval_loss }) => [step, Number(eval_loss)]);
const checkpoints = (run: string): string[] => readdirSync(run).filter(name => name.startsWith('checkpoint-')).sort();

/** Stops the run while it evaluates after this step. */
function stopInEvaluation(file: string, at: number): TestRun {
  let steps = 0;
  const run = startRun(file, {
    onStep: ({ step }) => { steps = step; },
    progress: ({ message }) => { if (message === 'Evaluating' && steps === at) run.control.want('stop'); },
  });
  return run;
}

/** A run that ends as if the process had died in this step. */
const crash = (file: string, at: number): Promise<void> => assert.rejects(startRun(file, { resume: true, onStep: ({ step }) => { if (step === at) throw new Error('crash'); } }).ended, /crash/);

for (const load_best_model_at_end of [false, true]) {
  test(`a run that is stopped in its last evaluation has stopped, and makes it when it goes on${load_best_model_at_end ? '; the best checkpoint is saved then' : ''}`, () => inTemporaryFolder(async folder => {
    const changes = { training: { max_steps: -1, num_train_epochs: 2, eval_strategy: 'epoch', save_strategy: 'epoch', load_best_model_at_end } };
    const [whole, file] = ['whole', 'stopped'].map(name => copyCase(join(folder, name), changes));
    const expected = await startRun(whole).ended;
    const first = await stopInEvaluation(file, expected.steps).ended;
    const [run, its] = ['stopped', 'whole'].map(name => join(folder, name, 'run'));
    assert.deepEqual([first.state, first.steps, summaryIn(run).state], ['stopped', expected.steps, 'stopped']);
    assert.deepEqual(checkpoints(run), checkpoints(its), 'also that of the last step');
    const second = await startRun(file, { resume: true }).ended;
    assert.deepEqual([second.state, second.eval, second.best], ['finished', expected.eval, expected.best]);
    assert.deepEqual(evaluations(run), evaluations(its));
    const [adapter, same] = [run, its].map(path => readFileSync(join(path, 'adapter/adapter_model.safetensors')));
    assert.ok(adapter.equals(same));
  }));
}

test('an evaluation that was caught up on, and is made again after a crash, is in the log once', () => inTemporaryFolder(async folder => {
  const changes = { training: { max_steps: 12, eval_strategy: 'steps', eval_steps: 5, save_strategy: 'no' } };
  const [whole, file] = ['whole', 'crashed'].map(name => copyCase(join(folder, name), changes));
  await startRun(whole).ended;
  await stopInEvaluation(file, 5).ended;
  await crash(file, 8);
  assert.deepEqual(evaluations(join(folder, 'crashed/run')).map(([step]) => step), [5], 'the evaluation was caught up on');
  await startRun(file, { resume: true }).ended;
  assert.deepEqual(evaluations(join(folder, 'crashed/run')), evaluations(join(folder, 'whole/run')));
}));

test('a run that goes on has no summary until it ends: that of an earlier part tells of another end', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { max_steps: 6, eval_strategy: 'no', save_strategy: 'steps', save_steps: 2 } });
  await startRun(file).ended;
  writeFileSync(file, readFileSync(file, 'utf8').replace('"max_steps": 6', '"max_steps": 24'));
  await crash(file, 20);
  const run = join(folder, 'run');
  assert.ok(!existsSync(join(run, 'summary.json')), 'it has not ended');
  assert.equal(summaryIn(run, 'summary.superseded.json').steps, 6);
  assert.equal(findCheckpoint(run).step, 18);
  await startRun(file, { resume: true }).ended;
  assert.deepEqual([summaryIn(run).state, summaryIn(run).steps, trainRecords(run).length], ['finished', 24, 24]);
}));

const DIVERGES = { max_steps: 30, learning_rate: 1e37, warmup_steps: 0, lr_scheduler_type: 'constant', max_grad_norm: 0, eval_strategy: 'no' };

async function divergence(run: TestRun): Promise<LabError> {
  const error = await run.ended.then(() => assert.fail('it does not diverge'), (error: unknown) => error);
  assert.ok(error instanceof LabError && error.report.code === 'training.not-finite', String(error));
  return error;
}

test('a run that diverged goes on from weights that gave a finite loss, also where later ones were saved', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { ...DIVERGES, save_strategy: 'steps', save_steps: 1 } });
  const run = join(folder, 'run');
  const last = (): number => trainRecords(run).at(-1)!.step;
  const first = await divergence(startRun(file));
  const good = last() - 2;
  assert.match(first.message, new RegExp(`the weights after step ${good}, the last that gave a finite loss`));
  for (let part = 1; part <= 3; part++) {
    assert.equal(first.report.lastGoodCheckpoint, join(run, `checkpoint-${good}`));
    assert.equal(findCheckpoint(run).folder, first.report.lastGoodCheckpoint, 'which is the one that the run would go on from');
    assert.ok(existsSync(join(run, `checkpoint-${good + 1}.diverged`)), 'the weights that diverge are kept beside it');
    const again = await divergence(startRun(file, { resume: true }));
    assert.deepEqual([again.message, again.report.lastGoodCheckpoint], [first.message, first.report.lastGoodCheckpoint], 'it says the same each time');
  }
}));

test('where the checkpoint itself gives no finite loss the message says that, and it is not gone on from again', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { ...DIVERGES, save_strategy: 'no' } });
  const run = join(folder, 'run');
  // The first step's loss is finite; the weights that it leaves give none.
  await startRun(file, { onStep: (_, control) => control.want('stop') }).ended;
  assert.deepEqual(checkpoints(run), ['checkpoint-1']);
  const error = await divergence(startRun(file, { resume: true }));
  assert.match(error.message, /step 2.*the weights of checkpoint-1, which the run went on from, give no finite loss\. Lower learning_rate/);
  assert.equal(error.report.lastGoodCheckpoint, undefined);
  await assert.rejects(startRun(file, { resume: true }).ended, /no checkpoint yet.*start it without resuming/i);
}));
