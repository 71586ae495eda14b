/** `load_best_model_at_end`: what is saved at the end is the best checkpoint, however adapters are started and stored. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, startRun } from '../support/runs';

// By the loss that falls, or rises, in the first steps of each case, the best evaluation is not the last one.
for (const [name, greater_is_better] of [['pissa', false], ['olora', true], ['linear', true]] as const) {
  test(`${name}: the adapter of the best checkpoint is saved, not that of the last step`, () => inTemporaryFolder(async folder => {
    const file = copyCase(folder, { training: {
      learning_rate: 5e-3, lr_scheduler_type: 'constant', warmup_steps: 0, max_steps: 6, eval_strategy: 'steps', eval_steps: 2, save_strategy: 'steps', save_steps: 2,
      load_best_model_at_end: true, greater_is_better,
    } }, name);
    const warnings: string[] = [];
    const summary = await startRun(file, { log: ({ level, message }) => { if (level === 'warn') warnings.push(message); } }).ended;
    assert.deepEqual(warnings.filter(message => message.includes('checkpoint')), []);
    assert.ok(summary.best && summary.best.step < 6, JSON.stringify(summary.best));
    assert.equal(summary.eval!.loss, summary.best.value);
    const [saved, best] = ['adapter', `checkpoint-${summary.best.step}`].map(part => readFileSync(join(folder, 'run', part, 'adapter_model.safetensors')));
    assert.ok(saved.equals(best), 'the same bytes');
  }));
}

test('without a checkpoint of an evaluated step the last one is saved, and the run says so', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { max_steps: 3, eval_strategy: 'steps', eval_steps: 2, save_strategy: 'steps', save_steps: 4, load_best_model_at_end: true } });
  const warnings: string[] = [];
  const summary = await startRun(file, { log: ({ level, message }) => { if (level === 'warn') warnings.push(message); } }).ended;
  assert.ok(warnings.includes('the adapter of the last step is saved, because no checkpoint is of a step whose evaluation gave eval_loss'), warnings.join('\n'));
  assert.equal(summary.best, undefined);
}));
