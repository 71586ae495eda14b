import assert from 'node:assert/strict';
import { test } from 'node:test';
import { downsample, MetricSeries, RunningAverage, type Point } from '../../webview/series';
import { metrics } from './support/fixtures';

const series = (): MetricSeries => new MetricSeries();
const line = (length: number, y: (i: number) => number): Point[] => Array.from({ length }, (_, i) => ({ x: i, y: y(i) }));

test('training and evaluation records become separate lines over the step', () => {
  const all = series();
  all.append(metrics(100, 50));
  assert.equal(all.loss.length, 100);
  assert.deepEqual(all.evalLoss.map(point => point.x), [50, 100]);
  assert.equal(all.lastTrain?.step, 100);
  assert.equal(all.lastEval?.step, 100);
  assert.equal(all.length, 102);
});

test('appending in batches gives what one batch gives', () => {
  const [whole, parts] = [series(), series()];
  const records = metrics(300);
  whole.append(records);
  for (let i = 0; i < records.length; i += 7) parts.append(records.slice(i, i + 7));
  assert.deepEqual(parts.smoothed, whole.smoothed);
  assert.deepEqual(parts.evalLoss, whole.evalLoss);
});

test('a cleared series shows nothing of the earlier run', () => {
  const reused = series();
  reused.append(metrics(50));
  reused.clear();
  assert.equal(reused.lastTrain, undefined);
  reused.append(metrics(20));
  const fresh = series();
  fresh.append(metrics(20));
  assert.deepEqual(reused.smoothed, fresh.smoothed);
});

test('smoothing begins at the first loss, not at zero, and settles on a constant', () => {
  const average = new RunningAverage(10, 0);
  for (let i = 0; i < 50; i++) assert.ok(Math.abs(average.next(0.7) - 0.7) < 1e-12);
});

test('smoothing takes most of the noise away and follows a fall', () => {
  const average = new RunningAverage(10, 1 / 50);
  const smooth = Array.from({ length: 1000 }, (_, i) => average.next((i < 500 ? 1 : 0.5) + (i % 2 ? 0.2 : -0.2)));
  assert.ok(Math.abs(smooth[499] - 1) < 0.04);
  assert.ok(Math.abs(smooth[999] - 0.5) < 0.04);
});

test('a loss that is not finite is a gap in the raw line and leaves the smoothed one alone', () => {
  const broken = series();
  const [first, second] = metrics(2);
  broken.append([first, { ...second, loss: 'NaN' } as typeof second]);
  assert.ok(Number.isNaN(broken.loss[1].y));
  assert.equal(broken.smoothed[1].y, broken.smoothed[0].y);
});

test('few points are drawn as they are', () => {
  const points = line(100, i => i);
  assert.equal(downsample(points, 2000), points);
});

test('of many points the peaks, both ends, the order and the gaps remain', () => {
  const points = line(50_000, i => Math.sin(i / 500));
  points[31_337] = { x: 31_337, y: 9 };
  points[12_345] = { x: 12_345, y: -9 };
  points[20_001] = { x: 20_001, y: NaN };
  const drawn = downsample(points, 2000);
  assert.ok(drawn.length <= 2010, `${drawn.length} points`);
  assert.equal(drawn[0].x, 0);
  assert.equal(drawn[drawn.length - 1].x, 49_999);
  assert.ok(drawn.includes(points[31_337]) && drawn.includes(points[12_345]) && drawn.includes(points[20_001]));
  assert.ok(drawn.every((point, i) => i === 0 || point.x > drawn[i - 1].x));
});

test('50,000 records are taken up in well under a second', () => {
  const records = metrics(50_000, 2000);
  const begun = performance.now();
  const long = series();
  long.append(records);
  downsample(long.loss, 2000);
  assert.ok(performance.now() - begun < 1000);
});
