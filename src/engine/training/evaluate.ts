/** Evaluation of a sequence classifier. */
import { setImmediate as turn } from 'node:timers/promises';
import { batchesByLength } from '../data/batches';
import type { ExampleSet } from '../data/examples';
import type { EvalResult } from '../../protocol/metrics';
import type { TrainingStep } from './step.types';

/** Mean loss over all examples and the share whose largest logit is the label. `between` is called after each batch and may throw. */
export async function evaluate(step: TrainingStep, set: ExampleSet, batch_size: number, between: (done: number) => void = () => {}): Promise<EvalResult> {
  const lengths = Array.from({ length: set.length }, (_, i) => set.get(i).input_ids.length);
  let loss = 0, right = 0, done = 0;
  for (const batch of batchesByLength(lengths, batch_size)) {
    const examples = Array.from(batch, i => set.get(i));
    const result = await step.evaluate(examples);
    loss += result.loss;
    const classes = result.logits.length / examples.length;
    examples.forEach(({ label }, row) => { if (largest(result.logits.subarray(row * classes, (row + 1) * classes)) === label) right++; });
    done += examples.length;
    between(done);
    await turn();
  }
  return { loss: loss / set.length, accuracy: right / set.length };
}

/** Place of the largest value; the first of equal ones. */
export function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
