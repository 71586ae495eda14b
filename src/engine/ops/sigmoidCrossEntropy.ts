import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

/**
 * −t log σ(x) − (1 − t) log(1 − σ(x)) for each class by itself, as torch's BCEWithLogitsLoss without reduction:
 * max(x, 0) − x t + log(1 + e^−|x|). logits and targets [B, C] → losses [B, C].
 */
export const sigmoidCrossEntropy = defineOp<'logits' | 'targets'>({
  name: 'LabSigmoidCrossEntropy',
  compose({ logits, targets }) {
    return tf.add(tf.sub(tf.relu(logits), tf.mul(logits, targets)), tf.log(tf.add(tf.exp(tf.neg(tf.abs(logits))), 1)));
  },
  save: { inputs: ['logits', 'targets'] },
  gradient: (dy, [logits, targets]) => ({ logits: () => tf.mul(dy, tf.sub(tf.sigmoid(logits), targets)) }),
  lower(graph, { logits, targets }) {
    const node = (op: string, ...inputs: Parameters<typeof graph.node>[1]) => graph.node(op, inputs, logits);
    const small = node('Log', node('Add', node('Exp', node('Neg', node('Abs', logits))), graph.scalar(1)));
    return node('Add', node('Sub', node('Relu', logits), node('Mul', logits, targets)), small);
  },
});
