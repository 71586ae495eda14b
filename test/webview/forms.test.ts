import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOverride } from '../../src/protocol/typedNumber';
import { describeStep } from '../../webview/describe';
import { formatDuration, formatNumber, formatPercent, roughBytes, shortPath } from '../../webview/format';
import { decades, doublings, evenly, nearestStop, rankStops, roundNumbers } from '../../webview/ranges';
import { readText, showValue, sortProblems, withValue } from '../../webview/settingsForm';
import { initialState, receive, receiveView } from '../../webview/state';
import { experiment, metrics, run, values, VIEWS } from './support/fixtures';

test('the rank slider reaches from 1 to the limit over whole numbers, the powers of two among them', () => {
  for (const limit of [1, 2, 3, 8, 100, 128, 768, 4096]) {
    const stops = rankStops(limit);
    assert.equal(stops[0], 1);
    assert.equal(stops.at(-1), limit);
    assert.ok(stops.every((stop, i) => Number.isInteger(stop) && (i === 0 || stop > stops[i - 1])), stops.join());
    for (let power = 1; power <= limit; power *= 2) assert.ok(stops.includes(power), `${power} of ${limit}`);
  }
  assert.ok(rankStops(4096).length < 50, 'a step is a visible movement');
});

test('a value between two stops puts the slider on the nearer one', () => {
  assert.equal(nearestStop([1, 2, 4, 8], 3.1), 2);
  assert.equal(nearestStop([1, 2, 4, 8], 1000), 3);
});

test('sliders for rates, sizes and shares', () => {
  assert.deepEqual(decades(-5, -4), [1e-5, 2e-5, 3e-5, 5e-5, 7e-5, 1e-4]);
  assert.deepEqual(doublings(1, 8), [1, 2, 4, 8]);
  assert.deepEqual(evenly(0.5, 5), [0, 0.1, 0.2, 0.3, 0.4, 0.5]);
  assert.deepEqual(roundNumbers(0, 564, 6), [0, 100, 200, 300, 400, 500]);
  assert.deepEqual(roundNumbers(0, 3, 6), [0, 1, 2, 3]);
});

test('a field takes what the key takes and says what else to give', () => {
  assert.deepEqual(readText(['training', 'learning_rate'], ' 5e-4 '), { value: 5e-4 });
  assert.deepEqual(readText(['training', 'learning_rate'], '0,001'), { value: 0.001 });
  assert.deepEqual(readText(['lora', 'r'], '8.5'), { wrong: 'give a whole number' });
  assert.deepEqual(readText(['lora', 'r'], '0'), { wrong: 'give at least 1' });
  assert.deepEqual(readText(['lora', 'lora_alpha'], '0'), { wrong: 'give a number above 0' });
  assert.deepEqual(readText(['lora', 'lora_dropout'], '1'), { wrong: 'give at most 0.99' });
  assert.deepEqual(readText(['lora', 'r'], 'eight'), { wrong: 'give a number' });
  assert.deepEqual(readText(['lora', 'r'], ''), { wrong: 'give a number' });
  assert.deepEqual(readText(['training', 'eval_steps'], ''), { value: null });
});

test('a comma between thousands is understood, or asked about where it may be a decimal comma', () => {
  assert.deepEqual(readText(['training', 'max_steps'], '1,000'), { value: 1000 });
  assert.deepEqual(readText(['training', 'max_steps'], '12,345,678'), { value: 12345678 });
  assert.deepEqual(readText(['training', 'warmup_steps'], '1,000,000'), { value: 1e6 });
  assert.deepEqual(readText(['training', 'warmup_steps'], '1,000'), { wrong: 'give 1000 or 1.000, without a comma' });
  assert.deepEqual(readText(['training', 'learning_rate'], '0,125'), { value: 0.125 });
  assert.deepEqual(readText(['training', 'num_train_epochs'], '1,5'), { value: 1.5 });
  assert.deepEqual(readText(['training', 'max_steps'], '1,5'), { wrong: 'give a whole number' });
});

