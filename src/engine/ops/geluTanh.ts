import * as tf from '@tensorflow/tfjs-core';
import { defineActivation } from './activation';

/** √(2/π), twice: 1 + tanh(u) is 2 σ(2u). */
const SLOPE = 2 * Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715 * SLOPE;

/** σ(v), the share of x that passes. v = SLOPE x + CUBIC x³. */
const share = (x: tf.Tensor): tf.Tensor => tf.sigmoid(tf.mul(x, tf.add(tf.mul(tf.square(x), CUBIC), SLOPE)));

/**
 * x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, the approximation of GELU in https://arxiv.org/abs/1606.08415; with s = σ(v) the
 * slope is s (1 + (1 - s) x v'(x)). Any shape.
 */
export const geluTanh = defineActivation({
  name: 'LabGeluTanh',
  compose: x => tf.mul(x, share(x)),
  lower: (graph, x) => graph.node('FastGelu', [x], x, {}, 'com.microsoft'),
  slope: {
    compose(x) {
      const s = share(x);
      const steepness = tf.mul(x, tf.add(tf.mul(tf.square(x), 3 * CUBIC), SLOPE));
      return tf.mul(s, tf.add(tf.mul(tf.sub(1, s), steepness), 1));
    },
    lower(x, node, scalar) {
      const cube = node('Mul', node('Mul', node('Mul', x, x), scalar(CUBIC)), x);
      const straight = node('Mul', x, scalar(SLOPE));
      const s = node('Sigmoid', node('Add', cube, straight));
      const steepness = node('Add', node('Mul', cube, scalar(3)), straight);
      return node('Mul', s, node('Add', node('Mul', node('Sub', scalar(1), s), steepness), scalar(1)));
    },
  },
});
