import * as tf from '@tensorflow/tfjs-core';
import { matMul } from '../executors/trace/kernels/matMul';
import { defineOp } from './op';

/**
 * Length of every row of W + b a, a constant to the gradient. w [out, in], or with `transposed` [in, out]; a [r, in], b [out, r] → [out].
 * From ‖W + b a‖² = ‖W‖² + Σₖ b ∘ (2 W aᵀ + b a aᵀ), so that no matrix of W's size is made: the compiled ‖W‖² of a frozen W is a constant.
 */
export const sumRowNorms = defineOp<'w' | 'a' | 'b', { transposed: boolean }>({
  name: 'LabSumRowNorms',
  compose({ w, a, b }, { transposed }) {
    const [W, A, B] = [w, a, b] as tf.Tensor2D[];
    const crossed = tf.matMul(W, A, transposed, true);                                  // [out, r]
    const squared = tf.matMul(B, tf.matMul(A, A, false, true));                         // [out, r]
    return tf.sqrt(tf.add(tf.sum(tf.square(W), transposed ? 0 : 1), tf.sum(tf.mul(B, tf.add(tf.mul(crossed, 2), squared)), 1)));
  },
  save: { inputs: ['a', 'b'] },
  gradient: (_dy, [a, b]) => ({ a: () => tf.zerosLike(a), b: () => tf.zerosLike(b) }),
  lower(graph, { w, a, b }, { transposed }) {
    const vector = { dtype: b.dtype, shape: [b.shape[0]] };
    const sum = (op: string, x: typeof w, axis: number) => graph.node(op, [x, graph.constant('int64', [1], [axis])], vector, { keepdims: 0 });
    const crossed = matMul(graph, w, a, { transposeA: transposed, transposeB: true, alpha: 2 });
    const squared = matMul(graph, b, matMul(graph, a, a, { transposeB: true }));
    const changed = sum('ReduceSum', graph.node('Mul', [b, graph.node('Add', [crossed, squared], b)], b), 1);
    return graph.node('Sqrt', [graph.node('Add', [sum('ReduceSumSquare', w, transposed ? 0 : 1), changed], vector)], vector);
  },
});
