import * as tf from '@tensorflow/tfjs-core';
import { blocksOf, INT4_BLOCK, type PackFormat, type PackLayout } from '../model/quantize';
import type { Precision } from '../../protocol/experiment';
import type { Graph, Value } from '../executors/trace/graph';
import { halfLinear } from './halfLinear';
import { linear } from './linear';
import { defineOp } from './op';

interface QuantizedAttributes {
  format: PackFormat;
  /** w is [in, out]. */
  transposed: boolean;
  /** The product x w of the gradient instead of x wᵀ: x [T, out] → [T, in]. */
  backward: boolean;
}

type Apply = (inputs: { x: tf.Tensor; w: tf.Tensor; add?: tf.Tensor }, attrs: QuantizedAttributes) => tf.Tensor;

/**
 * y = x wᵀ + add with a frozen w that is rounded when it is loaded. x [T, in], w [out, in], add [out]; y [T, out].
 * int8: w with one scale for each output, x with one for each row, found anew each time (Dettmers et al. 2022,
 * https://arxiv.org/abs/2208.07339, without its outliers): rows of a gradient differ by orders of magnitude.
 * int4: w in blocks of 64 elements with one scale each, x as it is. The gradient multiplies by a second copy that is rounded along the
 * other axis. Rounding counts as the identity in the gradient.
 */
export const quantizedLinear: Apply = defineOp<'x' | 'w' | 'add', QuantizedAttributes>({
  name: 'LabQuantizedLinear',
  compose({ x, w, add }, attrs) {
    const B = roundedWeight(w as tf.Tensor2D, attrs);                                                // [K, N]
    const y = tf.matMul((attrs.format === 'int8' ? roundedRows(x) : x) as tf.Tensor2D, B);
    return add ? tf.add(y, add) : y;
  },
  save: { inputs: ['w'] },
  gradient: (dy, [w], attrs) => ({
    x: (): tf.Tensor => quantizedLinear({ x: dy, w }, { ...attrs, backward: !attrs.backward }),
    add: () => tf.sum(dy, 0),
  }),
  lower(graph, { x, w, add }, attrs) {
    const layout = layoutOf(w, attrs);
    const { K, N, format } = layout;
    const B = graph.pack(w, layout);
    const output = { dtype: 'float32' as const, shape: [x.shape[0], N] };
    if (format === 'int4') {
      const inputs = [x, B.data, B.scale, ...(add ? [null, null, add] : [])];
      return graph.node('MatMulNBits', inputs, output, { K, N, bits: 4, block_size: INT4_BLOCK, accuracy_level: FLOAT32_INPUT }, 'com.microsoft');
    }
    const rows = quantizedRows(graph, x);
    const product = graph.node('MatMulIntegerToFloat', [rows.data, B.data, graph.scalar(1), B.scale, rows.zero], output, {}, 'com.microsoft');
    const scaled = graph.node('Mul', [product, rows.scale], output);
    return add ? graph.node('Add', [scaled, add], output) : scaled;
  },
});

/** MatMulNBits is not to round its input. */
const FLOAT32_INPUT = 1;
/** Keeps the scale of a row of zeros above zero. */
const TINY = 1e-30;

/** A linear layer of the frozen base in the precision that was asked for. Tensors as in `linear`, add [out]. */
export function frozenLinear(inputs: { x: tf.Tensor; w: tf.Tensor; add?: tf.Tensor }, { precision, transposed }: { precision: Precision; transposed: boolean }): tf.Tensor {
  switch (precision) {
    case 'fp32': return linear(inputs, { bias: true, transposed });
    case 'fp16': return halfLinear(inputs, { transposed, backward: false });
    default: return quantizedLinear(inputs, { format: precision, transposed, backward: false });
  }
}

function layoutOf(w: Value, { format, transposed, backward }: QuantizedAttributes): PackLayout {
  const [rows, columns] = w.shape;
  return transposed === backward ? { format, K: columns, N: rows, along: 1, across: columns } : { format, K: rows, N: columns, along: columns, across: 1 };
}

/** x [T, K] in 8 bits: data uint8 with 128 for zero, scale [T, 1] = largest magnitude / 127. Layers with the same input share it. */
const quantizedRows = (graph: Graph, x: Value): { data: Value; scale: Value; zero: Value } => graph.once(`int8 ${x.name}`, () => {
  const T = x.shape[0];
  const axis = graph.constant('int64', [1], [1]);
  const vector = { dtype: 'float32' as const, shape: [T] };
  const [highest, lowest] = ['ReduceMax', 'ReduceMin'].map(op => graph.node(op, [x, axis], vector, { keepdims: 0 }));
  const largest = graph.node('Max', [highest, graph.node('Neg', [lowest], vector), graph.scalar(TINY)], vector);
  const scale = graph.node('Mul', [largest, graph.scalar(1 / 127)], vector);
  const zero = graph.constant('uint8', [], [128]);
  const zeros = graph.node('Expand', [zero, graph.shapeVector([T])], { dtype: 'uint8', shape: [T] });
  const data = graph.node('QuantizeLinear', [x, scale, zeros], { dtype: 'uint8', shape: x.shape }, { axis: 0 });
  return { data, zero, scale: graph.node('Unsqueeze', [scale, axis], { dtype: 'float32', shape: [T, 1] }) };
});

function roundedRows(x: tf.Tensor): tf.Tensor {
  const scale = tf.mul(tf.maximum(tf.max(tf.abs(x), 1, true), TINY), 1 / 127);
  return tf.mul(tf.round(tf.div(x, scale)), scale);
}

/** B [K, N] as `packWeight` rounds it. */
function roundedWeight(w: tf.Tensor2D, { format, transposed, backward }: QuantizedAttributes): tf.Tensor2D {
  const columns: tf.Tensor2D = transposed === backward ? w : tf.transpose(w);                          // [N, K]
  const [N, K] = columns.shape;
  if (format === 'int8') {
    const scale = tf.div(tf.max(tf.abs(columns), 1, true), 127);
    const nonzero = tf.where(tf.greater(scale, 0), scale, tf.onesLike(scale));
    return tf.transpose(tf.mul(tf.round(tf.div(columns, nonzero)), nonzero) as tf.Tensor2D);
  }
  const blocks = blocksOf(K);
  const whole = tf.reshape(tf.pad(columns, [[0, 0], [0, blocks * INT4_BLOCK - K]]), [N, blocks, INT4_BLOCK]);
  const [highest, lowest] = [tf.max(whole, 2, true), tf.min(whole, 2, true)];
  const scale = tf.div(tf.where(tf.greater(tf.neg(lowest), highest), lowest, highest), -8);
  const nonzero = tf.where(tf.equal(scale, 0), tf.onesLike(scale), scale);
  const rounded = tf.mul(tf.minimum(tf.round(tf.div(whole, nonzero)), 7), nonzero);                    // [N, blocks, 64]
  return tf.transpose(tf.slice2d(tf.reshape(rounded, [N, blocks * INT4_BLOCK]), [0, 0], [N, K]));
}
