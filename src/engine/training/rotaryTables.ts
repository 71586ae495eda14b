/** Cosines and sines of rotary position embedding. Made here, not in the graph: GPUs need not take the cosine of a large angle exactly. */
import type { Feeds } from '../executors/executor';
import type { Rotary } from '../model/rotaryConfig';

/** Tables kept from batch to batch; longer ones are made when a batch needs them. */
const cache = new WeakMap<Float32Array, { positions: number; cos: Float32Array; sin: Float32Array }>();

/**
 * `rotary_cos` and `rotary_sin` [positions, length] for the angles frequency · position, each product rounded to float32 as transformers does.
 * `longest`: positions of the longest example of the whole batch, which LongRoPE's angles depend on.
 */
export function rotaryTables(rotary: Rotary, positions: number, longest = positions): Feeds {
  const { length: w, scaling, long } = rotary;
  const frequencies = long && longest > long.beyond ? long.frequencies : rotary.frequencies;
  let tables = cache.get(frequencies);
  if (!tables || tables.positions < positions) {
    const length = Math.max(positions, 2 * (tables?.positions ?? 0));
    const angle = (i: number): number => Math.fround(Math.floor(i / w) * frequencies[i % w]);
    tables = {
      positions: length,
      cos: Float32Array.from({ length: length * w }, (_, i) => Math.fround(Math.cos(angle(i))) * scaling),
      sin: Float32Array.from({ length: length * w }, (_, i) => Math.fround(Math.sin(angle(i))) * scaling),
    };
    cache.set(frequencies, tables);
  }
  return {
    rotary_cos: { data: tables.cos.subarray(0, positions * w), shape: [positions, w] },
    rotary_sin: { data: tables.sin.subarray(0, positions * w), shape: [positions, w] },
  };
}
