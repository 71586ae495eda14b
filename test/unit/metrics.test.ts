import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measurement, pearson, ranks } from '../../src/engine/training/metrics';
import type { Example } from '../../src/engine/training/step.types';
import { mainMetric, shownMetrics } from '../../src/protocol/metrics';
import { metricsCsv } from '../../src/protocol/panel';
import { assertClose } from '../support/close';

const example = (label: number, classes?: number[]): Example => ({ input_ids: new Int32Array(1), token_type_ids: null, label, ...(classes ? { classes: Int32Array.from(classes) } : {}) });
const names = ['a', 'b', 'c', 'd'];

/** The measurement of classes that are predicted with certainty, in two batches. */
function measured(expected: number[], predicted: number[], labels = names) {
  const measure = measurement('single_label_classification', labels);
  const logits = Float32Array.from(predicted.flatMap(k => labels.map((_, i) => (i === k ? 2 : -1))));
  measure.add(expected.slice(0, 3).map(label => example(label)), logits.subarray(0, 3 * labels.length));
  measure.add(expected.slice(3).map(label => example(label)), logits.subarray(3 * labels.length));
  return measure.result();
}

// The numbers are those of the formulas in test/fixtures/reference_metrics.py.
test('accuracy, F1 and Matthews\' correlation of four classes', () => {
  const { accuracy, f1, f1_per_class, matthews_correlation } = measured([0, 1, 2, 2, 1, 0, 3, 1, 2, 0], [0, 2, 2, 2, 1, 1, 0, 1, 2, 0]);
  assert.equal(accuracy, 0.7);
  assertClose(Object.values(f1_per_class!), [2 / 3, 2 / 3, 6 / 7, 0], 1e-12, 'F1');
  assertClose([f1!, matthews_correlation!], [(4 / 3 + 6 / 7) / 4, 0.5802588531856595], 1e-12, 'means');
});

test('a class that nobody has and nobody predicts does not count', () => {
  assert.deepEqual(measured([0, 1, 1, 0], [0, 1, 1, 1]).f1_per_class, { a: 2 / 3, b: 4 / 5 });
});

test('what one class alone does not define is left out, and nothing is NaN', () => {
  const one = measured([1, 1, 1, 1], [1, 1, 0, 1]);
  assert.equal('matthews_correlation' in one, false);
  assert.equal(one.accuracy, 0.75);
  assert.equal(measured([0, 1, 1, 0], [1, 1, 1, 1]).matthews_correlation, 0, 'scikit-learn\'s choice where only one class is predicted');
  for (const result of [one, measured([0, 1, 1, 0], [1, 1, 1, 1])]) assert.doesNotMatch(JSON.stringify(result), /null/);
});

test('several classes for each example: all must be right, and F1 counts each by itself', () => {
  const measure = measurement('multi_label_classification', ['x', 'y', 'z']);
  measure.add([example(0, [0, 1]), example(0, []), example(0, [1])], Float32Array.of(1, 2, -1, -1, -2, -3, 1, 3, -1));
  const { accuracy, f1, f1_per_class, ...more } = measure.result();
  assert.equal(accuracy, 2 / 3);
  assert.deepEqual(f1_per_class, { x: 2 / 3, y: 1, z: 0 });
  assertClose([f1!], [5 / 9], 1e-12, 'F1');
  assert.deepEqual(more, {});
});

test('Pearson\'s and Spearman\'s correlation, with equal values', () => {
  const [x, y] = [[1.5, 2, 2, -1, 3.25, 0, 2], [1, 1, 3, -2.5, 2, 0.5, 2.5]];
  assert.deepEqual([...ranks(x)], [3, 5, 5, 1, 7, 2, 5]);
  const measure = measurement('regression', ['LABEL_0']);
  measure.add(y.map(value => example(value)), Float32Array.from(x));
  const { pearson: linear, spearman } = measure.result();
  assertClose([linear!, spearman!], [0.8405964557111023, 0.785355471607104], 1e-12, 'correlations');
});

test('a correlation that is not defined is left out', () => {
  for (const [x, y] of [[[1, 1, 1], [1, 2, 3]], [[1, 2, 3], [5, 5, 5]], [[1], [1]], [[], []], [[1, NaN, 2], [1, 2, 3]]]) assert.equal(pearson(x, y), null);
  const measure = measurement('regression', ['LABEL_0']);
  measure.add([example(1), example(1)], Float32Array.of(0.2, 0.3));
  assert.deepEqual(measure.result(), {});
});

test('what a person looks at first', () => {
  assert.deepEqual(mainMetric({ loss: 1, accuracy: 0.75, f1: 0.5 }), { name: 'accuracy', value: 0.75, text: '75.0 %' });
  assert.deepEqual(mainMetric({ loss: 1, pearson: -0.12345 }), { name: 'Pearson', value: -0.12345, text: '-0.123' });
  assert.equal(mainMetric({ loss: 1 }), null);
  assert.deepEqual(shownMetrics({ loss: 1, token_accuracy: 0.5, perplexity: 2.71828 }).map(({ name, text }) => `${name} ${text}`), ['perplexity 2.718', 'token accuracy 50.0 %']);
  assert.equal(mainMetric({ loss: 800, perplexity: Infinity })?.text, 'Infinity');
});

test('metrics as CSV: a column for every class, and names that CSV needs quotes for', () => {
  const time = 0, csv = metricsCsv([
    { step: 1, epoch: 1, loss: 'NaN', grad_norm: 2, learning_rate: 0.1, tokens: 5, tokens_per_second: 9, time },
    { step: 1, epoch: 1, eval_loss: 0.5, eval_f1_per_class: { 'so, so': 0.25, 'a "b"': 1 }, eval_runtime: 3, time },
  ]);
  assert.equal(csv, `step,epoch,loss,grad_norm,learning_rate,tokens,tokens_per_second,time,eval_loss,"eval_f1_per_class.so, so","eval_f1_per_class.a ""b""",eval_runtime
1,1,NaN,2,0.1,5,9,0,,,,
1,1,,,,,,0,0.5,0.25,1,3
`);
});
