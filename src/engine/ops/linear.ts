import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * y = x wᵀ + add. x [T, in], w [out, in] as PyTorch's nn.Linear stores it, add [out] (a bias) or [T, out]; y [T, out].
 * With add = x Wᵀ of the frozen weight and w = s·B this is the second half of a LoRA layer without a separate addition.
 */
export const linear = defineOp<'x' | 'w' | 'add', { bias: boolean }>({
  name: 'LabLinear',
  compose({ x, w, add }) {
    const y = tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D, false, true);
    return add ? tf.add(y, add) : y;
  },
  save: { inputs: ['x', 'w'] },
  gradient(dy, [x, w], { bias }) {
    return {
      x: () => tf.matMul(dy as tf.Tensor2D, w as tf.Tensor2D),
      w: () => tf.matMul(dy as tf.Tensor2D, x as tf.Tensor2D, true, false),
      add: () => (bias ? tf.sum(dy, 0) : dy),
    };
  },
  lower(graph, { x, w, add }) {
    return graph.node('Gemm', add ? [x, w, add] : [x, w], { dtype: 'float32', shape: [x.shape[0], w.shape[0]] }, { transB: 1 });
  },
});
