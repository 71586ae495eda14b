/** Twenty steps of each reference case against what transformers' Trainer with PEFT computed (test/fixtures/make_references.py). */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isEvalRecord, rightShare, type EvalRecord, type MetricRecord, type TrainRecord } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { adaptersOf, expectedOf, logitsOf, trainCase } from '../support/referenceCase';

const relative = (found: number, expected: number): number => Math.abs(found - expected) / Math.max(Math.abs(expected), 1e-12);

for (const name of readdirSync(fixture('references'))) {
  test(`${name}: losses, gradient norms, evaluation, adapter and logits follow transformers and PEFT`, () => inTemporaryFolder(async folder => {
    const expected = expectedOf(name);
    const { summary, labels } = await trainCase(name, folder);
    const records = readFileSync(join(folder, 'run/metrics.jsonl'), 'utf8').trim().split('\n').map(line => JSON.parse(line) as MetricRecord);
    const steps = records.filter((record): record is TrainRecord => !isEvalRecord(record));
    const [evaluation] = records.filter((record): record is EvalRecord => isEvalRecord(record));

    assert.deepEqual(labels, expected.labels);
    assert.equal(summary.trainable_parameters, expected.trainable_parameters);
    assert.equal(summary.all_parameters, expected.all_parameters);
    assert.equal(steps.length, expected.losses.length);
    for (const [i, record] of steps.entries()) {
      assert.ok(relative(Number(record.loss), expected.losses[i]) < 1e-3, `loss of step ${i + 1}: ${record.loss}, expected ${expected.losses[i]}`);
      assert.ok(relative(Number(record.grad_norm), expected.grad_norms[i]) < 1e-2, `gradient norm of step ${i + 1}: ${record.grad_norm}, expected ${expected.grad_norms[i]}`);
      assert.ok(Math.abs(record.learning_rate - expected.learning_rates[i]) <= 1e-6 * expected.learning_rates[i] + 1e-12, `learning rate of step ${i + 1}`);
    }
    assert.ok(relative(Number(evaluation.eval_loss), expected.eval_loss) < 1e-3, `eval_loss ${evaluation.eval_loss}, expected ${expected.eval_loss}`);
    if (expected.eval_accuracy !== undefined) assert.ok(Math.abs(rightShare(evaluation) - expected.eval_accuracy) < 1e-9, `accuracy ${rightShare(evaluation)}, expected ${expected.eval_accuracy}`);
    for (const metric of ['eval_precision', 'eval_recall', 'eval_f1', 'eval_matthews_correlation', 'eval_pearson', 'eval_spearman'] as const) {
      if (expected[metric] !== undefined) assert.ok(Math.abs(evaluation[metric]! - expected[metric]) < 1e-5, `${metric} ${evaluation[metric]}, expected ${expected[metric]}`);
    }
    for (const [label, value] of Object.entries(expected.eval_f1_per_class ?? {})) assert.ok(Math.abs(evaluation.eval_f1_per_class![label] - value) < 1e-9, `F1 of ${label}`);
    if (expected.generated) assert.ok(relative(Number(evaluation.eval_perplexity), Math.exp(expected.eval_loss)) < 1e-2);

    const { own, theirs, found, peft } = adaptersOf(name, folder);
    assert.deepEqual([...found.tensors.keys()].sort(), [...peft.tensors.keys()].sort());
    for (const key of ['r', 'lora_alpha', 'rank_pattern', 'alpha_pattern', 'bias', 'use_rslora', 'use_dora', 'lora_bias', 'init_lora_weights', 'layers_to_transform', 'layers_pattern', 'trainable_token_indices']) assert.deepEqual(found.config[key], peft.config[key], key);
    for (const [key, { shape }] of peft.tensors) assert.deepEqual(found.tensors.get(key)!.shape, shape);
    for (const [key, data] of theirs) {
      const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      own.get(key)!.forEach((value, i) => assert.ok(Math.abs(value - data[i]) <= 1e-3 * largest, `${key}[${i}]: ${value}, expected ${data[i]}`));
    }

    for (const [adapter, logits] of [['adapter_start', expected.initial_logits], ['adapter_final', expected.final_logits]] as const) {
      const rows = await logitsOf(name, folder, adapter, logits.length);
      assert.equal(rows.length, logits.length);
      logits.forEach((row, i) => row.forEach((logit, k) => assert.ok(Math.abs(rows[i][k] - logit) < 1e-4, `${adapter}, row ${i}: logit ${rows[i][k]}, expected ${logit}`)));
    }
  }));
}
