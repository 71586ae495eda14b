import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * x · gamma / √(mean(x²) + ε) over the last axis (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467).
 * x [N, d], gamma [d] → y [N, d]; a further output, the factor 1/√(…) [N, 1], is kept for the gradient.
 */
export const rmsNorm = defineOp<'x' | 'gamma', { epsilon: number }>({
  name: 'LabRmsNorm',
  compose({ x, gamma }, { epsilon }) {
    const factor = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
    return [tf.mul(tf.mul(x, factor), gamma), factor];
  },
  save: { inputs: ['x', 'gamma'], outputs: [false, true] },
  gradient(dy, [x, gamma, factor]) {
    return {
      x: () => {
        const xhat = tf.mul(x, factor);
        const g = tf.mul(dy, gamma);                                        // [N, d]
        return tf.mul(factor, tf.sub(g, tf.mul(xhat, tf.mean(tf.mul(g, xhat), -1, true))));
      },
      gamma: () => tf.sum(tf.mul(dy, tf.mul(x, factor)), 0),
    };
  },
  lower(graph, { x, gamma }, { epsilon }) {
    const row = { dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] };
    return graph.nodes_('SimplifiedLayerNormalization', [x, gamma], [x, row], { axis: -1, epsilon: { float: epsilon } });
  },
});
