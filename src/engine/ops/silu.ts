import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/** x σ(x), also called swish (Elfwing et al. 2017, https://arxiv.org/abs/1702.03118). Any shape. */
export const silu = defineOp<'x'>({
  name: 'LabSilu',
  compose: ({ x }) => tf.mul(x, tf.sigmoid(x)),
  save: { inputs: ['x'] },
  gradient(dy, [x]) {
    return {
      x: () => {
        const s = tf.sigmoid(x);
        return tf.mul(dy, tf.mul(s, tf.add(tf.mul(x, tf.sub(1, s)), 1)));
      },
    };
  },
  lower: (graph, { x }) => graph.node('QuickGelu', [x], x, { alpha: { float: 1 } }, 'com.microsoft'),
});
