/** Merged weights in 16 bits are what is nearest to the sum itself, not to what float32 makes of it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { fromBF16, fromF16, narrowForHalf, toBF16, toF16 } from '../../src/engine/model/floats';
import { mergedChunks } from '../../src/engine/model/mergeTensor';
import { readHeader } from '../../src/engine/model/safetensors';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { random } from '../../src/engine/random';
import { inTemporaryFolder } from '../support/faults';

const FORMATS = { F16: { to: toF16, from: fromF16, digits: 10 }, BF16: { to: toBF16, from: fromBF16, digits: 7 } } as const;

function narrowed(value: number): Float32Array {
  const out = new Float32Array(1);
  narrowForHalf(Float64Array.of(value), out);
  return out;
}

/** What is nearest to `value` in double precision, of a tie the even one, found among the neighbours of what float32 gives. */
function nearest(value: number, { to, from }: (typeof FORMATS)[keyof typeof FORMATS]): number {
  const about = to(Float32Array.of(value))[0];
  const distance = (bits: number): number => Math.abs(from(Uint16Array.of(bits))[0] - value);
  return [about - 1, about, about + 1].filter(bits => distance(bits) < Infinity).sort((a, b) => distance(a) - distance(b) || (a & 1) - (b & 1))[0];
}

for (const [name, format] of Object.entries(FORMATS)) {
  test(`${name}: sums that lie beside the middle of two values, by less than float32 shows, go to the nearer one`, () => {
    const generator = random(3, 'sums');
    let moved = 0;
    for (let i = 0; i < 2000; i++) {
      const bits = format.to(Float32Array.of(generator.normal()))[0];
      const [low, high] = [bits, bits + 1].map(each => format.from(Uint16Array.of(each))[0]);
      const middle = (low + high) / 2;
      for (const value of [low, middle, middle * (1 + 2 ** -40), middle * (1 - 2 ** -40), middle * (1 + 2 ** -20), generator.normal(), generator.normal() * 1e-6]) {
        const found = format.to(narrowed(value))[0];
        assert.equal(found, nearest(value, format), `${value}`);
        if (found !== format.to(Float32Array.of(value))[0]) moved++;
      }
    }
    assert.ok(moved > 1000, `${moved} would have gone to the other one by way of float32`);
  });

  test(`${name}: a merged weight is rounded once`, () => inTemporaryFolder(async folder => {
    const path = join(folder, 'w.safetensors');
    await writeSafetensors(path, [{ name: 'w', dtype: name as 'F16', shape: [1, 2], data: Float32Array.of(1, 1) }]);
    // 1 + half a step of the format + 2^-40: above the middle, where float32 stands at the middle, which goes to the even 1.
    const delta = { A: Float32Array.of(2 ** -(format.digits + 1), 0, 2 ** -40, 0), B: Float32Array.of(1, 1), r: 2, in_features: 2, out_features: 1, scaling: 1 };
    const [merged] = [...mergedChunks(readHeader(path).tensors.get('w')!, delta)];
    assert.deepEqual([...format.from(format.to(merged))], [1 + 2 ** -format.digits, 1]);
  }));
}

test('what no finite number is stays so', () => {
  assert.deepEqual([NaN, Infinity, -Infinity, 0, -0].map(value => narrowed(value)[0]), [NaN, Infinity, -Infinity, 0, -0]);
  for (const [{ to }, most] of [[FORMATS.F16, 65520], [FORMATS.BF16, 3.3961775292304957e38]] as const) {
    const [below, at] = [most * (1 - 2 ** -40), most].map(value => to(narrowed(value))[0]);
    assert.equal(at - below, 1, 'only from the middle to infinity on it is infinite');
  }
});
