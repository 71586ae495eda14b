import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';
import { matMul } from '../executors/trace/kernels/matMul';

/**
 * softmax(scale · q kᵀ + bias) (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).
 * q, k [B, h, S, d/h], bias broadcast to [B, h, S, S] → probabilities [B, h, S, S].
 */
export const attentionProbabilities = defineOp<'q' | 'k' | 'bias', { scale: number }>({
  name: 'LabAttentionProbabilities',
  compose({ q, k, bias }, { scale }) {
    return tf.softmax(tf.add(tf.mul(tf.matMul(q, k, false, true), scale), bias));
  },
  save: { inputs: ['q', 'k'], outputs: [true] },
  gradient(dy, [q, k, p], { scale }) {
    const weighted = tf.mul(dy, p);
    const dscores = tf.mul(tf.sub(weighted, tf.mul(p, tf.sum(weighted, -1, true))), scale);   // [B, h, S, S]
    return {
      q: () => tf.matMul(dscores, k),
      k: () => tf.matMul(dscores, q, true, false),
    };
  },
  lower(graph, { q, k, bias }, { scale }) {
    const scores = matMul(graph, q, k, { transposeB: true, alpha: scale });
    return graph.node('Softmax', [graph.node('Add', [scores, bias], scores)], scores, { axis: -1 });
  },
});
