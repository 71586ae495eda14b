import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * Rows of a trained table: table [n, w], ids of any shape [...] → [..., w]. The other inputs say where each row was taken
 * (training/tableRows.ts), so that its gradient is gathered and summed in a fixed order instead of scattered:
 * groups and mask [G, 16, 1] cut the places that took the same row into groups of 16, merged [U, M] joins the groups of one row,
 * rows [n] names its sum. The first group is empty, and so is the first sum: that of rows that no place took.
 */
export const embedding = defineOp<'table' | 'ids' | 'groups' | 'mask' | 'merged' | 'rows'>({
  name: 'LabEmbedding',
  compose: ({ table, ids }) => tf.gather(table, ids as tf.Tensor1D),
  save: { inputs: ['groups', 'mask', 'merged', 'rows'] },
  gradient(dy, [groups, mask, merged, rows]) {
    return {
      table: () => {
        const flat = tf.reshape(dy, [-1, dy.shape[dy.shape.length - 1]]);                     // [N, w]
        const grouped = tf.sum(tf.mul(tf.gather(flat, groups as tf.Tensor2D), mask), 1);      // [G, w]
        const summed = tf.sum(tf.gather(grouped, merged as tf.Tensor2D), 1);                  // [U, w]
        return tf.gather(summed, rows as tf.Tensor1D);                                        // [n, w]
      },
    };
  },
  lower: (graph, { table, ids }) => graph.node('Gather', [table, ids], { dtype: table.dtype, shape: [...ids.shape, table.shape[1]] }, { axis: 0 }),
});
