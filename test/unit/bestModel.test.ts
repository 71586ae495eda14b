import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { bestRule, checkpointed, judge, NONE_YET, stopsEarly, type BestRule } from '../../src/engine/training/bestModel';
import { parseExperiment, type Experiment } from '../../src/protocol/experiment';

// What transformers' EarlyStoppingCallback and Trainer made of these values: counter, best evaluation, stop.
const COURSES: { values: number[]; rule: Pick<BestRule, 'patience' | 'threshold' | 'greater_is_better'>; expected: [number, number | null, boolean][] }[] = [
  {
    values: [0.5, 0.6, 0.6, 0.55, 0.7, 0.69, 0.68, 0.67], rule: { patience: 3, threshold: 0, greater_is_better: true },
    expected: [[0, 1, false], [0, 2, false], [1, 2, false], [2, 2, false], [0, 5, false], [1, 5, false], [2, 5, false], [3, 5, true]],
  },
  {
    values: [1, 0.95, 0.9, 0.91], rule: { patience: 2, threshold: 0.06, greater_is_better: false },
    expected: [[0, 1, false], [1, 2, false], [2, 3, true], [3, 3, true]],
  },
  {
    values: [NaN, 0.2, NaN, 0.1, 0.3], rule: { patience: 3, threshold: 0, greater_is_better: true },
    expected: [[0, null, false], [0, 2, false], [1, 2, false], [2, 2, false], [0, 5, false]],
  },
];

for (const { values, rule, expected } of COURSES) {
  test(`evaluations are judged as transformers judges them: ${values.join(', ')}`, () => {
    const whole: BestRule = { ...rule, metric: 'accuracy', load: false };
    let state = NONE_YET;
    for (const [i, value] of values.entries()) {
      // A metric that is not defined is absent, and stands for NaN.
      state = judge(state, whole, { loss: 1, ...(Number.isNaN(value) ? {} : { accuracy: value }) }, i + 1);
      assert.deepEqual([state.waited, state.best?.step ?? null, stopsEarly(state, whole)], expected[i], `evaluation ${i + 1}`);
      assert.deepEqual(JSON.parse(JSON.stringify(state)), state, 'a checkpoint holds it');
    }
  });
}

test('of the steps that have a checkpoint and an evaluation the best one is loaded', () => {
  const rule: BestRule = { metric: 'loss', greater_is_better: false, patience: null, threshold: 0, load: true };
  let state = NONE_YET;
  const loaded = [[0.7, false], [0.9, true], [0.75, false], [0.8, true], [0.85, true], [NaN, true]].map(([loss, saved], i) => {
    const result = { loss: loss as number };
    state = judge(state, rule, result, i + 1);
    if (saved) state = checkpointed(state, rule, result, i + 1);
    return state.saved?.step;
  });
  assert.deepEqual(loaded, [undefined, 2, 2, 4, 4, 4]);
  assert.equal(state.best?.step, 1);
});

function ask(training: object, kind: Parameters<typeof bestRule>[1] = 'single_label_classification'): BestRule {
  const { experiment, problems } = parseExperiment({ base_model: 'model', dataset: { train: 'a.jsonl', eval: 'b.jsonl' }, training });
  assert.deepEqual(problems, []);
  return bestRule(experiment as Experiment, kind);
}

test('defaults follow the metric', () => {
  assert.deepEqual(ask({}), { metric: 'loss', greater_is_better: false, patience: null, threshold: 0, load: false });
  assert.equal(ask({ metric_for_best_model: 'eval_f1' }).greater_is_better, true);
  assert.equal(ask({ metric_for_best_model: 'eval_f1', greater_is_better: false }).greater_is_better, false);
  assert.equal(ask({ metric_for_best_model: 'perplexity' }, 'CAUSAL_LM').greater_is_better, false);
});

test('a metric that the task does not have is refused by its key', () => {
  const refused = (training: object, where: string, says: RegExp, kind?: Parameters<typeof bestRule>[1]) => assert.throws(() => ask(training, kind), (error: unknown) => {
    assert.ok(error instanceof LabError);
    assert.equal(error.report.where, `training.${where}`);
    assert.match(error.message, says);
    return true;
  });
  refused({ metric_for_best_model: 'pearson' }, 'metric_for_best_model', /not measured here.*loss, accuracy, f1/);
  refused({ metric_for_best_model: 'accuracy' }, 'metric_for_best_model', /pearson, spearman/, 'regression');
});
