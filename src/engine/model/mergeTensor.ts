/** The arithmetic of merging one weight matrix. */
import { LabError } from '../errors';
import { narrowForHalf } from './floats';
import { readChunks, type TensorRef } from './safetensors';

/**
 * ΔW = scaling · B A, with A [r, in_features] and B [out_features, r], row after row. For a weight that is stored transposed all of
 * it is. `magnitude` is DoRA's: the length that every row of W + ΔW gets, of a transposed weight every column.
 */
export interface Delta { A: Float32Array; B: Float32Array; r: number; in_features: number; out_features: number; scaling: number; magnitude?: { values: Float32Array; of: 'rows' | 'columns' } }

/** Values merged at a time. */
const CHUNK = 1 << 20;
/** The largest float32 values that do not round to infinity. */
export const LIMITS: Record<string, number> = { F16: 65520, BF16: 3.3961775292304957e38, F32: Infinity, F64: Infinity };

/** The rows of the merged weight as float32, of which the stored type is rounded as if from the sums themselves, a few at a time. Error `merge.not-finite`, also where the sum does not fit the stored type. */
export function* mergedChunks(ref: TensorRef, delta: Delta): Generator<Float32Array> {
  const { in_features, magnitude } = delta;
  const columns = magnitude?.of === 'columns' ? columnFactors(ref, delta, magnitude.values) : undefined;
  const rows = Math.max(1, Math.floor(CHUNK / in_features));
  const limit = LIMITS[ref.dtype] ?? Infinity;
  const narrow = ref.dtype === 'F16' || ref.dtype === 'BF16' ? narrowForHalf : (sums: Float64Array, values: Float32Array) => values.set(sums);
  let row = 0;
  for (const chunk of readChunks(ref, rows * in_features)) {
    for (let start = 0; start < chunk.length; start += in_features, row++) {
      const values = chunk.subarray(start, start + in_features);
      const sums = mergedRow(values, delta, row);
      const length = magnitude?.of === 'rows' ? magnitude.values[row] / norm(sums) : 1;
      if (magnitude) for (let i = 0; i < in_features; i++) sums[i] *= columns?.[i] ?? length;
      narrow(sums, values);
    }
    const bad = chunk.findIndex(value => !(Math.abs(value) < limit));
    if (bad >= 0) {
      throw new LabError({ code: 'merge.not-finite', file: ref.file, where: `tensor "${ref.name}"`, cause: `the merged weight holds ${chunk[bad]}, which ${ref.dtype} cannot store`, action: 'use another checkpoint of the adapter, or a base stored as float32' });
    }
    yield chunk;
  }
}

/** Row `row` of W + ΔW in double precision, so that storing it is the only rounding. */
function mergedRow(weights: Float32Array, { A, B, r, in_features, scaling }: Delta, row: number): Float64Array {
  const sums = Float64Array.from(weights);
  for (let k = 0; k < r; k++) {
    const factor = scaling * B[row * r + k];
    if (factor === 0) continue;
    for (let i = 0, a = k * in_features; i < in_features; i++, a++) sums[i] += factor * A[a];
  }
  return sums;
}

/** Magnitude over length of every column of W + ΔW: a pass of its own over the weight. */
function columnFactors(ref: TensorRef, delta: Delta, magnitude: Float32Array): Float64Array {
  const { in_features } = delta;
  const squares = new Float64Array(in_features);
  let row = 0;
  for (const chunk of readChunks(ref, Math.max(1, Math.floor(CHUNK / in_features)) * in_features)) {
    for (let start = 0; start < chunk.length; start += in_features, row++) {
      mergedRow(chunk.subarray(start, start + in_features), delta, row).forEach((value, i) => { squares[i] += value * value; });
    }
  }
  return squares.map((square, i) => magnitude[i] / Math.sqrt(square));
}

const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
