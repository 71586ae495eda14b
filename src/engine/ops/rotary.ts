import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';
import type { Graph, Value } from '../executors/trace/graph';

type Inputs = Partial<Record<'x' | 'cos' | 'sin', tf.Tensor>>;

/**
 * Rotary position embedding (Su et al. 2021, https://arxiv.org/abs/2104.09864) as Hugging Face lays it out: within each head
 * the first half of the rotated units is paired with the second half; units beyond 2·w pass unchanged.
 * x [T, heads · head_dim], cos and sin [T, w] → [T, heads · head_dim].
 */
export const rotary: (inputs: Inputs, attrs: { head_dim: number }) => tf.Tensor = defineOp<'x' | 'cos' | 'sin', { head_dim: number }>({
  name: 'LabRotary',
  compose: ({ x, cos, sin }, { head_dim }) => rotate(x, cos, sin, head_dim),
  save: { inputs: ['cos', 'sin'] },
  // A rotation's transpose is the rotation by the opposite angle.
  gradient: (dy, [cos, sin], { head_dim }) => ({ x: (): tf.Tensor => rotary({ x: dy, cos, sin: tf.neg(sin) }, { head_dim }) }),
  lower(graph, { x, cos, sin }, { head_dim }) {
    const [T, width] = x.shape;
    const w = cos.shape[1];
    const heads = width / head_dim;
    const float = (shape: number[]) => ({ dtype: x.dtype, shape });
    const perHead = (table: Value): Value => graph.node('Unsqueeze', [table, axes(graph, 1)], float([T, 1, w]));
    const [c, s] = [perHead(cos), perHead(sin)];
    const parts = head_dim > 2 * w ? [w, w, head_dim - 2 * w] : [w, w];
    const split = graph.nodes_('Split', [graph.reshape(x, [T, heads, head_dim]), axes(graph, ...parts)], parts.map(part => float([T, heads, part])), { axis: 2 });
    const [first, second, rest] = split;
    const times = (a: Value, b: Value): Value => graph.node('Mul', [a, b], first);
    const y1 = graph.node('Sub', [times(first, c), times(second, s)], first);
    const y2 = graph.node('Add', [times(second, c), times(first, s)], first);
    const joined = graph.node('Concat', rest ? [y1, y2, rest] : [y1, y2], float([T, heads, head_dim]), { axis: 2 });
    return graph.reshape(joined, x.shape);
  },
});

const axes = (graph: Graph, ...values: number[]): Value => graph.constant('int64', [values.length], values);

function rotate(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor, head_dim: number): tf.Tensor {
  const w = cos.shape[1]!;
  const parts = head_dim > 2 * w ? [w, w, head_dim - 2 * w] : [w, w];
  const [first, second, ...rest] = tf.split(tf.reshape(x, [x.shape[0], -1, head_dim]), parts, 2);
  const [c, s] = [tf.expandDims(cos, 1), tf.expandDims(sin, 1)];
  const y1 = tf.sub(tf.mul(first, c), tf.mul(second, s));
  const y2 = tf.add(tf.mul(second, c), tf.mul(first, s));
  return tf.reshape(tf.concat([y1, y2, ...rest], 2), x.shape);
}
