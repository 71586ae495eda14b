import * as tf from '@tensorflow/tfjs-core';
import type { Graph, Value } from '../executors/trace/graph';
import { cast } from '../executors/trace/kernels/elementwise';
import { scaledHalf } from '../executors/trace/kernels/half';
import { slice } from '../executors/trace/kernels/shape';
import { roundedHalf, scaledAndRounded } from './halfRounding';
import { defineOp } from './op';

interface HalfAttributes {
  /** w is [in, out]. */
  transposed: boolean;
  /** The product x w of the gradient instead of x wᵀ: x [T, out] → [T, in]. */
  backward: boolean;
}

type Apply = (inputs: { x: tf.Tensor; w: tf.Tensor; add?: tf.Tensor }, attrs: HalfAttributes) => tf.Tensor;

/**
 * y = x wᵀ + add in half precision with a frozen w that is stored so. x [T, in], w [out, in], add [out]; y [T, out], float32.
 *
 * Mixed precision training (Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740) keeps gradients from underflowing by one loss scale,
 * which has to be searched for, saved, and lowered with a skipped step when anything overflows. Here each row of x, an activation or a
 * gradient, is brought to one length before it is rounded, and the product is scaled back in float32: whatever its size, a row keeps its 11
 * bits, rows that differ by orders of magnitude do not share a scale, and by Cauchy and Schwarz nothing overflows while no row or column of w
 * is longer than 65504 / 64. There is no state, no step is skipped, and the same w serves both directions.
 */
export const halfLinear: Apply = defineOp<'x' | 'w' | 'add', HalfAttributes>({
  name: 'LabHalfLinear',
  compose({ x, w, add }, { transposed, backward }) {
    const { rounded, scale } = scaledAndRounded(x, 1);
    const y = tf.mul(tf.matMul(rounded as tf.Tensor2D, roundedHalf(w) as tf.Tensor2D, false, transposed === backward), scale);
    return add ? tf.add(y, add) : y;
  },
  save: { inputs: ['w'] },
  gradient: (dy, [w], attrs) => ({
    x: (): tf.Tensor => halfLinear({ x: dy, w }, { ...attrs, backward: !attrs.backward }),
    add: () => tf.sum(dy, 0),
  }),
  lower(graph, { x, w, add }, { transposed, backward }) {
    const { half, scale } = scaledHalf(graph, x, 1);
    const axis = transposed === backward ? 1 : 0;
    const output = { dtype: 'float32' as const, shape: [x.shape[0], w.shape[1 - axis]] };
    const scaled = graph.node('Mul', [product(graph, half, graph.half(w), axis), scale], output);
    return add ? graph.node('Add', [scaled, add], output) : scaled;
  },
});

/** Terms that are summed up in half precision: ONNX Runtime's WebGPU kernels keep their sums in the type of the factors. */
const MOST_TERMS = 1024;

/** x [T, K] times w, [K, N] or with `axis` 1 [N, K], both float16, in parts of K whose products are added up in float32: [T, N]. */
function product(graph: Graph, x: Value, w: Value, axis: number): Value {
  const [K, N] = [w.shape[axis], w.shape[1 - axis]];
  const sum = { dtype: 'float32' as const, shape: [x.shape[0], N] };
  const parts = Math.ceil(K / MOST_TERMS);
  let total: Value | undefined;
  for (let i = 0; i < parts; i++) {
    const [begin, end] = [Math.floor((K * i) / parts), Math.floor((K * (i + 1)) / parts)];
    const part = (value: Value, along: number): Value =>
      slice(graph, value, value.shape.map((_, n) => (n === along ? begin : 0)), value.shape.map((size, n) => (n === along ? end - begin : size)));
    const y = cast(graph, graph.node('Gemm', [part(x, 1), part(w, axis)], { ...sum, dtype: 'float16' }, { transB: axis }), 'float32');
    total = total ? graph.node('Add', [total, y], sum) : y;
  }
  return total!;
}
