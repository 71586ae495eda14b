import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * x [N, w] with the columns `indices` (k different numbers) taken from columns [N, k] → [N, w].
 * `order` [w] says where each column of the result stands in [x, columns]; `kept` [w] is 1 for those of x.
 */
export const replaceColumns = defineOp<'x' | 'columns' | 'indices' | 'order' | 'kept'>({
  name: 'LabReplaceColumns',
  compose: ({ x, columns, order }) => tf.gather(tf.concat([x as tf.Tensor2D, columns as tf.Tensor2D], 1), order as tf.Tensor1D, 1),
  save: { inputs: ['indices', 'kept'] },
  gradient: (dy, [indices, kept]) => ({ x: () => tf.mul(dy, kept), columns: () => tf.gather(dy, indices as tf.Tensor1D, 1) }),
  lower(graph, { x, columns, order }) {
    const both = graph.node('Concat', [x, columns], { dtype: x.dtype, shape: [x.shape[0], x.shape[1] + columns.shape[1]] }, { axis: 1 });
    return graph.node('Gather', [both, order], x, { axis: 1 });
  },
});
