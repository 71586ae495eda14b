/** The arithmetic of merging one weight matrix. */
import { LabError } from '../errors';
import { readChunks, type TensorRef } from './safetensors';

/** ΔW = scaling · B A, with A [r, in_features] and B [out_features, r], row after row. */
export interface Delta { A: Float32Array; B: Float32Array; r: number; in_features: number; out_features: number; scaling: number }

/** Values merged at a time. */
const CHUNK = 1 << 20;
/** The largest float32 values that do not round to infinity. */
const LIMITS: Record<string, number> = { F16: 65520, BF16: 3.3961775292304957e38, F32: Infinity, F64: Infinity };

/** The rows of W + ΔW as float32, a few at a time. Error `merge.not-finite`, also where the sum does not fit the stored type. */
export function* mergedChunks(ref: TensorRef, delta: Delta): Generator<Float32Array> {
  const { in_features } = delta;
  const rows = Math.max(1, Math.floor(CHUNK / in_features));
  const limit = LIMITS[ref.dtype] ?? Infinity;
  let row = 0;
  for (const chunk of readChunks(ref, rows * in_features)) {
    for (let start = 0; start < chunk.length; start += in_features, row++) addRow(chunk.subarray(start, start + in_features), delta, row);
    const bad = chunk.findIndex(value => !(Math.abs(value) < limit));
    if (bad >= 0) {
      throw new LabError({ code: 'merge.not-finite', file: ref.file, where: `tensor "${ref.name}"`, cause: `the merged weight holds ${chunk[bad]}, which ${ref.dtype} cannot store`, action: 'use another checkpoint of the adapter, or a base stored as float32' });
    }
    yield chunk;
  }
}

/** Adds row `row` of ΔW to `weights`. Sums in double precision: the assignment is the only rounding to float32. */
function addRow(weights: Float32Array, { A, B, r, in_features, scaling }: Delta, row: number): void {
  const sums = new Float64Array(in_features);
  for (let k = 0; k < r; k++) {
    const factor = scaling * B[row * r + k];
    if (factor === 0) continue;
    for (let i = 0, a = k * in_features; i < in_features; i++, a++) sums[i] += factor * A[a];
  }
  for (let i = 0; i < in_features; i++) weights[i] += sums[i];
}
