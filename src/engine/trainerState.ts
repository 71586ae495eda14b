/** What a checkpoint holds beside the adapter, so that a run goes on exactly as if it had never been interrupted. */
import { join } from 'node:path';
import { LabError } from './errors';
import { readJsonObject } from './files';
import { writeFile } from './transaction';
import { fillTrainables, readAdapter, withoutStart, writeAdapterFiles, type AdapterContent } from './model/adapter';
import type { AdapterPlan } from './model/lora.types';
import { readValues, writeValues } from './model/trainedModel';
import type { LoadedModel } from './model/weights';
import { readHeader, readTensor } from './model/safetensors';
import { writeSafetensors } from './model/safetensorsWriter';
import type { Prepared } from './prepare';
import type { BestState } from './training/bestModel';
import type { OptimizerState } from './training/step.types';
import type { EvalResult, RoundingDifference } from '../protocol/metrics';
import { SECTIONS, SETTINGS, written, type Experiment } from '../protocol/experiment';

const STATE_NAME = 'trainer_state.json';
const OPTIMIZER_NAME = 'optimizer.safetensors';

/** Everything that grows from step to step, except the trained values and the optimizer's moments. */
export interface TrainerState {
  /** Finished optimizer steps. Order of the data, dropout and learning rate follow from it and the seed. */
  step: number;
  /** Step of the last evaluation, or 0. */
  evaluated: number;
  eval_before: EvalResult | null;
  eval: EvalResult | null;
  best: BestState;
  /** Sum of the losses of all steps. */
  loss_sum: number;
  tokens: number;
  /** Seconds that the run has taken, over all its parts. */
  seconds: number;
  /** Steps that have not been logged yet. */
  unlogged: { steps: number; loss_sum: number; tokens: number; seconds: number };
  /** Of a run with rounded weights, if it was compared with float32. */
  first_step?: RoundingDifference;
  /** `stamp` of the moment whose date and time conversations hold; earlier versions wrote none. */
  moment?: string;
  labels: string[];
  base_fingerprint: string;
  data_fingerprint: string;
}

/** Fills a checkpoint folder: a PEFT adapter or all values of the model, AdamW's moments and the state. */
export async function writeState(folder: string, content: AdapterContent, optimizer: Pick<OptimizerState, 'exp_avg' | 'exp_avg_sq'>, state: TrainerState): Promise<void> {
  await (content.plan.full ? writeValues(folder, content) : writeAdapterFiles(folder, content));
  const moments = (['exp_avg', 'exp_avg_sq'] as const).map(name => ({ name, dtype: 'F32' as const, shape: [optimizer[name].length], data: optimizer[name] }));
  await writeSafetensors(join(folder, OPTIMIZER_NAME), moments, { format: 'pt' });
  writeFile(join(folder, STATE_NAME), `${JSON.stringify(state, null, 2)}\n`);
}

/** The state of a checkpoint that has been verified. */
export function readState(folder: string): TrainerState {
  return readJsonObject(join(folder, STATE_NAME), 1 << 24) as unknown as TrainerState;
}

/** Trained values and moments of a checkpoint. Errors `resume.base-changed`, `resume.data-changed`. */
export function readOptimizer(folder: string, state: TrainerState, { model, plan, data_fingerprint }: Prepared): OptimizerState {
  if (state.base_fingerprint !== model.fingerprint) throw changed('resume.base-changed', model.folder, 'the base weights have changed since this run began');
  if (state.data_fingerprint !== data_fingerprint) throw changed('resume.data-changed', folder, 'the training or evaluation data, or the tokenizer, have changed since this run began');
  const trainables = checkpointValues(folder, plan, model);
  const { tensors } = readHeader(join(folder, OPTIMIZER_NAME));
  const moment = (name: string): Float32Array => readTensor(tensors.get(name)!);
  return { trainables, exp_avg: moment('exp_avg'), exp_avg_sq: moment('exp_avg_sq') };
}

/** The trained values of a checkpoint that has been verified, flat in the order of the plan. Errors: as `fillTrainables`. */
export function checkpointValues(folder: string, plan: AdapterPlan, model: LoadedModel): Float32Array {
  if (plan.full) return readValues(folder, plan);
  const adapter = readAdapter(folder);
  return fillTrainables(plan, plan.subtracts_start ? withoutStart(adapter) : adapter, model);
}

const changed = (code: string, file: string, cause: string): LabError => new LabError({ code, file, cause, action: 'put it back as it was, or start a new run' });

/** Keys that may change between the parts of a run without making it another run. */
const FREE = new Set([
  'output_dir', 'training.num_train_epochs', 'training.max_steps', 'training.per_device_eval_batch_size', 'training.eval_strategy', 'training.eval_steps',
  'training.save_strategy', 'training.save_steps', 'training.logging_steps', 'training.early_stopping_patience', 'training.gradient_checkpointing', 'engine.device',
  'engine.prefix_cache', 'engine.prefix_cache_mb', 'engine.compare_precision', 'engine.threads', 'engine.without',
]);

/**
 * Error `resume.experiment-changed` if a setting that the steps depend on differs from the run's own `experiment.json`. Returns the keys that changed.
 * An `experiment.json` of an earlier version lacks keys that came later, which mean their defaults.
 */
export function compareExperiments(now: Experiment, then: Record<string, unknown>, file: string): string[] {
  const flat = (experiment: Record<string, unknown>): Map<string, string> => new Map(Object.entries(experiment).flatMap(([key, value]) => (
    (SECTIONS as readonly string[]).includes(key) && value !== null ? Object.entries(value as object).map(([inner, part]) => [`${key}.${inner}`, JSON.stringify(part)] as const) : [[key, JSON.stringify(value)] as const])));
  const before = flat(withDefaults(then));
  const different = [...flat(written(now))].filter(([key, value]) => before.get(key) !== value).map(([key]) => key);
  const bound = different.find(key => !FREE.has(key));
  if (bound) {
    throw new LabError({
      code: 'resume.experiment-changed', file, where: bound, cause: `has changed since the run began (it was ${before.get(bound) ?? before.get(bound.split('.')[0]) ?? 'an object'})`, action: 'put it back to resume, or start a new run',
    });
  }
  return different.filter(key => key !== 'output_dir');
}

/** The content of an `experiment.json` with the default of every key that it lacks. A section that is null, `lora`, stays so. */
function withDefaults(then: Record<string, unknown>): Record<string, unknown> {
  const defaults = (section: keyof typeof SETTINGS): Record<string, unknown> => Object.fromEntries(Object.entries(SETTINGS[section]).map(([key, setting]) => [key, setting.default]));
  const sections = SECTIONS.map(name => [name, then[name] === null ? null : { ...defaults(name), ...then[name] as object | undefined }]);
  return { ...defaults('experiment'), ...then, ...Object.fromEntries(sections) as object };
}
