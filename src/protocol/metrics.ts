/** Lines of `metrics.jsonl` and the content of `summary.json`. Keys are those of Hugging Face Trainer's log. */

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

export interface EvalRecord {
  step: number;
  epoch: number;
  eval_loss: number | string;
  /** Of a classifier: the share of examples whose class was right. */
  eval_accuracy?: number;
  /** Of a language model: e to the power of eval_loss, and the share of tokens that had the largest logit. */
  eval_perplexity?: number | string;
  eval_token_accuracy?: number;
  /** Seconds that the evaluation took. */
  eval_runtime: number;
  time: number;
}

export type MetricRecord = TrainRecord | EvalRecord;
export const isEvalRecord = (record: MetricRecord): record is EvalRecord => 'eval_loss' in record;

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
  /** The last evaluation. */
  eval: EvalResult | null;
  device: string;
  seconds: number;
  peak_memory_bytes: number;
  /** Absolute path of the saved adapter folder. */
  adapter: string;
}

/** An evaluation: `accuracy` of a classifier, `perplexity` and `token_accuracy` of a language model. */
export interface EvalResult { loss: number; accuracy?: number; perplexity?: number; token_accuracy?: number }

/** The share of right classes or right tokens: what a person looks at first, whatever the task. */
export const rightShare = (of: EvalRecord | EvalResult): number =>
  ('eval_loss' in of ? of.eval_accuracy ?? of.eval_token_accuracy : of.accuracy ?? of.token_accuracy) ?? NaN;

/** The metrics of an evaluation under the keys of `metrics.jsonl`. */
export const evalMetrics = (result: EvalResult): Pick<EvalRecord, 'eval_loss' | 'eval_accuracy' | 'eval_perplexity' | 'eval_token_accuracy'> =>
  Object.fromEntries(Object.entries(result).map(([name, value]) => [`eval_${name}`, value])) as { eval_loss: number };
