/** Runs that go on after an end that was no ordinary one, and what they find of the part before. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isEvalRecord, type Summary } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, readMetrics, startRun, type TestRun } from '../support/runs';

const summaryIn = (run: string): Summary => JSON.parse(readFileSync(join(run, 'summary.json'), 'utf8')) as Summary;
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
