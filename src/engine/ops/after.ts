import * as tf from '@tensorflow/tfjs-core';
import type { Graph, Value } from '../executors/trace/graph';
import { defineOp } from './op';

/**
 * x unchanged, but computed only once `then` is: x any shape, float32 or int32; then, not empty, float32 → x. ONNX Runtime orders nodes
 * by what they read alone, so what must not be computed early has to read something late.
 */
export const after = defineOp<'x' | 'then'>({
  name: 'LabAfter',
  compose: ({ x }) => tf.clone(x),
  save: { inputs: [] },
  gradient: dy => ({ x: () => dy }),
  lower: (graph, { x, then }) => lowerAfter(graph, x, then),
});

/** `after` as ONNX nodes, for other lowerings. */
export function lowerAfter(graph: Graph, x: Value, then: Value): Value {
  const scalar = (dtype: 'float32' | 'bool') => ({ dtype, shape: [1] });
  const first = graph.node('Gather', [graph.reshape(then, [then.shape.reduce((a, b) => a * b, 1)]), graph.constant('int32', [1], [0])], scalar('float32'), { axis: 0 });
  // Nothing is greater than infinity, NaN neither: a zero that no optimizer of graphs can foresee.
  const never = graph.node('Greater', [first, graph.scalar(Infinity)], scalar('bool'));
  const zero = graph.node('Cast', [never], { dtype: x.dtype, shape: [1] }, { to: x.dtype === 'float32' ? 1 : 6 });
  return graph.node('Add', [x, zero], x);
}
