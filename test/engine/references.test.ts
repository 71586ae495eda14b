/** Twelve steps of each reference case against what transformers' Trainer with PEFT computed (test/fixtures/make_references.py). */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { languageLogits } from '../support/languageModel';
import { RunControl } from '../../src/engine/control';
import { readAdapter } from '../../src/engine/model/adapter';
import { predict } from '../../src/engine/predict';
import { SILENT } from '../../src/engine/reporter';
import { runExperiment } from '../../src/engine/run';
import { isEvalRecord, rightShare, type EvalRecord, type MetricRecord, type TrainRecord } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Expected {
  trainable_parameters: number; all_parameters: number; labels: string[];
  losses: number[]; grad_norms: number[]; learning_rates: number[]; eval_loss: number; eval_accuracy: number;
  initial_logits: number[][]; final_logits: number[][];
  /** Of a language model. */
  prompts?: string[]; generated?: number[][]; generated_by_base?: number[][];
}

const relative = (found: number, expected: number): number => Math.abs(found - expected) / Math.max(Math.abs(expected), 1e-12);

for (const name of readdirSync(fixture('references'))) {
  test(`${name}: losses, gradient norms, evaluation, adapter and logits follow transformers and PEFT`, () => inTemporaryFolder(async folder => {
    cpSync(fixture('references', name), folder, { recursive: true });
    const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected;
    let labels: string[] = [];
    const summary = await runExperiment({
      experiment_file: join(folder, 'case.lora.json'), resume: false, cwd: folder, control: new RunControl(),
      report: { ...SILENT, started: started => { labels = started.labels; } },
    });
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
    assert.ok(Math.abs(rightShare(evaluation) - expected.eval_accuracy) < 1e-9, `accuracy ${rightShare(evaluation)}, expected ${expected.eval_accuracy}`);
    if (expected.generated) assert.ok(relative(Number(evaluation.eval_perplexity), Math.exp(expected.eval_loss)) < 1e-2);

    const [found, theirs] = [readAdapter(join(folder, 'run/adapter')), readAdapter(join(folder, 'adapter_final'))];
    assert.deepEqual([...found.tensors.keys()].sort(), [...theirs.tensors.keys()].sort());
    for (const [key, { data, shape }] of theirs.tensors) {
      const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      assert.deepEqual(found.tensors.get(key)!.shape, shape);
      found.tensors.get(key)!.data.forEach((value, i) => assert.ok(Math.abs(value - data[i]) <= 1e-3 * largest, `${key}[${i}]: ${value}, expected ${data[i]}`));
    }

    const close = (found: ArrayLike<number>, logits: number[], what: string): void => logits.forEach((logit, k) => assert.ok(Math.abs(found[k] - logit) < 1e-4, `${what}: logit ${found[k]}, expected ${logit}`));
    if (expected.generated) {
      for (const [adapter, logits] of [['adapter_start', expected.initial_logits], ['adapter_final', expected.final_logits]] as const) {
        const own = await languageLogits(join(folder, 'case.lora.json'), join(folder, adapter), logits.length);
        logits.forEach((row, i) => close(own[i], row, `${adapter}, text ${i}`));
      }
      return;
    }
    const texts = readFileSync(join(folder, 'train.jsonl'), 'utf8').trim().split('\n').slice(0, expected.final_logits.length).map(line => (JSON.parse(line) as { text: string }).text);
    const longest = (JSON.parse(readFileSync(join(folder, 'case.lora.json'), 'utf8')) as { training: { max_length: number } }).training.max_length;
    for (const [adapter, logits] of [['adapter_start', expected.initial_logits], ['adapter_final', expected.final_logits]] as const) {
      const predictions = await predict({ base: join(folder, 'model'), adapter: join(folder, adapter), texts, max_length: longest });
      predictions.forEach((prediction, i) => close(prediction.logits, logits[i], `${adapter}, text ${i}`));
    }
  }));
}
