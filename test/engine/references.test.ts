/** Twenty steps of each reference case against what transformers' Trainer with PEFT computed (test/fixtures/make_references.py). */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { languageLogits } from '../support/languageModel';
import { RunControl } from '../../src/engine/control';
import { readAdapter, type Adapter } from '../../src/engine/model/adapter';
import { predict } from '../../src/engine/predict';
import { SILENT } from '../../src/engine/reporter';
import { runExperiment } from '../../src/engine/run';
import { isEvalRecord, rightShare, type EvalRecord, type MetricRecord, type TrainRecord } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Expected {
  trainable_parameters: number; all_parameters: number; labels: string[];
  losses: number[]; grad_norms: number[]; learning_rates: number[]; eval_loss: number;
  eval_accuracy?: number; eval_f1?: number; eval_f1_per_class?: Record<string, number>; eval_matthews_correlation?: number; eval_pearson?: number; eval_spearman?: number;
  initial_logits: number[][]; final_logits: number[][];
  /** Of a language model. */
  prompts?: string[]; generated?: number[][]; generated_by_base?: number[][];
}

const relative = (found: number, expected: number): number => Math.abs(found - expected) / Math.max(Math.abs(expected), 1e-12);

/** The values by key, with B A instead of A and B: singular vectors are known up to their signs. */
function withProducts(tensors: Adapter['tensors']): Map<string, Float32Array> {
  const values = new Map<string, Float32Array>();
  for (const [key, { data, shape }] of tensors) {
    if (key.includes('lora_A')) continue;
    const A = tensors.get(key.replace('lora_B', 'lora_A'))!;
    const [[out, r], [, inner]] = [shape, A.shape];
    values.set(key, !key.includes('lora_B') ? data : Float32Array.from({ length: out * inner }, (_, at) => {
      let sum = 0;
      for (let k = 0; k < r; k++) sum += data[Math.floor(at / inner) * r + k] * A.data[k * inner + at % inner];
      return sum;
    }));
  }
  return values;
}

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
    if (expected.eval_accuracy !== undefined) assert.ok(Math.abs(rightShare(evaluation) - expected.eval_accuracy) < 1e-9, `accuracy ${rightShare(evaluation)}, expected ${expected.eval_accuracy}`);
    for (const metric of ['eval_f1', 'eval_matthews_correlation', 'eval_pearson', 'eval_spearman'] as const) {
      if (expected[metric] !== undefined) assert.ok(Math.abs(evaluation[metric]! - expected[metric]) < 1e-5, `${metric} ${evaluation[metric]}, expected ${expected[metric]}`);
    }
    for (const [label, value] of Object.entries(expected.eval_f1_per_class ?? {})) assert.ok(Math.abs(evaluation.eval_f1_per_class![label] - value) < 1e-9, `F1 of ${label}`);
    if (expected.generated) assert.ok(relative(Number(evaluation.eval_perplexity), Math.exp(expected.eval_loss)) < 1e-2);

    const { lora } = JSON.parse(readFileSync(join(folder, 'case.lora.json'), 'utf8')) as { lora: { init_adapter: string | null } };
    const startsFromBase = lora.init_adapter === null;
    const [found, theirs] = [readAdapter(join(folder, 'run/adapter')), readAdapter(join(folder, 'adapter_final'))];
    // With "bias": "all" PEFT stores the biases of its wrappers' two copies of a saved module beside the bias that it reads.
    const tensors = [...theirs.tensors].filter(([key]) => !/\.(modules_to_save|original_module)\.bias$/.test(key));
    assert.deepEqual([...found.tensors.keys()].sort(), tensors.map(([key]) => key).sort());
    const [own, wanted] = [found.tensors, new Map(tensors)].map(values => (startsFromBase ? withProducts(values) : new Map([...values].map(([key, { data }]) => [key, data]))));
    for (const key of ['r', 'lora_alpha', 'rank_pattern', 'alpha_pattern', 'bias', 'use_rslora', 'use_dora', 'lora_bias', 'init_lora_weights', 'layers_to_transform', 'layers_pattern']) assert.deepEqual(found.config[key], theirs.config[key], key);
    for (const [key, { shape }] of tensors) assert.deepEqual(found.tensors.get(key)!.shape, shape);
    for (const [key, data] of wanted) {
      const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      own.get(key)!.forEach((value, i) => assert.ok(Math.abs(value - data[i]) <= 1e-3 * largest, `${key}[${i}]: ${value}, expected ${data[i]}`));
    }

    const close = (found: ArrayLike<number>, logits: number[], what: string): void => logits.forEach((logit, k) => assert.ok(Math.abs(found[k] - logit) < 1e-4, `${what}: logit ${found[k]}, expected ${logit}`));
    if (expected.generated) {
      for (const [adapter, logits] of [['adapter_start', expected.initial_logits], ['adapter_final', expected.final_logits]] as const) {
        const own = await languageLogits(join(folder, 'case.lora.json'), join(folder, adapter), logits.length);
        logits.forEach((row, i) => close(own[i], row, `${adapter}, text ${i}`));
      }
      return;
    }
    const rows = readFileSync(join(folder, 'train.jsonl'), 'utf8').trim().split('\n').slice(0, expected.final_logits.length).map(line => JSON.parse(line) as { text: string; pair?: string });
    const [texts, pairs] = [rows.map(row => row.text), rows[0].pair === undefined ? undefined : rows.map(row => row.pair!)];
    const longest = (JSON.parse(readFileSync(join(folder, 'case.lora.json'), 'utf8')) as { training: { max_length: number } }).training.max_length;
    for (const [adapter, logits] of [['adapter_start', expected.initial_logits], ['adapter_final', expected.final_logits]] as const) {
      const predictions = await predict({ base: join(folder, 'model'), adapter: adapter === 'adapter_start' && startsFromBase ? null : join(folder, adapter), texts, pairs, max_length: longest });
      predictions.forEach((prediction, i) => close(prediction.logits, logits[i], `${adapter}, text ${i}`));
    }
  }));
}
