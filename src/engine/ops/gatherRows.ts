import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * Rows of x [N, w] in the order of `rows` [...] → [..., w], for layouts in which every row that matters is taken
 * exactly once: `inverse` (N numbers, any shape) says where, so that the gradient is a gather too: dx[i] = dy[inverse[i]].
 */
export const gatherRows = defineOp<'x' | 'rows' | 'inverse'>({
  name: 'LabGatherRows',
  compose: ({ x, rows }) => tf.gather(x, rows as tf.Tensor1D),
  save: { inputs: ['inverse'] },
  gradient(dy, [inverse]) {
    const width = dy.shape[dy.shape.length - 1];
    return { x: () => tf.reshape(tf.gather(tf.reshape(dy, [-1, width]), inverse as tf.Tensor1D), [-1, width]) };
  },
  lower: (graph, { x, rows }) => graph.node('Gather', [x, rows], { dtype: x.dtype, shape: [...rows.shape, x.shape[1]] }, { axis: 0 }),
});

/** x unchanged; its gradient is multiplied by `mask`. For rows that no later op takes, whose gathered gradient means nothing. */
export const maskGradient = defineOp<'x' | 'mask'>({
  name: 'LabMaskGradient',
  compose: ({ x }) => tf.clone(x),
  save: { inputs: ['mask'] },
  gradient: (dy, [mask]) => ({ x: () => tf.mul(dy, mask) }),
  lower: (_graph, { x }) => x,
});
