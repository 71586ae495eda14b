import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromBF16, fromF16, toBF16, toF16 } from '../../src/engine/model/floats';
import { random } from '../../src/engine/random';

const half = (value: number): number => toF16(Float32Array.of(value))[0];
const brain = (value: number): number => toBF16(Float32Array.of(value))[0];

test('known half precision values', () => {
  const known: [number, number][] = [
    [0, 0x0000], [-0, 0x8000], [1, 0x3c00], [-2, 0xc000], [65504, 0x7bff], [65519, 0x7bff], [65520, 0x7c00], [1e30, 0x7c00],
    [Infinity, 0x7c00], [-Infinity, 0xfc00], [2 ** -14, 0x0400], [2 ** -24, 0x0001], [2 ** -25, 0x0000], [2 ** -25 * 1.0001, 0x0001],
    [3 * 2 ** -25, 0x0002], [5 * 2 ** -25, 0x0002], [2 ** -14 - 2 ** -24, 0x03ff], [2 ** -14 - 2 ** -26, 0x0400], [1e-30, 0],
    // ties go to the even neighbour
    [1 + 2 ** -11, 0x3c00], [1 + 3 * 2 ** -11, 0x3c02], [1 + 2 ** -11 + 2 ** -20, 0x3c01], [2 - 2 ** -12, 0x4000],
  ];
  for (const [value, bits] of known) assert.equal(half(value), bits, `${value}`);
  assert.equal(half(NaN) & 0x7fff, 0x7e00);
});

test('known bfloat16 values', () => {
  const known: [number, number][] = [
    [0, 0], [-0, 0x8000], [1, 0x3f80], [-2, 0xc000], [Infinity, 0x7f80], [3.4e38, 0x7f80], [3.39e38, 0x7f7f], [2 ** -133, 0x0001],
    [1 + 2 ** -8, 0x3f80], [1 + 3 * 2 ** -8, 0x3f82], [1 + 2 ** -8 + 2 ** -20, 0x3f81],
  ];
  for (const [value, bits] of known) assert.equal(brain(value), bits, `${value}`);
  const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001).buffer);
  assert.ok(fromBF16(toBF16(nan)).every(Number.isNaN), 'a NaN with a small payload stays a NaN');
});

test('every 16-bit number survives the way to float32 and back', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  for (const [name, back, numbers] of [['F16', toF16(fromF16(all)), fromF16(all)], ['BF16', toBF16(fromBF16(all)), fromBF16(all)]] as const) {
    for (let i = 0; i < 65536; i++) if (!Number.isNaN(numbers[i])) assert.equal(back[i], i, `${name} ${i.toString(16)}`);
  }
});

test('random values become the nearest half precision number', () => {
  const numbers = fromF16(Uint16Array.from({ length: 0x7c00 }, (_, i) => i)); // 0 … 65504, rising
  const generator = random(3, 'half');
  const values = Float32Array.from({ length: 5000 }, () => 2 ** (generator.next() * 42 - 26));
  const rounded = fromF16(toF16(values));
  values.forEach((value, i) => {
    if (value >= 65520) return;
    let low = 0;
    for (let step = 0x4000; step; step >>= 1) if (low + step < numbers.length && numbers[low + step] <= value) low += step;
    const distance = Math.min(value - numbers[low], (numbers[low + 1] ?? Infinity) - value);
    assert.equal(Math.abs(rounded[i] - value), distance, `${value}`);
  });
});
