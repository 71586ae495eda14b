/** Lines of `metrics.jsonl` and the content of `summary.json`. Keys are those of Hugging Face Trainer's log. */
import type { Precision } from './experiment';

export interface TrainRecord {
  step: number;
  /** Passes over the training data so far, as a fraction. */
  epoch: number;
  /** Mean over the logged steps. A loss that is not finite is written as the text "NaN", "Infinity" or "-Infinity". */
  loss: number | string;
  /** Norm of the whole gradient before clipping, at the last logged step. */
  grad_norm: number | string;
  /** Learning rate that this step used. */
  learning_rate: number;
  /** Tokens trained since the start of the run, without padding. */
  tokens: number;
  tokens_per_second: number;
  /** Seconds since the start of the run. */
  time: number;
}

export interface EvalRecord extends ClassifierMetrics<'eval_'> {
  step: number;
  epoch: number;
  eval_loss: number | string;
  /** Of a language model: e to the power of eval_loss, and the share of tokens that had the largest logit. */
  eval_perplexity?: number | string;
  eval_token_accuracy?: number;
  /** Seconds that the evaluation took. */
  eval_runtime: number;
  time: number;
}

interface Metrics {
  /** The share of examples whose class was right, or whose classes were all right; of words whose tag was right. */
  accuracy?: number;
  /** Mean of the classes' F1; of tags with B- and I- before their names the F1 of whole entities. */
  f1?: number;
  /** Of tags: of entities, or the mean of the classes'. */
  precision?: number;
  recall?: number;
  /** By class name, or by type of entity; absent with more than 100 classes. A class that never occurs and is never predicted has none. */
  f1_per_class?: Record<string, number>;
  /** Of one class for each example. Absent where all examples are of one class. */
  matthews_correlation?: number;
  /** Of regression. Absent where all values, or all predictions, are the same. */
  pearson?: number;
  spearman?: number;
  /** With `predict_with_generate`: the share of texts written as they should be, and means of ROUGE's F-measures, from 0 to 1. */
  exact_match?: number;
  rouge1?: number;
  rouge2?: number;
  rougeL?: number;
}

/** What is measured of a classifier, a regression or written texts; a metric that the data does not define is absent. */
export type ClassifierMetrics<Prefix extends string = ''> = { [K in keyof Metrics as `${Prefix}${K}`]: Metrics[K] };

export type MetricRecord = TrainRecord | EvalRecord;
export const isEvalRecord = (record: MetricRecord): record is EvalRecord => 'eval_loss' in record;

/** Loss and gradient norm of the same examples with rounded and with exact base weights. */
export interface RoundingDifference { loss: number; loss_fp32: number; grad_norm: number; grad_norm_fp32: number }

export interface Summary {
  state: 'finished' | 'stopped';
  steps: number;
  epochs: number;
  trainable_parameters: number;
  all_parameters: number;
  /** Mean training loss over all steps. */
  train_loss: number;
  /** Evaluation of the base with a fresh adapter and head, before the first step. */
  eval_before: EvalResult | null;
  /** The evaluation of what is saved: the last one, or with `load_best_model_at_end` the best one. */
  eval: EvalResult | null;
  device: string;
  /** Number format of the frozen base weights that the adapter was trained with. Absent in runs of earlier versions. */
  precision?: Precision;
  /** Of a run with rounded weights: what its first step gave, and what it gives in float32. Absent where they were not compared. */
  first_step?: RoundingDifference;
  seconds: number;
  /** The most memory that the process has had since the first step in float32, if there was one, on Linux; elsewhere since it began. */
  peak_memory_bytes: number;
  /** The peak counts the step in float32 too: the run itself may need less. Absent where it does not. */
  peak_with_fp32?: true;
  /** Most cores in use over a second, and of the GPU where it tells: memory, whose that is, share of its time. */
  peak_cpu_cores?: number;
  peak_gpu_memory_bytes?: number;
  gpu_memory_of?: GpuOwner;
  /** What of it the run itself took: its process's, or by how much what is in use on the card grew. Absent where that was not told. */
  own_gpu_memory_bytes?: number;
  peak_gpu_utilization?: number;
  /** Absolute path of the saved adapter folder; with `full_finetuning` that of the trained model's checkpoint folder. */
  adapter: string;
  /** The whole model was trained. */
  full_finetuning?: true;
  /** With `load_best_model_at_end`: the step whose checkpoint became the adapter. */
  best?: { step: number; metric: string; value: number };
  /** `early_stopping_patience` ended the run. */
  stopped_early?: boolean;
}

/** What a run, or a whole sweep, took of the machine at most. */
export type MachinePeaks = Pick<Summary, 'peak_cpu_cores' | 'peak_gpu_memory_bytes' | 'gpu_memory_of' | 'own_gpu_memory_bytes' | 'peak_gpu_utilization'>;

/** Whose figures they are: of the engine's process alone, or of the whole card with all that runs on it. */
export type GpuOwner = 'process' | 'card';

