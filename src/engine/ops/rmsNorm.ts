import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';
import type { Graph, Value, ValueType } from '../executors/trace/graph';

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
    const attributes = { axis: -1, epsilon: { float: epsilon } };
    if (graph.provider !== 'webgpu') return graph.nodes_('SimplifiedLayerNormalization', [x, gamma], [x, row], attributes);
    // WebGPU's kernel writes the mean into its second output, where the operator has the factor. The gradient alone needs it.
    return [graph.node('SimplifiedLayerNormalization', [x, gamma], x, attributes), rootMeanSquareFactor(graph, x, row, epsilon)];
  },
});

/** 1/√(mean(x²) + ε) of each row. */
function rootMeanSquareFactor(graph: Graph, x: Value, row: { dtype: ValueType; shape: number[] }, epsilon: number): Value {
  const axis = graph.constant('int64', [1], [x.shape.length - 1]);
  const mean = graph.node('ReduceMean', [graph.node('Mul', [x, x], x), axis], row, { keepdims: 1 });
  return graph.node('Reciprocal', [graph.node('Sqrt', [graph.node('Add', [mean, graph.scalar(epsilon)], row)], row)], row);
}
