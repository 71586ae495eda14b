import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricSeries, RunningAverage } from '../../webview/series';
import { MOST_POINTS, ThinnedLine, type Point } from '../../webview/thinnedLine';
import { metrics } from './support/fixtures';

const series = (): MetricSeries => new MetricSeries();
const points = (length: number, y: (i: number) => number): Point[] => Array.from({ length }, (_, i) => ({ x: i, y: y(i) }));

test('training and evaluation records become separate lines over the step', () => {
  const all = series();
  all.append(metrics(100, 50));
  assert.deepEqual(all.loss.points.map(point => point.x), Array.from({ length: 100 }, (_, i) => i + 1));
  assert.deepEqual(all.evalLoss.points.map(point => point.x), [50, 100]);
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
  assert.ok(Number.isNaN(broken.loss.points[1].y));
  assert.equal(broken.smoothed.points[1].y, broken.smoothed.points[0].y);
});

const thinned = (all: readonly Point[]): ThinnedLine => {
  const line = new ThinnedLine();
  for (const point of all) line.push(point);
  return line;
};

test('few points are drawn as they are', () => {
  const all = points(MOST_POINTS, i => i);
  assert.deepEqual(thinned(all).points, all);
});

test('of many points the peaks, both ends, the order and the gaps remain', () => {
  const all = points(100_000, i => Math.sin(i / 500));
  all[31_337] = { x: 31_337, y: 9 };
  all[12_345] = { x: 12_345, y: -9 };
  all[20_001] = { x: 20_001, y: NaN };
  const line = thinned(all);
  const drawn = line.points;
  assert.ok(drawn.length <= MOST_POINTS + 10 && drawn.length > MOST_POINTS / 4, `${drawn.length} points`);
  assert.equal(drawn[0].x, 0);
  assert.equal(drawn[drawn.length - 1].x, 99_999);
  assert.ok(drawn.includes(all[31_337]) && drawn.includes(all[12_345]) && drawn.includes(all[20_001]));
  assert.ok(drawn.every((point, i) => i === 0 || point.x > drawn[i - 1].x));
});

test('at any length the last point is the newest one and the extremes are those of all points', () => {
  const all = points(9000, i => Math.sin(i * 1.7) * (1 + i / 1000));
  const line = new ThinnedLine();
  for (const [i, point] of all.entries()) {
    line.push(point);
    if (i % 617) continue;
    const drawn = line.points;
    assert.equal(drawn.at(-1), point);
    const y = all.slice(0, i + 1).map(one => one.y);
    assert.deepEqual([Math.min(...drawn.map(one => one.y)), Math.max(...drawn.map(one => one.y))], [Math.min(...y), Math.max(...y)], `after ${i + 1} points`);
  }
  line.clear();
  assert.deepEqual(line.points, []);
});

test('100,000 records are taken up in well under a second, and a few more cost no more than at the start', () => {
  const records = metrics(100_000, 2000);
  const begun = performance.now();
  const long = series();
  long.append(records);
  assert.ok(performance.now() - begun < 1000);
  assert.ok(long.loss.points.length <= MOST_POINTS + 10);
  assert.equal(long.latestSpeeds.length, 120);
});
