/** Which examples make up each batch. A pure function of (seed, epoch), so that a resumed run draws the same ones. */
import { random } from '../random';

/** Numbers of the examples of one epoch, batch after batch. The last batch holds what is left. */
export function epochBatches(examples: number, batch_size: number, { seed, epoch, shuffle }: { seed: number; epoch: number; shuffle: boolean }): Uint32Array[] {
  const order = shuffle ? random(seed, `shuffle-epoch-${epoch}`).shuffle(examples) : Uint32Array.from({ length: examples }, (_, i) => i);
  return chunks(order, batch_size);
}

/** Batches in the order of length: for evaluation, whose result does not depend on the order, with the least padding in attention. */
export function batchesByLength(lengths: ArrayLike<number>, batch_size: number): Uint32Array[] {
  return chunks(Uint32Array.from({ length: lengths.length }, (_, i) => i).sort((a, b) => lengths[a] - lengths[b] || a - b), batch_size);
}

/** Batches in the order of the file, as Trainer evaluates: for models whose result depends on what is in a batch. */
export const batchesInOrder = ({ length }: ArrayLike<number>, batch_size: number): Uint32Array[] => chunks(Uint32Array.from({ length }, (_, i) => i), batch_size);

function chunks(order: Uint32Array, size: number): Uint32Array[] {
  return Array.from({ length: Math.ceil(order.length / size) }, (_, i) => order.subarray(i * size, (i + 1) * size));
}
