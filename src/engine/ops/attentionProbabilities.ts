import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';
import { matMul } from '../executors/trace/kernels/matMul';

/**
 * softmax(scale · q kᵀ + bias) (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).
 * q [B, h, S, head_dim], k [B, g, S, head_dim], bias broadcast to [B, h, S, S] → probabilities [B, h, S, S].
 * With g < h each head of k serves h/g neighbouring heads of q (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245).
 */
export const attentionProbabilities = defineOp<'q' | 'k' | 'bias', { scale: number }>({
  name: 'LabAttentionProbabilities',
  compose({ q, k, bias }, { scale }) {
    return tf.softmax(tf.add(tf.mul(groupedMatMul(q, k, true), scale), bias));
  },
  save: { inputs: ['q', 'k', 'bias'], outputs: [true] },
  gradient(dy, [q, k, bias, p], { scale }) {
    const weighted = tf.mul(dy, p);
    const dbiased = tf.sub(weighted, tf.mul(p, tf.sum(weighted, -1, true)));                     // [B, h, S, S]
    const dscores = tf.mul(dbiased, scale);
    return {
      q: () => groupedMatMul(dscores, k),
      k: () => tf.matMul(grouped(dscores, k.shape[1]!), grouped(q, k.shape[1]!), true, false),   // sums over the heads of a group
      bias: () => sumTo(dbiased, bias.shape),
    };
  },
  lower(graph, { q, k, bias }, { scale }) {
    const [B, h, S, head_dim] = q.shape;
    const g = k.shape[1];
    const rows = g === h ? q : graph.reshape(q, [B, g, (h / g) * S, head_dim]);
    const scores = graph.reshape(matMul(graph, rows, k, { transposeB: true, alpha: scale }), [B, h, S, k.shape[2]]);
    return graph.node('Softmax', [graph.node('Add', [scores, bias], scores)], scores, { axis: -1 });
  },
});

/** x summed over the axes that `shape` lacks or has as 1. */
function sumTo(x: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const before = x.shape.length - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter(axis => axis < before || (shape[axis - before] === 1 && x.shape[axis] !== 1));
  return axes.length ? tf.reshape(tf.sum(x, axes), [...shape]) : x;
}

/** The heads of each of `g` groups as rows of one matrix: x [B, h, S, w] → [B, g, h/g · S, w]. */
function grouped(x: tf.Tensor, g: number): tf.Tensor {
  const [B, h, S, w] = x.shape;
  return g === h ? x : tf.reshape(x, [B, g, (h / g) * S, w]);
}

/** x y or x yᵀ for x [B, h, S, w] and y with g heads, each of which serves h/g heads of x: [B, h, S, …], without a copy of y. */
export function groupedMatMul(x: tf.Tensor, y: tf.Tensor, transposeY = false): tf.Tensor {
  const [B, h, S] = x.shape;
  const product = tf.matMul(grouped(x, y.shape[1]!), y, false, transposeY);
  return h === y.shape[1] ? product : tf.reshape(product, [B, h, S, product.shape[3]!]);
}
