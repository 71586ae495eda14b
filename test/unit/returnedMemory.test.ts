/** Memory that must not stay with the process when it is no longer needed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReturnedMemory } from '../../src/engine/returnedMemory';

test('memory that is given back leaves the process at once, in pieces that malloc would keep', () => {
  const memory = new ReturnedMemory();
  const [piece, pieces] = [2 ** 19, 256];
  const before = process.memoryUsage.rss();
  const arrays = Array.from({ length: pieces }, () => new Uint8Array(memory.take(piece)).fill(1));
  const held = process.memoryUsage.rss();
  assert.ok(held - before > 0.9 * piece * pieces, `${held - before} more for ${piece * pieces}`);
  memory.giveBack();
  const after = process.memoryUsage.rss();
  assert.ok(held - after > 0.9 * piece * pieces, `${held - after} less for ${piece * pieces}`);
  assert.ok(arrays.every(({ length }) => length === 0));
  // Nothing is left of what was given back, and there may be more.
  assert.deepEqual([...new Uint8Array(memory.take(3))], [0, 0, 0]);
  memory.giveBack();
});
