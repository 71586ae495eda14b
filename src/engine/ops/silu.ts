import * as tf from '@tensorflow/tfjs-core';
import { inPieces } from '../executors/trace/pieces';
import { defineOp } from './op';

/** x σ(x), also called swish (Elfwing et al. 2017, https://arxiv.org/abs/1702.03118). Any shape. */
export const silu = defineOp<'x'>({
  name: 'LabSilu',
  compose: ({ x }) => tf.mul(x, tf.sigmoid(x)),
  save: { inputs: ['x'] },
  gradient: (dy, [x]) => ({ x: () => siluGradient({ x, dy }, {}) }),
  lower: (graph, { x }) => graph.node('QuickGelu', [x], x, { alpha: { float: 1 } }, 'com.microsoft'),
});

/** dy s (1 + x (1 - s)), s = σ(x). */
const siluGradient = defineOp<'x' | 'dy'>({
  name: 'LabSiluGradient',
  compose({ x, dy }) {
    const s = tf.sigmoid(x);
    return tf.mul(dy, tf.mul(s, tf.add(tf.mul(x, tf.sub(1, s)), 1)));
  },
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { x, dy }) => graph.node('Mul', [dy, inPieces(graph, [x], ([x]) => {
    const node = (op: string, ...inputs: typeof x[]): typeof x => graph.node(op, inputs, x);
    const s = node('Sigmoid', x);
    return node('Mul', s, node('Add', node('Mul', x, node('Sub', graph.scalar(1), s)), graph.scalar(1)));
  })], dy),
});
