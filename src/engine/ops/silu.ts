import * as tf from '@tensorflow/tfjs-core';
import { defineActivation } from './activation';

/** x σ(x), also called swish (Elfwing et al. 2017, https://arxiv.org/abs/1702.03118); with s = σ(x) the slope is s (1 + x (1 - s)). Any shape. */
export const silu = defineActivation({
  name: 'LabSilu',
  compose: x => tf.mul(x, tf.sigmoid(x)),
  lower: (graph, x) => graph.node('QuickGelu', [x], x, { alpha: { float: 1 } }, 'com.microsoft'),
  slope: {
    compose(x) {
      const s = tf.sigmoid(x);
      return tf.mul(s, tf.add(tf.mul(x, tf.sub(1, s)), 1));
    },
    lower(x, node, scalar) {
      const s = node('Sigmoid', x);
      return node('Mul', s, node('Add', node('Mul', x, node('Sub', scalar(1), s)), scalar(1)));
    },
  },
});
