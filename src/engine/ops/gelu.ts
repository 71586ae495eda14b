import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/** x Φ(x) with the exact normal distribution function (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415). Any shape. */
export const gelu = defineOp<'x'>({
  name: 'LabGelu',
  compose: ({ x }) => tf.mul(x, phi(x)),
  save: { inputs: ['x'] },
  gradient(dy, [x]) {
    return {
      x: () => {
        const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
        return tf.mul(dy, tf.add(phi(x), tf.mul(x, density)));
      },
    };
  },
  lower: (graph, { x }) => graph.node('Gelu', [x], x, {}, 'com.microsoft'),
});

/** Φ(x), the standard normal distribution function. */
const phi = (x: tf.Tensor): tf.Tensor => tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5);
