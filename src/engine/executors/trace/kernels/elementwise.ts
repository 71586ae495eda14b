/** Elementwise tfjs kernels as ONNX nodes. */
import * as tf from '@tensorflow/tfjs-core';
import { lower } from '../recorder';
import type { Graph, Value, ValueType } from '../graph';

const broadcast = (a: Value, b: Value): number[] => tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);

const BINARY: Record<string, string> = {
  [tf.Add]: 'Add', [tf.Sub]: 'Sub', [tf.Multiply]: 'Mul', [tf.RealDiv]: 'Div', [tf.Maximum]: 'Max', [tf.Minimum]: 'Min', [tf.Pow]: 'Pow',
};
for (const [kernel, op] of Object.entries(BINARY)) {
  lower(kernel, ({ graph, value }) => {
    const [a, b] = [value('a'), value('b')];
    return graph.node(op, [a, b], { dtype: a.dtype, shape: broadcast(a, b) });
  });
}

const COMPARE: Record<string, string> = {
  [tf.Equal]: 'Equal', [tf.Greater]: 'Greater', [tf.GreaterEqual]: 'GreaterOrEqual', [tf.Less]: 'Less', [tf.LessEqual]: 'LessOrEqual', [tf.LogicalAnd]: 'And',
};
for (const [kernel, op] of Object.entries(COMPARE)) {
  lower(kernel, ({ graph, value }) => graph.node(op, [value('a'), value('b')], { dtype: 'bool', shape: broadcast(value('a'), value('b')) }));
}

const UNARY: Record<string, string> = {
  [tf.Exp]: 'Exp', [tf.Log]: 'Log', [tf.Sqrt]: 'Sqrt', [tf.Neg]: 'Neg', [tf.Abs]: 'Abs', [tf.Sigmoid]: 'Sigmoid', [tf.Tanh]: 'Tanh',
  [tf.Erf]: 'Erf', [tf.Relu]: 'Relu', [tf.Reciprocal]: 'Reciprocal', [tf.Floor]: 'Floor',
};
const unary = (graph: Graph, op: string, x: Value): Value => graph.node(op, [x], { dtype: x.dtype, shape: x.shape });
for (const [kernel, op] of Object.entries(UNARY)) lower(kernel, ({ graph, value }) => unary(graph, op, value('x')));

lower(tf.Square, ({ graph, value }) => graph.node('Mul', [value('x'), value('x')], value('x')));
lower(tf.Rsqrt, ({ graph, value }) => unary(graph, 'Reciprocal', unary(graph, 'Sqrt', value('x'))));
lower(tf.LogicalNot, ({ graph, value }) => unary(graph, 'Not', value('x')));
lower(tf.Identity, ({ value }) => value('x'));

lower<{ dtype: ValueType }>(tf.Cast, ({ graph, value, attrs }) => cast(graph, value('x'), attrs.dtype));

const ONNX_TYPE: Record<ValueType, number> = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float16: 10 };
export function cast(graph: Graph, x: Value, dtype: ValueType): Value {
  return x.dtype === dtype ? x : graph.node('Cast', [x], { dtype, shape: x.shape }, { to: ONNX_TYPE[dtype] });
}

lower(tf.SquaredDifference, ({ graph, value }) => {
  const [a, b] = [value('a'), value('b')];
  const difference = graph.node('Sub', [a, b], { dtype: a.dtype, shape: broadcast(a, b) });
  return graph.node('Mul', [difference, difference], difference);
});

lower<{ alpha: number }>(tf.Step, ({ graph, value, attrs }) => {
  const x = value('x');
  const positive = graph.node('Greater', [x, graph.scalar(0)], { dtype: 'bool', shape: x.shape });
  return graph.node('Where', [positive, graph.scalar(1), graph.scalar(attrs.alpha ?? 0)], { dtype: 'float32', shape: x.shape });
});

lower(tf.Select, ({ graph, value }) => {
  const [condition, t, e] = [value('condition'), value('t'), value('e')];
  return graph.node('Where', [condition, t, e], { dtype: t.dtype, shape: t.shape });
});

lower(tf.AddN, ({ graph, inputs, backend }) => {
  const values = (inputs as unknown as tf.TensorInfo[]).map(t => backend.graphValue(t));
  return values.slice(1).reduce((sum, v) => graph.node('Add', [sum, v], sum), values[0]);
});