/** Of the GPU, where the platform tells: bytes in use, the card's memory, share of the time that it was busy, from 0 to 1. */
export interface GpuSample { of: GpuOwner; memory_bytes: number; memory_total_bytes: number | null; utilization: number | null }

/** What a run takes of the machine at one moment. */
export interface TelemetrySample {
  /** Seconds since this part of the run began. */
  time: number;
  /** Memory of the engine's process, the most that it has had, and of the whole machine. */
  memory_bytes: number;
  peak_memory_bytes: number;
  machine_memory_bytes: number;
  /** Processor cores in use, of `cores`. */
  cpu_cores: number;
  cores: number;
  gpu?: GpuSample;
}

/** One experiment of a sweep. */
export interface SweepMember {
  /** Its folder below the sweep's. */
  name: string;
  /** What it has in place of the experiment's own values: `{ "lora.r": 4 }`. */
  changes: Record<string, string | number | boolean>;
  /** `halved`: others were better when the members were compared. */
  state: 'waiting' | 'running' | 'finished' | 'stopped' | 'halved' | 'failed';
  /** The sweep's metric of what is saved: its last value, or with `load_best_model_at_end` the best one; null if there is none, or if it is no number. */
  value: number | null;
  steps: number;
  trainable_parameters: number;
  train_loss: number | null;
  eval: EvalResult | null;
  /** Why it failed. */
  error?: string;
}

/** Content of `sweep.json`. */
export interface SweepSummary extends MachinePeaks {
  state: 'running' | 'finished' | 'stopped';
  /** What members are compared by: a metric of evaluations, or without any `train_loss`. */
  metric: string;
  greater_is_better: boolean;
  /** The best one first; of a halved sweep those that went on longer come before the others. */
  members: SweepMember[];
  /** Name of the best one, null until one has a value. */
  best: string | null;
  /** Absolute path. */
  folder: string;
  device: string;
  /** The local time that chat templates write into the conversations of all members. */
  moment?: string;
  seconds: number;
  peak_memory_bytes: number;
  peak_with_fp32?: true;
}

/** An evaluation: the metrics of a classifier, or `perplexity` and `token_accuracy` of a language model. */
export interface EvalResult extends ClassifierMetrics { loss: number; perplexity?: number; token_accuracy?: number }

/** The share of right classes or right tokens; NaN of a regression. */
export const rightShare = (of: EvalRecord | EvalResult): number =>
  ('eval_loss' in of ? of.eval_accuracy ?? of.eval_token_accuracy : of.accuracy ?? of.token_accuracy) ?? NaN;

/** Names for people, in the order in which they are told; the first one that an evaluation has is its main metric. */
const NAMES: Record<string, string> = {
  rougeL: 'ROUGE-L', accuracy: 'accuracy', perplexity: 'perplexity', pearson: 'Pearson', token_accuracy: 'token accuracy', exact_match: 'exact match', rouge1: 'ROUGE-1', rouge2: 'ROUGE-2',
  f1: 'F1', matthews_correlation: 'Matthews', spearman: 'Spearman',
};
const SHARES = ['accuracy', 'token_accuracy', 'exact_match'];
/** Whether a metric of this name is a share of all, told in per cent. */
export const isShare = (name: string): boolean => SHARES.some(key => NAMES[key] === name);

export interface ShownMetric { name: string; value: number; text: string }

/** Whether more of a metric is better, by its key or its name. */
export const greaterIsBetter = (metric: string): boolean => !/(loss|perplexity)$/.test(metric);

/** Every metric of an evaluation beside its loss, by the names that people know, the main one first. */
export function shownMetrics(of: EvalRecord | EvalResult): ShownMetric[] {
  const values = of as unknown as Record<string, unknown>;
  return Object.entries(NAMES).flatMap(([key, name]) => {
    const value = Number(values['eval_loss' in of ? `eval_${key}` : key] ?? NaN);
    // e to the power of a large loss is more than a number can hold.
    if (Number.isNaN(value)) return [];
    return [{ name, value, text: SHARES.includes(key) ? `${(100 * value).toFixed(1)} %` : key === 'perplexity' ? String(value < 1e5 || value === Infinity ? Number(value.toPrecision(4)) : value.toExponential(2)) : value.toFixed(3) }];
  });
}

/** What a person looks at first: ROUGE-L, the share of right classes, perplexity or Pearson's correlation. Null where there is none of these. */
export const mainMetric = (of: EvalRecord | EvalResult): ShownMetric | null => shownMetrics(of)[0] ?? null;

/** A name at the start of a line. */
export const capitalName = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1);

/** The metrics of an evaluation under the keys of `metrics.jsonl`. */
export const evalMetrics = (result: EvalResult): Omit<EvalRecord, 'step' | 'epoch' | 'eval_runtime' | 'time'> =>
  Object.fromEntries(Object.entries(result).map(([name, value]) => [`eval_${name}`, value])) as { eval_loss: number };
