/** Evaluation: of a classifier its loss and accuracy, of a language model its loss, perplexity and token accuracy. */
import { setImmediate as turn } from 'node:timers/promises';
import { batchesByLength } from '../data/batches';
import type { ExampleSet } from '../data/examples';
import type { EvalResult } from '../../protocol/metrics';
import { tokensOf, type BatchResult, type Example, type TrainingStep } from './step.types';

/**
 * Mean loss over all examples of a classifier, over all targets of a language model, and the share that was right: whose
 * largest logit is the label or the target. `between` is called after each batch and may throw.
 */
export async function evaluate(step: TrainingStep, set: ExampleSet, task: string, batch_size: number, between: (done: number) => void = () => {}): Promise<EvalResult> {
  const lengths = Array.from({ length: set.length }, (_, i) => tokensOf(set.get(i)));
  let sum = 0, right = 0, count = 0, done = 0;
  for (const batch of batchesByLength(lengths, batch_size)) {
    const examples = Array.from(batch, i => set.get(i));
    const result = await step.evaluate(examples);
    sum += result.loss;
    count += step.count(examples);
    right += task === 'SEQ_CLS' ? rightClasses(examples, result) : result.right;
    done += examples.length;
    between(done);
    await turn();
  }
  const loss = sum / count;
  return task === 'SEQ_CLS' ? { loss, accuracy: right / count } : { loss, perplexity: Math.exp(loss), token_accuracy: right / count };
}

function rightClasses(examples: Example[], { logits }: BatchResult): number {
  const classes = logits.length / examples.length;
  return examples.filter(({ label }, row) => largest(logits.subarray(row * classes, (row + 1) * classes)) === label).length;
}

/** Place of the largest value; the first of equal ones. */
export function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
