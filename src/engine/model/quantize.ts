/**
 * Frozen weights in 8 and 4 bits, as the factor B [K, N] of x [T, K] · B. Rounding is to nearest, halves to even, in single precision
 * throughout, so that the same weight always gives the same bytes, and the same values as ops/quantizedLinear.ts composes.
 */

export type PackFormat = 'int8' | 'int4';

/** Where B stands in the stored weight: B[k, n] is its element k · along + n · across. */
export interface PackLayout { format: PackFormat; K: number; N: number; along: number; across: number }

export interface Packed {
  /** int8: Int8Array, B [K, N]. int4: Uint8Array [N, blocks, INT4_BLOCK / 2], the element with the even k in the lower half of a byte, 8 added to each. */
  data: Int8Array | Uint8Array;
  /** int8: [N]. int4: [N, blocks]. */
  scale: Float32Array;
}

/** Elements along K that share a scale: 0.5625 bytes an element. */
export const INT4_BLOCK = 64;
export const blocksOf = (K: number): number => Math.ceil(K / INT4_BLOCK);

/** Memory for so many bytes, all zero. */
export type Take = (bytes: number) => ArrayBuffer;

/** B in the format that ONNX Runtime multiplies it in, in memory of `take`. `values` is the weight as the checkpoint stores it. */
export function packWeight(values: Float32Array, layout: PackLayout, take: Take = bytes => new ArrayBuffer(bytes)): Packed {
  return layout.format === 'int8' ? packInt8(values, layout, take) : packInt4(values, layout, take);
}

/** Adding and subtracting it leaves a double rounded to a whole number, halves to even. */
const ROUNDER = 1.5 * 2 ** 52;

/** One scale for each output: the largest magnitude of its column is 127. */
function packInt8(values: Float32Array, { K, N, along, across }: PackLayout, take: Take): Packed {
  const data = new Int8Array(take(K * N));
  const scale = new Float32Array(take(Float32Array.BYTES_PER_ELEMENT * N));
  for (let n = 0; n < N; n++) {
    const first = n * across;
    let largest = 0;
    for (let k = 0; k < K; k++) largest = Math.max(largest, Math.abs(values[first + k * along]));
    const s = Math.fround(largest / 127) || 1;
    scale[n] = s;
    for (let k = 0; k < K; k++) data[k * N + n] = Math.fround(values[first + k * along] / s) + ROUNDER - ROUNDER;
  }
  return { data, scale };
}

/** One scale for each block of a column: the element of largest magnitude becomes -8, the others -8 … 7. */
function packInt4(values: Float32Array, { K, N, along, across }: PackLayout, take: Take): Packed {
  const blocks = blocksOf(K);
  // Both halves of a byte start at 8, which stands for zero: the last block may be filled up.
  const data = new Uint8Array(take(N * blocks * (INT4_BLOCK / 2))).fill(0x88);
  const scale = new Float32Array(take(Float32Array.BYTES_PER_ELEMENT * N * blocks));
  for (let n = 0; n < N; n++) {
    for (let block = 0; block < blocks; block++) {
      const [begin, end] = [block * INT4_BLOCK, Math.min(K, (block + 1) * INT4_BLOCK)];
      let extreme = 0;
      for (let k = begin; k < end; k++) {
        const value = values[n * across + k * along];
        if (Math.abs(value) > Math.abs(extreme)) extreme = value;
      }
      const s = extreme / -8 || 1;
      scale[n * blocks + block] = s;
      const bytes = (n * blocks + block) * (INT4_BLOCK / 2);
      for (let k = begin; k < end; k++) {
        const level = Math.min(15, 8 + (Math.fround(values[n * across + k * along] / s) + ROUNDER - ROUNDER));
        const shift = (k & 1) * 4;
        const at = bytes + ((k - begin) >> 1);
        data[at] = (data[at] & (0xf0 >> shift)) | (level << shift);
      }
    }
  }
  return { data, scale };
}
