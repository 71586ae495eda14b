/** tfjs kernels that move, cut, join and fill, as ONNX nodes. */
import * as tf from '@tensorflow/tfjs-core';
import { lower } from '../recorder';
import { cast } from './elementwise';
import type { Graph, Value, ValueType } from '../graph';

lower<{ shape: number[] }>(tf.Reshape, ({ graph, value, attrs }) => {
  const x = value('x');
  return graph.reshape(x, tf.util.inferFromImplicitShape(attrs.shape, tf.util.sizeFromShape(x.shape)));
});

lower<{ dim: number }>(tf.ExpandDims, ({ graph, value, attrs }) => {
  const x = value('input');
  const axis = attrs.dim < 0 ? x.shape.length + 1 + attrs.dim : attrs.dim;
  return graph.node('Unsqueeze', [x, graph.constant('int64', [1], [axis])], { dtype: x.dtype, shape: [...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)] });
});

lower<{ perm: number[] }>(tf.Transpose, ({ graph, value, attrs }) => {
  const x = value('x');
  return graph.node('Transpose', [x], { dtype: x.dtype, shape: attrs.perm.map(axis => x.shape[axis]) }, { perm: attrs.perm });
});

lower<{ axis: number }>(tf.Concat, ({ graph, inputs, attrs, backend }) => {
  const values = (inputs as unknown as tf.TensorInfo[]).map(t => backend.graphValue(t));
  const axis = attrs.axis < 0 ? values[0].shape.length + attrs.axis : attrs.axis;
  if (values.length === 1) return values[0];
  const shape = tf.backend_util.computeOutShape(values.map(v => v.shape), axis);
  return graph.node('Concat', values, { dtype: values[0].dtype, shape }, { axis });
});

lower<{ begin: number | number[]; size: number | number[] }>(tf.Slice, ({ graph, value, attrs }) => {
  const x = value('x');
  const [begin, size] = tf.slice_util.parseSliceParams({ shape: x.shape, rank: x.shape.length } as tf.Tensor, attrs.begin, attrs.size);
  return slice(graph, x, begin, size);
});

export function slice(graph: Graph, x: Value, begin: number[], size: number[]): Value {
  const axes = x.shape.map((_, i) => i).filter(i => begin[i] !== 0 || size[i] !== x.shape[i]);
  if (!axes.length) return x;
  if (axes.some(i => graph.sizes.isDynamic(size[i]))) throw new Error('a slice of dynamic size cannot be recorded');
  if (graph.provider === 'webgpu' && !x.dtype.startsWith('float')) return axes.reduce((part, axis) => gatherRange(graph, part, axis, begin[axis], size[axis]), x);
  const vector = (values: number[]) => graph.constant('int64', [values.length], values);
  return graph.node('Slice', [x, vector(axes.map(i => begin[i])), vector(axes.map(i => begin[i] + size[i])), vector(axes)], { dtype: x.dtype, shape: size });
}

/** A slice along one axis as a Gather: the WebGPU provider's Slice takes no integers. */
function gatherRange(graph: Graph, x: Value, axis: number, begin: number, size: number): Value {
  const indices = graph.constant('int32', [size], Int32Array.from({ length: size }, (_, i) => begin + i));
  return graph.node('Gather', [x, indices], { dtype: x.dtype, shape: x.shape.map((old, i) => (i === axis ? size : old)) }, { axis });
}

/** Of more outputs a Split is recorded as Slices where its kernel binds a buffer for each: every WebGPU device binds eight. */
const MOST_OUTPUTS = 7;

lower<{ numOrSizeSplits: number | number[]; axis: number }>(tf.SplitV, ({ graph, value, attrs }) => {
  const x = value('x');
  const axis = attrs.axis < 0 ? x.shape.length + attrs.axis : attrs.axis;
  const sizes = tf.backend_util.prepareSplitSize({ shape: x.shape } as tf.Tensor, attrs.numOrSizeSplits, axis);
  const outputs = sizes.map(size => ({ dtype: x.dtype, shape: x.shape.map((s, i) => (i === axis ? size : s)) }));
  if (sizes.length === 1) return [x];
  if (graph.provider !== 'cpu' && sizes.length > MOST_OUTPUTS) {
    let begin = 0;
    return outputs.map(({ shape }, i) => slice(graph, x, shape.map((_, n) => (n === axis ? (begin += sizes[i]) - sizes[i] : 0)), shape));
  }
  return graph.nodes_('Split', [x, graph.constant('int64', [sizes.length], sizes)], outputs, { axis });
});

