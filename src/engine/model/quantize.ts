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

/** Where weights are packed, one after the other. */
export interface Room { data: ArrayBuffer; scale: ArrayBuffer }

const elementsOf = ({ format, K, N }: PackLayout): { data: number; scale: number } =>
  (format === 'int8' ? { data: K * N, scale: N } : { data: N * blocksOf(K) * (INT4_BLOCK / 2), scale: N * blocksOf(K) });

/** Room for the largest of these. */
export function roomFor(layouts: readonly PackLayout[]): Room {
  const most = (part: 'data' | 'scale'): number => Math.max(0, ...layouts.map(layout => elementsOf(layout)[part]));
  return { data: new ArrayBuffer(most('data')), scale: new ArrayBuffer(Float32Array.BYTES_PER_ELEMENT * most('scale')) };
}

/** B in the format that ONNX Runtime multiplies it in, in `room`. `values` is the weight as the checkpoint stores it. */
export function packWeight(values: Float32Array, layout: PackLayout, room: Room = roomFor([layout])): Packed {
  return layout.format === 'int8' ? packInt8(values, layout, room) : packInt4(values, layout, room);
}

/** Adding and subtracting it leaves a double rounded to a whole number, halves to even. */
const ROUNDER = 1.5 * 2 ** 52;

/** One scale for each output: the largest magnitude of its column is 127. */
function packInt8(values: Float32Array, layout: PackLayout, room: Room): Packed {
  const { K, N, along, across } = layout, size = elementsOf(layout);
  const data = new Int8Array(room.data, 0, size.data);
  const scale = new Float32Array(room.scale, 0, size.scale);
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
function packInt4(values: Float32Array, layout: PackLayout, room: Room): Packed {
  const { K, N, along, across } = layout, size = elementsOf(layout);
  const blocks = blocksOf(K);
  // Both halves of a byte start at 8, which stands for zero: the last block may be filled up.
  const data = new Uint8Array(room.data, 0, size.data).fill(0x88);
  const scale = new Float32Array(room.scale, 0, size.scale);
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
      for (let k = begin, at = n * across + begin * along, byte = bytes; k < end; k += 2, at += 2 * along, byte++) {
        data[byte] = (8 + levelOf(values[at], s)) | (8 + (k + 1 < end ? levelOf(values[at + along], s) : 0)) << 4;
      }
    }
  }
  return { data, scale };
}

/** -8 … 7. As a whole number, which takes less time than Math.min of doubles. */
function levelOf(value: number, scale: number): number {
  const level = (Math.fround(value / scale) + ROUNDER - ROUNDER) | 0;
  return level > 7 ? 7 : level;
}
