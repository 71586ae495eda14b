/** What every step of an experiment is made of, whoever makes it: a run, a sweep, a comparison, a measurement. */
import type { Experiment } from '../protocol/experiment';
import { savingsOf } from '../protocol/savings';
import type { Prepared } from './prepare';
import type { StepOptions } from './training/step';

/** The options of a training step on the experiment's device, not split. */
export const stepOptions = ({ lora, training, engine }: Experiment, { model, plan, trainables, train }: Prepared) => ({
  model, plan, lora, training, trainables, device: engine.device, precision: engine.precision, savings: savingsOf(engine), threads: engine.threads, longest: train.longest, longest_target: train.longest_target, train: true,
}) satisfies StepOptions;
