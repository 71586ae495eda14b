/** What the bench computes from times, and what of the rows its comparison rests on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { besideCount, median, quantile, speedAfterWarmUp, stepsOfTurn, sweepSpeed, warmUp } from '../bench/arithmetic';
import type { Measurement } from '../bench/measure';
import { inOrder, ROWS, type Row } from '../bench/rows';
import { alike } from '../bench/speed';
import { isBelow, tableHead, tableRow, type RowResult } from '../bench/table';

test('the median of an even number of rounds lies between the two in the middle', () => {
  assert.equal(median([5, 1, 3]), 3);
  assert.equal(median([40, 10]), 25);
  assert.equal(median([9, 1, 4, 2]), 3);
});

test('a quarter of the values lie below the first quartile', () => {
  assert.deepEqual([quantile([4, 1, 3, 2, 5], 0.25), quantile([4, 1, 3, 2, 5], 0.75), quantile([1, 2, 3, 4], 0.25), quantile([7], 0.75)], [2, 4, 1.75, 7]);
});

test('the first step of a turn, which begins with sleeping threads, is left out, and so is what lies between two turns', () => {
  assert.deepEqual(stepsOfTurn([10, 19, 20, 22]), [1, 2]);
});

test('a point is as fast as counted if its steps take as much longer as they issue more', () => {
  const first = { issued: 10, turns: [[1, 1.5], [1.25]] }, second = (...step: number[]): typeof first => ({ issued: 20, turns: [step] });
  const fastest = (turns: readonly (readonly number[])[]): number => Math.min(...turns.flat());
  assert.deepEqual([first, second(2, 3), second(4)].map(point => besideCount(point, first, fastest)), [1, 1, 0.5]);
  assert.equal(besideCount(second(2.5), first, turns => median(turns.flat())), 1);
});

test('speed is that of the steps after the warm-up, or of all where the first one counts', () => {
  const records = [{ step: 1, tokens: 100, time: 10 }, { step: 2, tokens: 150, time: 11 }, { step: 3, tokens: 250, time: 14 }];
  assert.deepEqual(speedAfterWarmUp({ batch: 4 }, records), { tokens_per_second: 37.5, examples_per_second: 2 });
  assert.deepEqual(speedAfterWarmUp({ batch: 4, warm_up: 2 }, records), { tokens_per_second: 100 / 3, examples_per_second: 4 / 3 });
  assert.deepEqual(speedAfterWarmUp({ batch: 7, counts_first: true }, records), { tokens_per_second: 250 / 14, examples_per_second: 1.5 });
});

test('speed of a sweep is that of all steps of all its experiments', () => {
  assert.deepEqual(sweepSpeed({ steps: 6, batch: 16, lengths: [128, 128] }, 8, 32), { examples_per_second: 24, tokens_per_second: 3072 });
});

test('where texts differ in length, each is measured as often as any other', () => {
  const differ = ROWS.filter(({ lengths }) => new Set(lengths).size > 1);
  assert.ok(differ.length >= 4);
  for (const row of differ) assert.equal((row.steps - warmUp(row)) * row.batch % row.lengths.length, 0, row.name);
});

const measured = (tokens_per_second: number, peak_memory_bytes = 2e9): Measurement => ({ tokens_per_second, examples_per_second: 0, peak_memory_bytes, first_step_seconds: 3, losses: [] });
const result = (row: Partial<Row>, others: Partial<RowResult> = {}): RowResult => ({ row: { ...ROWS[0], name: 'a row', must: 1.5, ...row }, ours: [measured(300)], theirs: [measured(200), measured(100)], ...others });

test('a row says what is asked of it, and whether that is missed', () => {
  assert.equal(tableRow(result({})), '| a row | 300 tokens/s | 150 | **2.00** | 1.5 | 2.00 GB / 2.00 GB | 3.0 s / 3.0 s |');
  assert.match(tableRow(result({ must: 2.1 })), /\| 2\.1, \*\*missed\*\* \|/);
  assert.deepEqual([isBelow(result({ must: 2.1 })), isBelow(result({ must: 2 })), isBelow(result({ must: undefined }))], [true, false, false]);
  assert.equal(isBelow(result({ must: 9 }, { theirs: [] })), false, 'without PEFT nothing is known');
});

test('a row that this machine cannot compute says why, in a table of the same columns, and misses nothing', () => {
  const refused = result({}, { ours: [], refused: '"int8" cannot be computed on this CPU.' });
  assert.equal(tableRow(refused), '| a row | "int8" cannot be computed on this CPU. | | | | | |');
  for (const [line, bf16] of [[tableRow(refused)], [tableRow({ ...refused, bf16: [] }), 'bf16']] as const) assert.equal(line.match(/\|/g)!.length, tableHead(bf16)[0].match(/\|/g)!.length);
  assert.equal(isBelow(refused), false);
});

test('what is asked of int4 is compared with our own fp32', () => {
  const int4 = { must: 0.9, must_of_fp32: true } as const;
  assert.match(tableRow(result(int4, { fp32: [measured(310)] })), /\| \*\*2\.00\*\* \| 0\.9 of our fp32: 0\.97 \|/);
  assert.match(tableRow(result(int4, { fp32: [measured(400)] })), /\| 0\.9 of our fp32: 0\.75, \*\*missed\*\* \|/);
  assert.match(tableRow(result(int4)), /\| 0\.9 of our fp32: not measured \|/);
});

test('PEFT under bf16 autocast has columns of its own', () => {
  const line = tableRow(result({}, { bf16: [measured(400, 1e9)] }));
  assert.match(line, /\| 1\.5 \| 400, 1\.00 GB \| \*\*0\.75\*\* \| 2\.00 GB/);
  assert.deepEqual(tableHead('bf16').map(head => head.match(/\|/g)!.length), Array(2).fill(line.match(/\|/g)!.length));
});

test('rows stand in the order of the README, and those that PEFT computes alike are measured together', () => {
  const rows = inOrder(ROWS), other = { ...ROWS[0] };
  assert.deepEqual(new Set(rows), new Set(ROWS));
  assert.deepEqual(inOrder([other, ROWS[1], ROWS[11]]), [ROWS[11], ROWS[1], other]);
  assert.deepEqual(alike(rows).filter(({ length }) => length > 1).map(group => group.map(row => ROWS.indexOf(row) + 1)), [[1, 12, 13], [10, 11]]);
});