lower<{ shape: number[]; value: number; dtype: ValueType }>(tf.Fill, ({ graph, attrs }) => graph.filled(attrs.dtype ?? 'float32', attrs.shape, attrs.value));
lower(tf.ZerosLike, ({ graph, value }) => graph.filled(value('x').dtype, value('x').shape, 0));
lower(tf.OnesLike, ({ graph, value }) => graph.filled(value('x').dtype, value('x').shape, 1));

lower<{ reps: number[] }>(tf.Tile, ({ graph, value, attrs }) => {
  const x = value('x');
  return graph.node('Tile', [x, graph.shapeVector(attrs.reps)], { dtype: x.dtype, shape: x.shape.map((size, i) => size * attrs.reps[i]) });
});

/** x[indices] of a table [N, w] that no buffer holds, `size` rows at a time: each part gives its own rows, and zeros for all others. */
function gatherInParts(graph: Graph, x: Value, indices: Value, size: number): Value {
  const row = { dtype: 'float32' as const, shape: [...indices.shape, ...x.shape.slice(1)] };
  let sum: Value | undefined;
  for (let begin = 0; begin < x.shape[0]; begin += size) {
    const part = graph.rows(x, begin, Math.min(begin + size, x.shape[0]));
    const { inside, place } = placeWithin(graph, indices, begin, part.shape[0]);
    const column = graph.node('Unsqueeze', [inside, graph.constant('int64', [1], [indices.shape.length])], { dtype: 'float32', shape: [...indices.shape, 1] });
    const rows = graph.node('Mul', [cast(graph, graph.node('Gather', [part, place], { ...row, dtype: x.dtype }, { axis: 0 }), 'float32'), column], row);
    sum = sum ? graph.node('Add', [sum, rows], row) : rows;
  }
  return sum!;
}

/** For each number 1 if it is one of the `size` from `begin`, else 0 (float32), and its place among them, or 0 (int32). */
export function placeWithin(graph: Graph, numbers: Value, begin: number, size: number): { inside: Value; place: Value } {
  const flag = { dtype: 'bool' as const, shape: numbers.shape };
  const integer = (value: number): Value => graph.constant('int32', [1], [value]);
  const places = graph.node('Sub', [numbers, integer(begin)], numbers);
  const [above, below] = [graph.node('GreaterOrEqual', [places, integer(0)], flag), graph.node('Less', [places, integer(size)], flag)].map(value => cast(graph, value, 'int32'));
  const inside = graph.node('Mul', [above, below], numbers);
  return { inside: cast(graph, inside, 'float32'), place: graph.node('Mul', [places, inside], numbers) };
}

lower<{ axis: number }>(tf.GatherV2, ({ graph, value, attrs }) => {
  const x = value('x');
  return gather(graph, x, value('indices'), attrs.axis < 0 ? x.shape.length + attrs.axis : attrs.axis);
});

/** x at `indices` along an axis. Rows of a frozen table that no buffer holds are gathered in parts, and are float32 then whatever the table is. */
export function gather(graph: Graph, x: Value, indices: Value, axis: number): Value {
  const rowBytes = (x.dtype === 'float16' ? 2 : 4) * x.shape.slice(1).reduce((a, b) => a * b, 1);
  if (axis === 0 && graph.weights.has(x.name) && x.shape[0] * rowBytes > graph.largest_table) return gatherInParts(graph, x, indices, Math.max(1, Math.floor(graph.largest_table / rowBytes)));
  return graph.node('Gather', [x, indices], { dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }, { axis });
}

lower<{ depth: number; onValue: number; offValue: number }>(tf.OneHot, ({ graph, value, attrs }) => {
  // Not ONNX OneHot: the WebGPU provider lacks it.
  const indices = value('indices');
  const classes = graph.constant('int32', [attrs.depth], Int32Array.from({ length: attrs.depth }, (_, i) => i));
  const column = graph.node('Unsqueeze', [indices, graph.constant('int64', [1], [indices.shape.length])], { dtype: indices.dtype, shape: [...indices.shape, 1] });
  const equal = graph.node('Equal', [column, classes], { dtype: 'bool', shape: [...indices.shape, attrs.depth] });
  return cast(graph, equal, 'float32');
});
