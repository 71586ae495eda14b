/** Frozen weights in few bits, packed one after the other in the same room. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INT4_BLOCK, packWeight, roomFor, type PackLayout } from '../../src/engine/model/quantize';
import { random } from '../../src/engine/random';
import { ReturnedMemory } from '../../src/engine/returnedMemory';

const noise = (size: number): Float32Array => { const stream = random(5, 'w'); return Float32Array.from({ length: size }, () => stream.normal()); };
/** B [K, N] as [N, K] and as [K, N], whole blocks and not. */
const LAYOUTS = (['int8', 'int4'] as const).flatMap(format => [[130, 70], [65, 3], [128, 40]].flatMap(([K, N]): PackLayout[] => [{ format, K, N, along: 1, across: K }, { format, K, N, along: N, across: 1 }]));

test('a weight in a room where another was is the one that it is alone, and a copy stays what it was', () => {
  const room = roomFor(LAYOUTS);
  const memory = new ReturnedMemory();
  const copies = LAYOUTS.map(layout => memory.copy(packWeight(noise(layout.K * layout.N), layout, room).data));
  LAYOUTS.forEach((layout, i) => {
    const { data } = packWeight(noise(layout.K * layout.N), layout);
    assert.deepEqual(copies[i], new Uint8Array(data.buffer), JSON.stringify(layout));
  });
  memory.giveBack();
  assert.ok(copies.every(({ length }) => length === 0));
});

test('int4 holds each element within half of its block\'s scale, what rounds to 8 within a whole one; a block that is filled up has zeros', () => {
  const [K, N] = [70, 3];
  const values = noise(K * N);
  const { data, scale } = packWeight(values, { format: 'int4', K, N, along: 1, across: K });
  const level = (n: number, k: number): number => ((data[(n * 2 * INT4_BLOCK + k) >> 1] >> (4 * (k & 1))) & 15) - 8;
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < 2 * INT4_BLOCK; k++) {
      const s = scale[n * 2 + Math.floor(k / INT4_BLOCK)];
      if (k >= K) assert.equal(level(n, k), 0);
      else assert.ok(Math.abs(values[n * K + k] - level(n, k) * s) <= Math.abs(s) * (level(n, k) === 7 ? 1.0001 : 0.5001), `${n}, ${k}`);
    }
  }
});
