/** Half precision for eager executors: float32 values that are rounded as a cast to float16 rounds them. */
import * as tf from '@tensorflow/tfjs-core';
import { HALF_FLOOR, HALF_LENGTH } from '../executors/trace/kernels/half';

/** The smallest number with all 11 bits; below it the steps are 2⁻²⁴. */
const SMALLEST_NORMAL = 2 ** -14;

/** x to the nearest half precision number, up to 65504. Any shape. */
export function roundedHalf(x: tf.Tensor): tf.Tensor {
  const split = tf.mul(x, 2 ** 13 + 1);                                  // Veltkamp's: the upper 11 of 24 bits
  const normal = tf.sub(split, tf.sub(split, x));
  const subnormal = tf.sub(tf.add(x, 0.75), 0.75);                       // float32 has steps of 2⁻²⁴ between ½ and 1
  return tf.where(tf.less(tf.abs(x), SMALLEST_NORMAL), subnormal, normal);
}

/** As `scaledHalf`: x rounded with everything along `axis` brought to the same length, and the factor that was taken out. */
export function scaledAndRounded(x: tf.Tensor, axis: number): { rounded: tf.Tensor; scale: tf.Tensor } {
  const length = tf.sqrt(tf.sum(tf.square(x), axis, true));
  const scale = tf.mul(tf.maximum(length, HALF_FLOOR), 1 / HALF_LENGTH);
  return { rounded: roundedHalf(tf.div(x, scale)), scale };
}
