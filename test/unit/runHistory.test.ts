import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunHistory } from '../../src/extension/runHistory';
import type { EvalRecord, MetricRecord, TrainRecord } from '../../src/protocol/metrics';

const step = (number: number): TrainRecord => ({ step: number, epoch: 0, loss: 1 / number, grad_norm: 1, learning_rate: 1e-3, tokens: 10 * number, tokens_per_second: 10, time: number });
const evaluation = (number: number): EvalRecord => ({ step: number, epoch: 0, eval_loss: 1 / number, eval_runtime: 1, time: number });

test('the latest step and evaluation are those of all records so far, and none of a run that was replaced', () => {
  const history = new RunHistory();
  assert.deepEqual([history.records, history.trained, history.evaluated], [[], undefined, undefined]);
  history.append([step(1), evaluation(1), step(2)]);
  history.append([step(3)]);
  assert.deepEqual([history.trained, history.evaluated], [step(3), evaluation(1)]);
  assert.equal(history.records.length, 4);
  history.replace(history.records);
  assert.deepEqual([history.records.length, history.trained, history.evaluated], [4, step(3), evaluation(1)], 'a run that goes on keeps what it has');
  history.replace([step(7)]);
  assert.deepEqual([history.records, history.trained, history.evaluated], [[step(7)], step(7), undefined]);
});

test('what is asked every second looks at no record again, however long the run', () => {
  let looks = 0;
  const watched = (record: TrainRecord): MetricRecord => new Proxy(record, { has: (target, key) => { looks++; return key in target; } });
  const history = new RunHistory();
  for (let number = 1; number <= 1000; number += 10) {
    history.append(Array.from({ length: 10 }, (_, i) => watched(step(number + i))));
    assert.equal(history.trained?.step, number + 9);
    assert.equal(history.evaluated, undefined);
  }
  assert.equal(looks, 1000);
});
