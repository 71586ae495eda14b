/** The forward pass of an adapted linear layer. */
import * as tf from '@tensorflow/tfjs-core';
import type { Precision } from '../../protocol/experiment';
import { linear } from '../ops/linear';
import { frozenLinear } from '../ops/quantizedLinear';
import { sumRowNorms } from '../ops/sumRowNorms';

export interface AdaptedTensors {
  /** [out, in], or with `transposed` [in, out] */
  w: tf.Tensor;
  transposed: boolean;
  /** [out] */
  bias: tf.Tensor | undefined;
  /** How w is multiplied. */
  precision: Precision;
  /** [r, in] */
  a: tf.Tensor;
  /** scaling · B [out, r] */
  b: tf.Tensor;
  /** Frozen factors whose product is subtracted from w: a [r, in], and b, scaled, [out, r]. */
  start?: { a: tf.Tensor; b: tf.Tensor };
}

/** x (W - start)ᵀ + bias + scaling · (dropped Aᵀ) Bᵀ. x and dropped, which is x after dropout, [T, in] → [T, out]. */
export function loraLinear(x: tf.Tensor, dropped: tf.Tensor, { w, transposed, bias, precision, a, b, start }: AdaptedTensors): tf.Tensor {
  const whole = frozenLinear({ x, w, add: bias }, { precision, transposed });   // [T, out]
  const y = start ? linear({ x: linear({ x, w: start.a }, { bias: false }), w: tf.neg(start.b), add: whole }, { bias: false }) : whole;
  const low = linear({ x: dropped, w: a }, { bias: false });               // [T, r]
  return linear({ x: low, w: b, add: y }, { bias: false });
}

/**
 * DoRA (Liu et al. 2024, https://arxiv.org/abs/2402.09353): every row of W + ΔW is brought to the length in `magnitude` [out]. The
 * length that it has by itself counts as a constant in the gradient (section 4.3). With dropout the frozen part of the change sees
 * the dropped input too, as in PEFT: x Wᵀ + bias + (s - 1) · dropped Wᵀ + s · scaling · (dropped Aᵀ) Bᵀ, s = magnitude / ‖W + ΔW‖.
 */
export function doraLinear(x: tf.Tensor, dropped: tf.Tensor, { magnitude, ...tensors }: AdaptedTensors & { magnitude: tf.Tensor }): tf.Tensor {
  const { w, transposed, bias, a, b } = tensors;
  const s = tf.div(magnitude, sumRowNorms({ w, a, b }, { transposed }));   // [out]
  const directed = tf.mul(loraLinear(dropped, dropped, { ...tensors, bias: undefined }), s);
  const scaled = bias ? tf.add(directed, bias) : directed;                 // [T, out]
  if (dropped === x) return scaled;
  return tf.add(scaled, linear({ x: tf.sub(x, dropped), w }, { bias: false, transposed }));
}
