import * as tf from '@tensorflow/tfjs-core';
import type { Value } from '../executors/trace/graph';
import { defineOp } from './op';

/**
 * y = x wᵀ + add. x [T, in], w [out, in] as PyTorch's nn.Linear stores it, add [out] (a bias) or [T, out]; y [T, out].
 * With add = x Wᵀ of the frozen weight and w = s·B this is the second half of a LoRA layer without a separate addition.
 * `transposed`: w is [in, out], as transformers' Conv1D stores it; y = x w + add.
 */
export const linear = defineOp<'x' | 'w' | 'add', { bias: boolean; transposed?: boolean }>({
  name: 'LabLinear',
  compose({ x, w, add }, { transposed = false }) {
    const y = tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D, false, !transposed);
    return add ? tf.add(y, add) : y;
  },
  save: { inputs: ['x', 'w'] },
  gradient(dy, [x, w], { bias, transposed = false }) {
    return {
      x: () => tf.matMul(dy as tf.Tensor2D, w as tf.Tensor2D, false, transposed),
      w: () => {
        const [rows, columns] = transposed ? [x, dy] : [dy, x];
        return tf.matMul(rows as tf.Tensor2D, columns as tf.Tensor2D, true, false);
      },
      add: () => (bias ? tf.sum(dy, 0) : dy),
    };
  },
  lower(graph, { x, w, add }, { transposed = false }) {
    const output = { dtype: 'float32' as const, shape: [x.shape[0], w.shape[transposed ? 1 : 0]] };
    const gemm = (inputs: Value[]): Value => graph.node('Gemm', inputs, output, { transB: transposed ? 0 : 1 });
    if (!add) return gemm([x, w]);
    // On the CPU, Gemm first copies what is to be added, on one thread.
    return graph.provider === 'cpu' && graph.savings.split_bias ? graph.node('Add', [gemm([x, w]), add], output) : gemm([x, w, add]);
  },
});
