/** Cosines and sines of rotary position embedding. Made here, not in the graph: GPUs need not take the cosine of a large angle exactly. */
import type { Feeds } from '../executors/executor';

/** Tables kept from batch to batch; longer ones are made when a batch needs them. */
const cache = new WeakMap<Float32Array, { positions: number; cos: Float32Array; sin: Float32Array }>();

/** `rotary_cos` and `rotary_sin` [positions, w] for the angles frequencies [w] · position, each product rounded to float32 as transformers does. */
export function rotaryTables(frequencies: Float32Array, positions: number): Feeds {
  const w = frequencies.length;
  let tables = cache.get(frequencies);
  if (!tables || tables.positions < positions) {
    const length = Math.max(positions, 2 * (tables?.positions ?? 0));
    const angle = (i: number): number => Math.fround(Math.floor(i / w) * frequencies[i % w]);
    tables = {
      positions: length,
      cos: Float32Array.from({ length: length * w }, (_, i) => Math.cos(angle(i))),
      sin: Float32Array.from({ length: length * w }, (_, i) => Math.sin(angle(i))),
    };
    cache.set(frequencies, tables);
  }
  return {
    rotary_cos: { data: tables.cos.subarray(0, positions * w), shape: [positions, w] },
    rotary_sin: { data: tables.sin.subarray(0, positions * w), shape: [positions, w] },
  };
}
