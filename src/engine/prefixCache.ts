/** Keeping what the frozen layers make of each example during a run: whether, where, and what a person is told of it. */
import { join } from 'node:path';
import { batchesByLength, epochBatches } from './data/batches';
import { freeBytes } from './files';
import { examplesIn, rowsOf, type Prepared } from './prepare';
import type { Reporter } from './reporter';
import { temporaryName } from './transaction';
import { PrefixStore } from './training/prefixStore';
import type { PrefixStates } from './training/prefixStates';
import { planSchedule } from './training/schedule';
import { tokensOf, type TrainingStep } from './training/step.types';
import type { Experiment } from '../protocol/experiment';
import { savingsOf } from '../protocol/savings';

/** Whether a run may gain by it: only from the second epoch on is there anything that was computed before. */
export function wantsPrefix({ engine, training }: Experiment, train_rows: number): boolean {
  const { total_steps, steps_per_epoch } = planSchedule(train_rows, training);
  return savingsOf(engine).prefix_cache && total_steps > steps_per_epoch;
}

export interface PrefixCacheOptions {
  step: Pick<TrainingStep, 'prefix' | 'prefix_dropout'>;
  experiment: Experiment;
  prepared: Prepared;
  /** The run folder, which may take a file for the time of the run. */
  folder: string;
  report: Pick<Reporter, 'log'>;
}

/** The examples to train and evaluate on: where the step is split, those whose states are kept. */
export function keepPrefix({ step, experiment, prepared, folder, report }: PrefixCacheOptions): Pick<Prepared, 'train' | 'eval'> {
  const { train, eval: evaluation } = prepared;
  const say = (level: 'info' | 'warn', message: string): void => report.log({ level, message: `engine.prefix_cache: ${message}` });
  if (step.prefix_dropout) say('info', 'off, because the base applies dropout below the first layer that is trained (its config.json says so), and the states there differ from epoch to epoch');
  const states = step.prefix;
  if (!states) return { train, eval: evaluation };

  const { layers, width } = states.prefix;
  const limit = experiment.engine.prefix_cache_mb * 1e6;
  const bytes = 4 * width * (train.tokens + (evaluation?.tokens ?? 0));
  const size = `${Math.ceil(bytes / 1e6)} MB`;
  const frozen = `the first ${layers === 1 ? 'layer is' : `${layers} layers are`} frozen`;
  if (bytes > limit && freeBytes(folder) < 2 * (bytes - limit)) {
    say('warn', `${frozen}, but their states, ${size}, fit neither in prefix_cache_mb ${experiment.engine.prefix_cache_mb} nor on the disk: they are computed anew each time`);
    return { train, eval: evaluation };
  }
  say('info', `${frozen} and computed once for each example; their states take ${size}${bytes > limit ? `, ${Math.ceil((bytes - limit) / 1e6)} MB of them in a file in the run folder that is removed at the end` : ''}`);
  const onFull = (): void => say('warn', 'the disk is full: the states of the other examples are computed anew each time');
  states.keep(new PrefixStore(limit, temporaryName('tmp', join(folder, 'prefix-states')), onFull));
  return followed(states, experiment, prepared);
}

/** Both sets, followed in the order of their first use. */
function followed(states: PrefixStates, { training }: Experiment, prepared: Prepared): Pick<Prepared, 'train' | 'eval'> {
  const { train, eval: evaluation } = prepared;
  const { seed, shuffle, per_device_train_batch_size, per_device_eval_batch_size } = training;
  const lengths = Array.from({ length: evaluation?.length ?? 0 }, (_, i) => tokensOf(evaluation!.get(i)));
  return {
    train: states.follow(train, epochBatches(rowsOf(prepared), per_device_train_batch_size, { seed, epoch: 0, shuffle }).map(batch => examplesIn(prepared, batch))),
    eval: evaluation && states.follow(evaluation, batchesByLength(lengths, per_device_eval_batch_size)),
  };
}
