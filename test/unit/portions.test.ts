import assert from 'node:assert/strict';
import { test } from 'node:test';
import { portions } from '../../src/engine/training/portions';

test('every example is in one portion, none above the limit unless alone, the shorter ones first', () => {
  const lengths = [128, 3, 700, 60, 512, 3, 100, 411];
  const found = portions(lengths, 512);
  assert.deepEqual(found.flat().map(i => lengths[i]), [...lengths].sort((a, b) => a - b));
  assert.equal(new Set(found.flat()).size, lengths.length);
  for (const portion of found) assert.ok(portion.length === 1 || portion.reduce((sum, i) => sum + lengths[i], 0) <= 512);
  assert.deepEqual(found, [[1, 5, 3, 6, 0], [7], [4], [2]]);
  assert.deepEqual(portions(lengths, Infinity).length, 1);
});
