import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * Layer normalisation over the last axis (Ba et al. 2016, https://arxiv.org/abs/1607.06450).
 * x [T, d], gamma [d], beta [d] → y [T, d]; further outputs: mean [T, 1] and 1/σ [T, 1], kept for the gradient.
 */
export const layerNorm = defineOp<'x' | 'gamma' | 'beta', { epsilon: number }>({
  name: 'LabLayerNorm',
  compose({ x, gamma, beta }, { epsilon }) {
    const mean = tf.mean(x, -1, true);
    const centred = tf.sub(x, mean);
    const invStd = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon));
    return [tf.add(tf.mul(tf.mul(centred, invStd), gamma), beta), mean, invStd];
  },
  save: { inputs: ['x', 'gamma'], outputs: [false, true, true] },
  gradient(dy, [x, gamma, mean, invStd]) {
    const normalised = () => tf.mul(tf.sub(x, mean), invStd);
    return {
      x: () => {
        const xhat = normalised();
        const g = tf.mul(dy, gamma);                                        // [T, d]
        const projection = tf.mean(tf.mul(g, xhat), -1, true);              // [T, 1]
        return tf.mul(invStd, tf.sub(tf.sub(g, tf.mean(g, -1, true)), tf.mul(xhat, projection)));
      },
      gamma: () => tf.sum(tf.mul(dy, normalised()), 0),
      beta: () => tf.sum(dy, 0),
    };
  },
  lower(graph, { x, gamma, beta }, { epsilon }) {
    const row = { dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] };
    return graph.nodes_('LayerNormalization', [x, gamma, beta], [x, row, row], { axis: -1, epsilon: { float: epsilon } });
  },
});
