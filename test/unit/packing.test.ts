import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packRows } from '../../src/engine/data/packing';
import { epochBatches } from '../../src/engine/data/batches';
import { checkColumns } from '../../src/engine/data/columns';
import type { ExperimentFile } from '../../src/engine/experimentFile';
import { LabError } from '../../src/engine/errors';
import { random } from '../../src/engine/random';
import { portions } from '../../src/engine/training/portions';
import { parseExperiment } from '../../src/protocol/experiment';

const sum = (values: Iterable<number>): number => Array.from(values).reduce((a, b) => a + b, 0);

test('best fit, longest first: no example is cut, rows come in the order of their first example', () => {
  assert.deepEqual(packRows([6, 5, 4, 3, 2], 10).map(row => Array.from(row)), [[0, 2], [1, 3, 4]]);
  // The first 7 goes where 7 of 16 are left, not where 8 are.
  assert.deepEqual(packRows([8, 7, 7, 9], 16).map(row => Array.from(row)), [[0, 2], [1, 3]]);
  assert.deepEqual(packRows([3], 10).map(row => Array.from(row)), [[0]]);
  assert.deepEqual(packRows([10, 12, 10], 10).map(row => Array.from(row)), [[0], [1], [2]]);
});

test('every example is in one row, rows are full but for a few percent, and the same lengths give the same rows', () => {
  const draw = random(5, 'lengths');
  for (const max_length of [33, 128, 1000]) {
    const lengths = Uint32Array.from({ length: 5000 }, () => 1 + Math.floor(draw.next() * Math.min(120, max_length)));
    const rows = packRows(lengths, max_length);
    assert.deepEqual(Array.from(rows.flatMap(row => Array.from(row))).sort((a, b) => a - b), Array.from(lengths.keys()));
    for (const row of rows) assert.ok(sum(Array.from(row, i => lengths[i])) <= max_length);
    assert.ok(sum(lengths) / (rows.length * max_length) > 0.97, `${rows.length} rows of ${max_length}`);
    assert.deepEqual(packRows(lengths, max_length), rows);
  }
});

test('rows of a quarter of a portion fill portions: fewer of them than the same tokens unpacked take', () => {
  const draw = random(8, 'lengths');
  const lengths = Array.from({ length: 960 }, () => 10 + Math.floor(draw.next() * 111));
  const options = { seed: 1, epoch: 0, shuffle: true };
  const rows = packRows(lengths, 128);
  for (const batch of [4, 8]) {
    const packed = epochBatches(rows.length, batch, options).map(numbers => Array.from(numbers).flatMap(row => Array.from(rows[row])));
    const found = packed.map(places => portions(places.map(i => lengths[i]), 512, true));
    assert.deepEqual(found.map(list => list.length), packed.map((_, i) => Math.ceil(Math.min(batch, rows.length - i * batch) / 4)));
    const unpacked = epochBatches(lengths.length, 2 * batch, options).map(numbers => portions(Array.from(numbers, i => lengths[i]), 512));
    assert.ok(found.flat().length < 0.85 * unpacked.flat().length, `${found.flat().length} portions instead of ${unpacked.flat().length}`);
  }
});

test('a million examples are packed in seconds', () => {
  const draw = random(6, 'lengths');
  const lengths = Uint32Array.from({ length: 1_000_000 }, () => 10 + Math.floor(draw.next() * 1000));
  const begun = performance.now();
  packRows(lengths, 4096);
  assert.ok(performance.now() - begun < 15_000);
});

test('packing is for language models, and says so', () => {
  for (const task of ['SEQ_CLS', 'SEQ_2_SEQ_LM']) {
    const { experiment } = parseExperiment({ base_model: 'm', task, dataset: { train: 't.jsonl' }, training: { packing: true } });
    const source = { experiment, gives: () => false } as unknown as ExperimentFile;
    assert.throws(() => checkColumns(source), (error: LabError) => error.report.where === 'training.packing' && /not used by/.test(error.report.cause));
  }
});
