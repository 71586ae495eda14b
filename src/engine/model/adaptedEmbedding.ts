/** The forward pass of an adapted embedding. */
import * as tf from '@tensorflow/tfjs-core';
import { linear } from '../ops/linear';
import { sumRowNorms } from '../ops/sumRowNorms';

export interface AdaptedTable {
  /** The frozen table [n, d]. */
  w: tf.Tensor;
  /** [r, n] */
  a: tf.Tensor;
  /** scaling · B [d, r] */
  b: tf.Tensor;
  /** Columns of A for the tokens: [T, r]. */
  low: tf.Tensor;
  /** DoRA's, [d]. */
  magnitude?: tf.Tensor;
}

/**
 * Rows of W + scaling · (B A)ᵀ for the tokens whose rows of W are `base` [T, d]; the sum itself, [n, d], is never made. With DoRA every
 * column is brought to the length in `magnitude`; the length that it has by itself counts as a constant in the gradient.
 */
export function loraEmbedding(base: tf.Tensor, { w, a, b, low, magnitude }: AdaptedTable): tf.Tensor {
  const rows = linear({ x: low, w: b, add: base }, { bias: false });   // [T, d]
  return magnitude ? tf.mul(rows, tf.div(magnitude, sumRowNorms({ w, a, b }, { transposed: true }))) : rows;
}
