/** What rounding the base costs: the first step of a run beside the same step in float32. */
import { epochBatches } from './data/batches';
import { createExecutor } from './executors/devices';
import { memoryModel } from './inspect';
import { forgetExactStep } from './peakMemory';
import { examplesIn, rowsOf, type Prepared } from './prepare';
import type { Reporter } from './reporter';
import { portionTokens } from './training/portions';
import { stepOptions } from './stepOptions';
import { createTrainingStep } from './training/step';
import { tokensOf, type Example, type TrainingStep } from './training/step.types';
import { askAvailableMemory } from '../machine/memory';
import { formatBytes } from '../protocol/adapterMath';
import type { Experiment } from '../protocol/experiment';
import { estimateMemory } from '../protocol/memoryEstimate';
import type { RoundingDifference } from '../protocol/metrics';

/** The first step's examples as float32 computes them. */
export interface ExactStep { examples: Example[]; loss: number; grad_norm: number }

/**
 * Takes the first step in float32 on the CPU, which every device's is compared with, and keeps nothing but its loss and gradient norm: of the
 * first examples of the first batch that fit in one portion. Null in float32 itself, with `engine.compare_precision` `off`, and, with a
 * message, where such a step does not fit into the memory that is free. Call it before the rounded base is loaded: what the run needs at its peak is counted from here on, where the system can do that.
 */
export async function exactStep(experiment: Experiment, prepared: Prepared, report: Pick<Reporter, 'log'>, free_bytes?: number): Promise<ExactStep | null> {
  const { engine } = experiment;
  if (engine.precision === 'fp32' || engine.compare_precision === 'off') return null;
  // A device that cannot round so says so before anything is computed.
  await (await createExecutor(engine.device, engine.precision, { threads: engine.threads })).dispose();
  const needed = exactMemory(experiment, prepared);
  const free = free_bytes ?? await askAvailableMemory();
  if (needed > free) {
    report.log({ level: 'info', message: `engine.compare_precision: the first step is not compared with fp32, which takes about ${formatBytes(needed)} of memory, and ${formatBytes(free)} are free` });
    return null;
  }
  try {
    return await takeExactStep(experiment, prepared);
  } finally {
    forgetExactStep();
  }
}

/** Bytes of one step in float32 on the CPU, the process with it, without what a whole run has beside its steps. */
function exactMemory({ engine, ...experiment }: Experiment, { model, train }: Prepared): number {
  const { total, beside } = estimateMemory(memoryModel(model), { ...experiment, engine: { ...engine, device: 'cpu', precision: 'fp32' } }, Math.max(train.longest, train.longest_target ?? 0));
  return total - beside;
}

async function takeExactStep(experiment: Experiment, prepared: Prepared): Promise<ExactStep> {
  const options = stepOptions(experiment, prepared);
  // What is touched ahead stays with the process, and the run that follows needs less.
  const savings = { ...options.savings, touched_memory: false };
  const step = await createTrainingStep({ ...options, savings, device: 'cpu', precision: 'fp32' });
  try {
    const examples = firstExamples(prepared, experiment.training, portionTokens(options, { gradients: true }));
    return { examples, ...await firstStep(step, examples, experiment.training.seed) };
  } finally {
    await step.dispose();
  }
}

/** The same step in the run's precision, told and returned beside the exact one; the step's values stay as they are. */
export async function compareFirstStep(step: TrainingStep, exact: ExactStep, { engine: { precision }, training }: Experiment, report: Pick<Reporter, 'log'>): Promise<RoundingDifference> {
  const before = await step.state();
  const { loss, grad_norm } = await firstStep(step, exact.examples, training.seed);
  await step.restore(before);
  report.log({ level: 'info', message: `first step in ${precision}, and in fp32 on the same ${exact.examples.length === 1 ? 'example' : `${exact.examples.length} examples`}: loss ${beside(loss, exact.loss)}, gradient norm ${beside(grad_norm, exact.grad_norm)}` });
  return { loss, loss_fp32: exact.loss, grad_norm, grad_norm_fp32: exact.grad_norm };
}

/** As the trainer takes it, with its dropout masks, but no value moves. */
async function firstStep(step: TrainingStep, examples: Example[], seed: number): Promise<{ loss: number; grad_norm: number }> {
  const { loss } = await step.accumulate(examples, 1 / Math.max(1, step.count(examples)), { seed, step: 1, micro_step: 0 });
  const { grad_norm } = await step.update({ learning_rate: 0, step: 1 });
  return { loss, grad_norm };
}

function firstExamples(prepared: Prepared, { per_device_train_batch_size, seed, shuffle }: Experiment['training'], most: number): Example[] {
  const [batch] = epochBatches(rowsOf(prepared), per_device_train_batch_size, { seed, epoch: 0, shuffle });
  const examples: Example[] = [];
  let tokens = 0;
  for (const number of examplesIn(prepared, batch)) {
    const example = prepared.train.get(number);
    tokens += tokensOf(example);
    if (examples.length && tokens > most) break;
    examples.push(example);
  }
  return examples;
}

/** `0.69312 and 0.69315 (−0.004 %)` */
function beside(value: number, exact: number): string {
  const difference = (100 * (value - exact)) / exact;
  const digits = Math.abs(difference) < 0.1 ? 1 : 2;
  const share = Number.isFinite(difference) ? ` (${difference < 0 ? '−' : '+'}${Number(Math.abs(difference).toPrecision(digits))} %)` : '';
  return `${value.toPrecision(5)} and ${exact.toPrecision(5)}${share}`;
}
