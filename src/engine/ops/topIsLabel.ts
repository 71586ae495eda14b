import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/** 1 for each row whose largest logit is that of its label, else 0. logits [R, C], labels [R] int32 → [R] float32. Has no gradient. */
export const topIsLabel = defineOp<'logits' | 'labels'>({
  name: 'LabTopIsLabel',
  compose: ({ logits, labels }) => tf.cast(tf.equal(tf.argMax(logits, -1), labels), 'float32'),
  save: { inputs: [] },
  gradient: () => ({}),
  lower(graph, { logits, labels }) {
    const R = labels.shape[0];
    const column = graph.node('Unsqueeze', [labels, graph.constant('int64', [1], [1])], { dtype: 'int32', shape: [R, 1] });
    const own = graph.node('GatherElements', [logits, column], { dtype: 'float32', shape: [R, 1] }, { axis: 1 });
    // Not ArgMax, whose result is int64: the WebGPU provider computes no int64.
    const top = graph.node('ReduceMax', [logits, graph.constant('int64', [1], [1])], { dtype: 'float32', shape: [R, 1] }, { keepdims: 1 });
    const right = graph.node('GreaterOrEqual', [own, top], { dtype: 'bool', shape: [R, 1] });
    return graph.reshape(graph.node('Cast', [right], { dtype: 'float32', shape: [R, 1] }, { to: 1 }), [R]);
  },
});
