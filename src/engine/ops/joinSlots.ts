import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * Kept and new keys or values behind each other: past [B, g, C, w], fresh [B, g, S, w] → [B, g, K, w]. `numbers` [B, 1, 1, K] is
 * there for its last size alone, which a recorded program cannot tell from C and S. For generation: it has no gradient.
 */
export const joinSlots = defineOp<'past' | 'fresh' | 'numbers'>({
  name: 'LabJoinSlots',
  compose: ({ past, fresh }) => tf.concat([past, fresh], 2),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { past, fresh, numbers }) => graph.node('Concat', [past, fresh], { dtype: past.dtype, shape: [past.shape[0], past.shape[1], numbers.shape[3], past.shape[3]] }, { axis: 2 }),
});
