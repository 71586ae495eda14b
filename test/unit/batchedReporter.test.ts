import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { BATCH_MS, batchedReporter } from '../../src/engine/batchedReporter';
import { SILENT } from '../../src/engine/reporter';
import type { TrainRecord } from '../../src/protocol/metrics';

const record = (step: number): TrainRecord => ({ step, epoch: 0, loss: 1, grad_norm: 1, learning_rate: 1e-3, tokens: step, tokens_per_second: 1, time: step });

/** A reporter with a clock of its own; `told` lists steps as numbers and everything else by its name. */
function reporter(): { report: ReturnType<typeof batchedReporter>; told: (number[] | string)[]; pass(ms: number): void } {
  const told: (number[] | string)[] = [];
  let now = 0;
  const report = batchedReporter({
    ...SILENT, metrics: ({ records }) => told.push(records.map(({ step }) => step)), state: ({ state }) => told.push(state), progress: ({ fraction }) => told.push(`${fraction}`),
  }, () => now);
  return { report, told, pass(ms) { now += ms; mock.timers.tick(ms); } };
}

test('at 200 steps a second two messages a second, of a longer run one, with every step in order', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { report, told, pass } = reporter();
    const train = (from: number, to: number): void => { for (let step = from; step <= to; step++) { report.metrics({ records: [record(step)] }); pass(5); } };
    train(1, 2000);
    const young = told.length;
    assert.ok(young >= 18 && young <= 22, `${young} messages in ten seconds`);
    train(2001, 4000);
    report.flush();
    assert.ok(told.length - young <= 12, `${told.length - young} messages in the next ten seconds, the last step among them`);
    assert.deepEqual(told.flat(), Array.from({ length: 4000 }, (_, i) => i + 1));
  } finally { mock.timers.reset(); }
});

test('a slow step is told of at once, and the last of fast ones without a next', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const { report, told, pass } = reporter();
    report.metrics({ records: [record(1)] });
    pass(BATCH_MS + 1);
    report.metrics({ records: [record(2)] });
    assert.deepEqual(told, [[1], [2]]);
    pass(10);
    report.metrics({ records: [record(3)] });
    assert.deepEqual(told, [[1], [2]]);
    pass(BATCH_MS);
    assert.deepEqual(told, [[1], [2], [3]]);
  } finally { mock.timers.reset(); }
});

test('a pause, a stop or a save comes after the steps before it', () => {
  const { report, told } = reporter();
  for (const step of [1, 2, 3]) report.metrics({ records: [record(step)] });
  report.state({ state: 'paused' });
  report.metrics({ records: [record(4)] });
  report.state({ state: 'stopping' });
  assert.deepEqual(told, [[1], [2, 3], 'paused', [4], 'stopping']);
});

test('progress of one piece of work is thinned, and its end is told', () => {
  const { report, told } = reporter();
  for (let done = 0; done <= 100; done++) report.progress({ message: 'Evaluating', fraction: done / 100 });
  report.progress({ message: 'Reading the data', fraction: 0.5 });
  assert.deepEqual(told, ['0', '1', '0.5']);
});
