import * as tf from '@tensorflow/tfjs-core';
import { inPieces } from '../executors/trace/pieces';
import { defineOp } from './op';

/** x Φ(x) with the exact normal distribution function (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415). Any shape. */
export const gelu = defineOp<'x'>({
  name: 'LabGelu',
  compose: ({ x }) => tf.mul(x, phi(x)),
  save: { inputs: ['x'] },
  gradient: (dy, [x]) => ({ x: () => geluGradient({ x, dy }, {}) }),
  lower: (graph, { x }) => graph.node('Gelu', [x], x),
});

/** Φ(x), the standard normal distribution function. */
const phi = (x: tf.Tensor): tf.Tensor => tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5);

/** The height of the standard normal density at 0. */
const PEAK = 1 / Math.sqrt(2 * Math.PI);

/** Far below the rounding error of any x but 0, whose quotient it makes ½. */
const SHIFT = 3.1415e-31;

/**
 * dy (Φ(x) + x φ(x)). Lowered with gelu(x) / x for Φ(x): ONNX Runtime's Gelu runs on all cores and takes a fraction of the time
 * of its Erf, which does not.
 */
const geluGradient = defineOp<'x' | 'dy'>({
  name: 'LabGeluGradient',
  compose({ x, dy }) {
    const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), PEAK);
    return tf.mul(dy, tf.add(phi(x), tf.mul(x, density)));
  },
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { x, dy }) => graph.node('Mul', [dy, inPieces(graph, [x], ([x]) => {
    const node = (op: string, ...inputs: typeof x[]): typeof x => graph.node(op, inputs, x);
    const shifted = node('Add', x, graph.scalar(SHIFT));
    const cumulated = node('Div', node('Gelu', shifted), shifted);
    const density = node('Mul', node('Exp', node('Mul', node('Mul', x, graph.scalar(-0.5)), x)), graph.scalar(PEAK));
    return node('Add', cumulated, node('Mul', x, density));
  })], dy),
});
