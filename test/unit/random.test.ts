import assert from 'node:assert/strict';
import { test } from 'node:test';
import { random } from '../../src/engine/random';

const draw = (seed: number, stream: string, n = 5): number[] => { const r = random(seed, stream); return Array.from({ length: n }, () => r.next()); };

test('a stream depends on seed and name alone', () => {
  assert.deepEqual(draw(42, 'a'), draw(42, 'a'));
  for (const [seed, stream] of [[43, 'a'], [42, 'b'], [42, 'aa'], [42 + 2 ** 31, 'a']] as const) assert.notDeepEqual(draw(seed, stream), draw(42, 'a'));
  // A saved run repeats its random numbers in later versions too.
  assert.deepEqual(draw(42, 'classifier.weight', 3), PINNED);
});

const PINNED = [0.9165443850215524, 0.1681906043086201, 0.6470702008809894];

test('the numbers are spread as they should be', () => {
  const r = random(1, 'spread');
  const uniform = Array.from({ length: 50_000 }, () => r.next());
  assert.ok(uniform.every(x => x >= 0 && x < 1));
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  assert.ok(Math.abs(mean(uniform) - 0.5) < 0.01);
  assert.ok(Math.abs(mean(uniform.slice(1).map((x, i) => (x - 0.5) * (uniform[i] - 0.5)))) < 0.002, 'neighbours are independent');
  const normal = Array.from({ length: 50_000 }, () => r.normal());
  assert.ok(Math.abs(mean(normal)) < 0.02 && Math.abs(mean(normal.map(x => x * x)) - 1) < 0.03 && Math.abs(mean(normal.map(x => x ** 4)) - 3) < 0.2);
});

test('a shuffle is a permutation, and every place is as likely', () => {
  assert.deepEqual([...random(1, 's').shuffle(100)].sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i));
  assert.equal(random(1, 's').shuffle(0).length, 0);
  const r = random(1, 'places');
  const counts = new Array<number>(4).fill(0);
  for (let n = 0; n < 8000; n++) counts[r.shuffle(4).indexOf(0)]++;
  assert.ok(counts.every(count => Math.abs(count - 2000) < 200), counts.join());
});
