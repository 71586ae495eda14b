import * as tf from '@tensorflow/tfjs-core';
import { inPieces } from '../executors/trace/pieces';
import { defineOp } from './op';

/** √(2/π), twice: 1 + tanh(u) is 2 σ(2u). */
const SLOPE = 2 * Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715 * SLOPE;

/** x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, the approximation of GELU in https://arxiv.org/abs/1606.08415. Any shape. */
export const geluTanh = defineOp<'x'>({
  name: 'LabGeluTanh',
  compose: ({ x }) => tf.mul(x, share(x)),
  save: { inputs: ['x'] },
  gradient: (dy, [x]) => ({ x: () => geluTanhGradient({ x, dy }, {}) }),
  lower: (graph, { x }) => graph.node('FastGelu', [x], x, {}, 'com.microsoft'),
});

/** σ(v), the share of x that passes. v = SLOPE x + CUBIC x³. */
const share = (x: tf.Tensor): tf.Tensor => tf.sigmoid(tf.mul(x, tf.add(tf.mul(tf.square(x), CUBIC), SLOPE)));

/** dy s (1 + (1 - s) x v'(x)), s = σ(v). */
const geluTanhGradient = defineOp<'x' | 'dy'>({
  name: 'LabGeluTanhGradient',
  compose({ x, dy }) {
    const s = share(x);
    const steepness = tf.mul(x, tf.add(tf.mul(tf.square(x), 3 * CUBIC), SLOPE));
    return tf.mul(dy, tf.mul(s, tf.add(tf.mul(tf.sub(1, s), steepness), 1)));
  },
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { x, dy }) => graph.node('Mul', [dy, inPieces(graph, [x], ([x]) => {
    const node = (op: string, ...inputs: typeof x[]): typeof x => graph.node(op, inputs, x);
    const cube = node('Mul', node('Mul', node('Mul', x, x), graph.scalar(CUBIC)), x);
    const straight = node('Mul', x, graph.scalar(SLOPE));
    const s = node('Sigmoid', node('Add', cube, straight));
    const steepness = node('Add', node('Mul', cube, graph.scalar(3)), straight);
    const bent = node('Mul', node('Sub', graph.scalar(1), s), steepness);
    return node('Mul', s, node('Add', bent, graph.scalar(1)));
  })], dy),
});
