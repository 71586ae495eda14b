/** tfjs reductions, softmax and matrix products as ONNX nodes. */
import * as tf from '@tensorflow/tfjs-core';
import { lower } from '../recorder';
import { matMul } from './matMul';

const REDUCE: Record<string, string> = { [tf.Sum]: 'ReduceSum', [tf.Mean]: 'ReduceMean', [tf.Max]: 'ReduceMax', [tf.Min]: 'ReduceMin' };
for (const [kernel, op] of Object.entries(REDUCE)) {
  lower<{ axis: number | number[]; keepDims?: boolean; reductionIndices?: number | number[] }>(kernel, ({ graph, value, attrs }) => {
    const x = value('x');
    const axes = tf.util.parseAxisParam((attrs.axis ?? attrs.reductionIndices) as number[], x.shape);
    const kept = x.shape.map((size, i) => (axes.includes(i) ? 1 : size));
    const shape = attrs.keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i));
    return graph.node(op, [x, graph.constant('int64', [axes.length], axes)], { dtype: x.dtype, shape }, { keepdims: attrs.keepDims ? 1 : 0 });
  });
}

lower<{ dim: number }>(tf.Softmax, ({ graph, value, attrs }) => {
  const x = value('logits');
  return graph.node('Softmax', [x], x, { axis: attrs.dim });
});

lower<{ transposeA: boolean; transposeB: boolean }>(tf.BatchMatMul, ({ graph, value, attrs }) =>
  matMul(graph, value('a'), value('b'), { transposeA: attrs.transposeA, transposeB: attrs.transposeB }));
