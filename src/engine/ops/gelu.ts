import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/** x Φ(x) with the exact normal distribution function (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415). Any shape. */
export const gelu = defineOp<'x'>({
  name: 'LabGelu',
  compose: ({ x }) => tf.mul(x, composedPhi(x)),
  save: { inputs: ['x'] },
  gradient(dy, [x]) {
    return {
      x: () => {
        const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
        return tf.mul(dy, tf.add(phi({ x }, {}), tf.mul(x, density)));
      },
    };
  },
  lower: (graph, { x }) => graph.node('Gelu', [x], x),
});

const composedPhi = (x: tf.Tensor): tf.Tensor => tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5);

/** Far below the rounding error of any x but 0, whose quotient it makes ½. */
const SHIFT = 3.1415e-31;

/**
 * Φ(x), the standard normal distribution function. Lowered as gelu(x) / x: ONNX Runtime's Gelu runs on all cores and takes
 * a fraction of the time of its Erf, which does not.
 */
const phi = defineOp<'x'>({
  name: 'LabNormalCdf',
  compose: ({ x }) => composedPhi(x),
  save: { inputs: [] },
  gradient: () => ({}),
  lower(graph, { x }) {
    const shifted = graph.node('Add', [x, graph.scalar(SHIFT)], x);
    return graph.node('Div', [graph.node('Gelu', [shifted], x), shifted], x);
  },
});
