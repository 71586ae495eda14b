/** The loss of an evaluation is that of its data, not of how the examples share batches. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { fillTrainables, readAdapter } from '../../src/engine/model/adapter';
import { prepare } from '../../src/engine/prepare';
import { SILENT } from '../../src/engine/reporter';
import { evaluate } from '../../src/engine/training/evaluate';
import { createTrainingStep } from '../../src/engine/training/step';
import { SETTINGS } from '../../src/protocol/experiment';
import { fixture } from '../support/paths';

test('the loss of a language model is the mean over all targets, whatever the batches; its hover says that Trainer\'s is not', async () => {
  const source = readExperimentFile(fixture('references/qwen2-completion/case.lora.json'));
  const { model, plan, eval: set } = prepare(source, null, SILENT);
  const { lora, training } = source.experiment;
  const trainables = fillTrainables(plan, readAdapter(fixture('references/qwen2-completion/adapter_start')), model);
  const step = await createTrainingStep({ model, plan, lora, training, device: 'cpu', trainables, train: false });
  try {
    // Of Trainer with all 22 examples in one batch; with batches of 4 it says 6.031803.
    for (const batch of [22, 4, 1]) assert.ok(Math.abs((await evaluate(step, set!, model, batch)).loss - 6.018489) < 1e-4, `batches of ${batch}`);
  } finally { await step.dispose(); }
  assert.match(SETTINGS.training.metric_for_best_model.doc, /mean over all targets.*Trainer/);
});