test('a point between thousands is asked about where only whole numbers are possible', () => {
  assert.deepEqual(readText(['training', 'max_steps'], '1.000'), { wrong: 'give 1000 or 1, without a point' });
  assert.deepEqual(readText(['training', 'max_steps'], '1.500'), { wrong: 'give 1500, without a point' });
  assert.deepEqual(readText(['training', 'max_steps'], '12.345.678'), { wrong: 'give 12345678, without a point' });
  assert.deepEqual(readText(['training', 'max_steps'], '16.0'), { value: 16 });
  assert.deepEqual(readText(['training', 'warmup_steps'], '1.000'), { value: 1 });
});

test('Set rank and Set alpha take numbers as the fields do', () => {
  assert.deepEqual(readOverride('lora_alpha', '0,5', 8), { value: 0.5, wrong: undefined });
  assert.equal(readOverride('lora_alpha', '1,000', 8).wrong, 'give 1000 or 1.000, without a comma');
  assert.equal(readOverride('lora_alpha', '', 8).wrong, 'give a number above 0');
  assert.equal(readOverride('r', '1.000', 2000).wrong, 'give 1000 or 1, without a point');
  assert.deepEqual(readOverride('r', '1,000', 2000), { value: 1000, wrong: undefined });
  assert.equal(readOverride('r', '9', 8).wrong, 'give a whole number from 1 to 8');
});

test('what a field shows reads back as the same value', () => {
  for (const value of [8, 0.1, 3e-3, 5e-5, 1e-8, 0, 128, 0.000123]) assert.deepEqual(readText(['training', 'weight_decay'], showValue(value)), { value });
  assert.equal(showValue(5e-5), '5e-5');
  assert.equal(showValue(0.1), '0.1');
});

test('a removed key has its default again, and the original stays as it was', () => {
  const before = values();
  const after = withValue(before, ['lora', 'r'], undefined);
  assert.equal(after.lora.r, 8);
  assert.equal(withValue(before, ['lora', 'r'], 4).lora.r, 4);
  assert.equal(before.lora.r, 8);
  assert.equal(withValue(before, ['lora', 'r'], 4).training, before.training);
});

test('problems stand beside their control, all others in the list', () => {
  const { byKey, rest } = sortProblems(VIEWS.problems.experiment!.problems, new Set(['training.learning_rate', 'lora.r']));
  assert.deepEqual([...byKey.keys()], ['training.learning_rate']);
  assert.deepEqual(rest.map(problem => problem.path.join('.')), ['dataset.train', 'lora.rnak']);
});

test('numbers, times and paths as a person reads them', () => {
  assert.deepEqual([0.41234567, 1e-5, 3.2e-4, 0, 5454.3, 'NaN', null].map(formatNumber), ['0.4123', '1e-5', '3.2e-4', '0', '5454', 'NaN', '–']);
  assert.deepEqual([0.27, 1.6692, 21.04, 0.0123].map(formatPercent), ['0.27 %', '1.67 %', '21.0 %', '0.0123 %']);
  assert.deepEqual([1.44, 47.3, 72, 3600, 7500].map(formatDuration), ['1.4 s', '47 s', '1 min 12 s', '1 h', '2 h 5 min']);
  assert.deepEqual([56.6e6, 2.43e9, 3.1e6].map(roughBytes), ['57 MB', '2.4 GB', '3.1 MB']);
  assert.equal(shortPath('/home/ada/experiments/reviews/model', 20), '…/reviews/model');
});

test('the last step in words, for those who do not see the charts', () => {
  const records = metrics(94);
  const evaluation = records.at(-1) as never;
  assert.match(describeStep(records[93] as never, evaluation), /^Step 94, loss 0\.\d+, learning rate [\d.e-]+\. Evaluation at step 94: loss 0\.\d+, accuracy \d+\.\d %\.$/);
  assert.equal(describeStep(undefined, undefined), '');
});

test('notifications: records are appended, or replace what was shown', () => {
  let state = receiveView(initialState(), { experiment: experiment(), run: run(), metrics: metrics(10) });
  state = receive(state, 'metrics', { records: metrics(12).slice(10), samples: [], reset: false });
  assert.equal(state.series.lastTrain?.step, 12);
  state = receive(state, 'metrics', { records: metrics(3), samples: [], reset: true });
  assert.equal(state.series.loss.points.length, 3);
  state = receive(state, 'run', { run: run({ status: 'paused' }) });
  assert.equal(state.run.status, 'paused');
});
