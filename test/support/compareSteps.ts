/** The compiled step and the eager reference on the same batches. */
import assert from 'node:assert/strict';
import { initialTrainables, planAdapter } from '../../src/engine/model/lora';
import { withStartFactors } from '../../src/engine/model/startFactors';
import type { LoadedModel } from '../../src/engine/model/weights';
import { random } from '../../src/engine/random';
import { createTrainingStep } from '../../src/engine/training/step';
import type { Example, TrainingStep } from '../../src/engine/training/step.types';
import type { Precision } from '../../src/protocol/experiment';
import type { Savings } from '../../src/protocol/savings';
import { assertClose } from './close';
import { settings } from './tinyModel';

export interface StepSettings { device?: string; lora?: object; training?: object; train?: boolean; split_prefix?: boolean; chunk_classes?: number; precision?: Precision; savings?: Savings; longest?: number }

/** The step of a small model, its adapters away from their start: with B at zero the gradient of A would be zero. */
export async function noisyStep(model: LoadedModel, { device = 'cpu', lora = {}, training = {}, train = true, split_prefix, chunk_classes, precision, savings, longest }: StepSettings = {}): Promise<TrainingStep> {
  const experiment = settings(lora, training);
  const plan = planAdapter(model, experiment.lora);
  const whole = plan.subtracts_start ? withStartFactors(model, plan, experiment.lora.init_lora_weights, 7, () => {}) : model;
  const trainables = initialTrainables(whole, plan, 7);
  const noise = random(3, 'noise');
  for (let i = 0; i < trainables.length; i++) trainables[i] += 0.1 * noise.normal();
  return createTrainingStep({ model: whole, plan, training: experiment.training, lora: experiment.lora, device, precision, trainables, train, split_prefix, chunk_classes, savings, longest });
}

/** Loss, gradient norm and gradients (as the first moments) of one update with these examples; the step is freed. */
export async function oneUpdate(step: TrainingStep, examples: Example[], seed?: number): Promise<{ values: number[]; exp_avg: Float32Array }> {
  const { loss } = await step.accumulate(examples, 1, seed === undefined ? null : { seed, step: 1, micro_step: 0 });
  const { grad_norm } = await step.update({ learning_rate: 1e-2, step: 1 });
  const { exp_avg } = await step.state();
  await step.dispose();
  return { values: [loss, grad_norm], exp_avg };
}

/** Accumulates a batch and its first example, updates and evaluates, on both: losses, logits, norm, moments and values must agree, within `slack` times what single precision costs. */
export async function assertSameStep(both: readonly TrainingStep[], examples: Example[], step: number, seed?: number, slack = 1): Promise<void> {
  const dropout = (micro_step: number) => (seed === undefined ? null : { seed, step, micro_step });
  const [compiled, eager] = await Promise.all(both.map(async run => {
    const first = await run.accumulate(examples, 0.5, dropout(0));
    const second = await run.accumulate(examples.slice(0, 1), 0.5, dropout(1));
    const { grad_norm } = await run.update({ learning_rate: 1e-2, step });
    return { first, second, grad_norm, state: await run.state(), evaluation: await run.evaluate(examples) };
  }));
  assertClose([compiled.first.loss, compiled.second.loss], [eager.first.loss, eager.second.loss], 1e-4 * slack, 'loss');
  assertClose(compiled.first.logits, eager.first.logits, 1e-4 * slack, 'logits');
  assert.equal(compiled.first.right, eager.first.right);
  assertClose([compiled.grad_norm], [eager.grad_norm], 1e-4 * slack, 'grad_norm');
  assertClose(compiled.state.exp_avg, eager.state.exp_avg, 1e-3 * slack, 'exp_avg');
  assertClose(compiled.state.trainables, eager.state.trainables, 1e-3 * slack, 'trainables');
  assertClose([compiled.evaluation.loss], [eager.evaluation.loss], 1e-4 * slack, 'evaluation loss');
}
