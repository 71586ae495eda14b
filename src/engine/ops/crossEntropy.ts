import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';
import type { Graph, Value } from '../executors/trace/graph';

/** −log softmax(logits)[label] for each row. logits [B, C], labels [B] int32 → losses [B]. */
export const crossEntropy = defineOp<'logits' | 'labels'>({
  name: 'LabCrossEntropy',
  compose({ logits, labels }) {
    const classes = logits.shape[1]!;
    return tf.neg(tf.sum(tf.mul(tf.logSoftmax(logits), tf.oneHot(labels, classes)), -1));
  },
  save: { inputs: ['logits', 'labels'] },
  gradient(dy, [logits, labels]) {
    return {
      logits: () => tf.mul(tf.sub(tf.softmax(logits), tf.oneHot(labels, logits.shape[1]!)), tf.expandDims(dy, -1)),
    };
  },
  lower(graph, { logits, labels }) {
    const column = graph.node('Unsqueeze', [labels, graph.constant('int64', [1], [1])], { dtype: 'int32', shape: [labels.shape[0], 1] });
    const logProbabilities = graph.provider === 'webgpu' ? logSoftmax(graph, logits) : graph.node('LogSoftmax', [logits], logits, { axis: -1 });
    const chosen = graph.node('GatherElements', [logProbabilities, column], { dtype: 'float32', shape: column.shape }, { axis: 1 });
    return graph.node('Neg', [graph.reshape(chosen, [labels.shape[0]])], { dtype: 'float32', shape: [labels.shape[0]] });
  },
});

/** x − max − log Σ exp(x − max) over the last axis, for the WebGPU provider, which has no LogSoftmax. x [B, C]. */
function logSoftmax(graph: Graph, x: Value): Value {
  const axis = graph.constant('int64', [1], [1]);
  const row = { dtype: x.dtype, shape: [x.shape[0], 1] };
  const shifted = graph.node('Sub', [x, graph.node('ReduceMax', [x, axis], row, { keepdims: 1 })], x);
  const sum = graph.node('ReduceSum', [graph.node('Exp', [shifted], x), axis], row, { keepdims: 1 });
  return graph.node('Sub', [shifted, graph.node('Log', [sum], row)], x);
}
