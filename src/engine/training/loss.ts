/** The loss of each example or target, before it is summed: [R]. */
import * as tf from '@tensorflow/tfjs-core';
import type { ProblemType } from '../../protocol/experiment';
import { crossEntropy } from '../ops/crossEntropy';
import { sigmoidCrossEntropy } from '../ops/sigmoidCrossEntropy';

/**
 * logits [R, C]. One class or token: cross-entropy with `labels` [R]. Several classes: the mean over the classes of binary
 * cross-entropy with `targets` [R, C]. Regression: the squared difference from `targets` [R, 1]. As in transformers, the mean
 * over a batch of examples is then the batch's loss.
 */
export function lossesOf(problem_type: ProblemType, logits: tf.Tensor, { labels, targets }: Record<string, tf.Tensor>): tf.Tensor {
  switch (problem_type) {
    case 'single_label_classification': return crossEntropy({ logits, labels }, {});
    case 'multi_label_classification': return tf.mul(tf.sum(sigmoidCrossEntropy({ logits, targets }, {}), 1), 1 / logits.shape[1]!);
    case 'regression': return tf.sum(tf.squaredDifference(logits, targets), 1);
  }
}

/** Float targets of an example; undefined where its target is a number of a class. */
export const targetWidth = (problem_type: ProblemType, num_labels: number): number | undefined =>
  (problem_type === 'single_label_classification' ? undefined : num_labels);
