/** How many steps a run has and which learning rate each of them uses: as transformers' Trainer and `get_scheduler` do. */
import type { TrainingSettings } from '../../protocol/experiment';

export interface Schedule {
  /** Batches of one pass over the data; the last one may be smaller. */
  batches_per_epoch: number;
  /** Optimizer steps of one pass; the last one may have fewer batches. */
  steps_per_epoch: number;
  total_steps: number;
  /** Passes begun, the last one perhaps not to its end. */
  epochs: number;
  /** Learning rate of a step, counted from 1. */
  learningRate(step: number): number;
}

export function planSchedule(examples: number, training: TrainingSettings): Schedule {
  const batches_per_epoch = Math.ceil(examples / training.per_device_train_batch_size);
  const steps_per_epoch = Math.ceil(batches_per_epoch / training.gradient_accumulation_steps);
  const total_steps = training.max_steps > 0 ? training.max_steps : Math.ceil(training.num_train_epochs * steps_per_epoch);
  const epochs = Math.ceil(total_steps / steps_per_epoch);
  const warmup = training.warmup_steps < 1 ? Math.ceil(training.warmup_steps * total_steps) : Math.floor(training.warmup_steps);
  const factor = FACTORS[training.lr_scheduler_type];
  return {
    batches_per_epoch, steps_per_epoch, total_steps, epochs,
    learningRate: step => training.learning_rate * factor(step - 1, training.lr_scheduler_type === 'constant' ? 0 : warmup, total_steps),
  };
}

/** Share of the peak learning rate at a step counted from 0. */
type Factor = (step: number, warmup: number, total: number) => number;

const warmedUp = (after: Factor): Factor => (step, warmup, total) => (step < warmup ? step / Math.max(1, warmup) : after(step, warmup, total));
const progress: Factor = (step, warmup, total) => (step - warmup) / Math.max(1, total - warmup);

const FACTORS: Record<TrainingSettings['lr_scheduler_type'], Factor> = {
  linear: warmedUp((step, warmup, total) => Math.max(0, 1 - progress(step, warmup, total))),
  cosine: warmedUp((step, warmup, total) => Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress(step, warmup, total))))),
  constant: () => 1,
  constant_with_warmup: warmedUp(() => 1),
};
