/** Evaluation: of a classifier its loss and metrics, of a language model its loss, perplexity and token accuracy. */
import { setImmediate as turn } from 'node:timers/promises';
import { batchesByLength, batchesInOrder } from '../data/batches';
import type { ExampleSet } from '../data/examples';
import type { LoadedModel } from '../model/weights';
import type { EvalResult } from '../../protocol/metrics';
import { measurement } from './metrics';
import { tagMeasurement } from './tagMetrics';
import { tokensOf, type TrainingStep } from './step.types';

/**
 * Mean loss over all examples of a classifier, over all words of a tagger, over all targets of a language model, and the task's metrics (`metrics.ts`);
 * of a language model the share of targets that have the largest logit. Trainer's loss of targets is the mean of each batch, then of the batches weighted by their examples:
 * it depends on how examples share batches, and differs from this one with more than one batch. `between` is called after each batch and may throw.
 */
export async function evaluate(
  step: TrainingStep, set: ExampleSet, { task, problem_type, labels }: Pick<LoadedModel, 'task' | 'problem_type' | 'labels'>, batch_size: number, between: (done: number) => void = () => {},
): Promise<EvalResult> {
  const lengths = Array.from({ length: set.length }, (_, i) => tokensOf(set.get(i)));
  const metrics = task === 'SEQ_CLS' ? measurement(problem_type, labels) : task === 'TOKEN_CLS' ? tagMeasurement(labels) : null;
  let sum = 0, right = 0, count = 0, done = 0;
  for (const batch of (step.depends_on_batch ? batchesInOrder : batchesByLength)(lengths, batch_size)) {
    const examples = Array.from(batch, i => set.get(i));
    const result = await step.evaluate(examples);
    sum += result.loss;
    count += step.count(examples);
    right += result.right;
    metrics?.add(examples, result.logits);
    done += examples.length;
    between(done);
    await turn();
  }
  const loss = sum / count;
  return metrics ? { loss, ...metrics.result() } : { loss, perplexity: Math.exp(loss), token_accuracy: right / count };
}
