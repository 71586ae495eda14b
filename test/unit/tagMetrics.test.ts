/** Metrics of tags: entities as seqeval counts them in its default mode, other tags by their classes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entitiesOf, marksEntities, tagMeasurement } from '../../src/engine/training/tagMetrics';
import { assertClose } from '../support/close';

const measured = (labels: string[], texts: [actual: string[], predicted: string[]][]) => {
  const measurement = tagMeasurement(labels);
  const examples = texts.map(([actual]) => ({ input_ids: new Int32Array(actual.length + 1), token_type_ids: null, label: 0, targets: Int32Array.from([-100, ...actual.map(tag => labels.indexOf(tag))]) }));
  measurement.add(examples, Float32Array.from(texts.flatMap(([, predicted]) => predicted.flatMap(tag => labels.map(label => (label === tag ? 2 : 0))))));
  return measurement.result();
};

test('an entity begins at B-, at I- after O or another type, and ends where the next begins', () => {
  assert.deepEqual(entitiesOf(['B-PER', 'I-PER', 'O', 'B-LOC']), ['PER 0 1', 'LOC 3 3']);
  assert.deepEqual(entitiesOf(['I-PER', 'I-PER', 'I-LOC', 'B-LOC', 'B-LOC']), ['PER 0 1', 'LOC 2 2', 'LOC 3 3', 'LOC 4 4']);
  assert.deepEqual(entitiesOf(['S-X', 'I-X', 'E-X', 'I-X', 'O', 'E-X']), ['X 0 0', 'X 1 2', 'X 3 3', 'X 5 5']);
  assert.deepEqual(entitiesOf(['O', 'O']), []);
});

test('the example of seqeval: half of the entities are right', () => {
  const labels = ['O', 'B-MISC', 'I-MISC', 'B-PER', 'I-PER'];
  const result = measured(labels, [
    [['O', 'O', 'O', 'B-MISC', 'I-MISC', 'I-MISC', 'O'], ['O', 'O', 'B-MISC', 'I-MISC', 'I-MISC', 'I-MISC', 'O']],
    [['B-PER', 'I-PER', 'O'], ['B-PER', 'I-PER', 'O']],
  ]);
  assertClose([result.accuracy!, result.precision!, result.recall!, result.f1!], [0.8, 0.5, 0.5, 0.5], 1e-12, 'overall');
  assert.deepEqual(result.f1_per_class, { MISC: 0, PER: 1 });
});

test('no text runs into the next, and where no entity is found the metrics are 0', () => {
  const labels = ['O', 'B-X', 'I-X'];
  assert.equal(measured(labels, [[['B-X'], ['B-X']], [['I-X'], ['I-X']]]).f1, 1);
  const none = measured(labels, [[['B-X', 'O'], ['O', 'O']]]);
  assert.deepEqual([none.accuracy, none.precision, none.recall, none.f1], [0.5, 0, 0, 0]);
});

test('tags without beginnings and insides are classes', () => {
  assert.ok(!marksEntities(['NOUN', 'VERB']) && !marksEntities(['O', 'PER']) && !marksEntities(['O', 'B-X', 'NOUN']) && marksEntities(['O', 'B-X', 'I-X']));
  const result = measured(['N', 'V', 'A'], [[['N', 'N', 'V', 'V'], ['N', 'V', 'V', 'V']]]);
  assertClose([result.accuracy!, result.precision!, result.recall!, result.f1!], [0.75, (1 + 2 / 3) / 2, 0.75, (2 / 3 + 0.8) / 2], 1e-12, 'means');
  assert.deepEqual(Object.keys(result.f1_per_class!), ['N', 'V']);
});
