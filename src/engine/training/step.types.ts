/** What the training loop asks of the compiled or eager step. Implemented in `step.ts`. */
import type { PrefixStates } from './prefixStates';

export interface Example {
  input_ids: Int32Array;
  /** Segment numbers for sentence pairs; null means all 0. */
  token_type_ids: Int32Array | null;
  /** Class number, or with regression the value; of no meaning for a language model. */
  label: number;
  /** With `multi_label_classification`: the numbers of all classes that apply. */
  classes?: Int32Array;
  /** For a language model: the token that should follow each position; of words the number of their tag; IGNORED where none is to be learned. [tokens] */
  targets?: Int32Array | null;
  /** For an encoder-decoder: what the decoder reads; `targets` are then those of its positions. [decoder tokens] */
  decoder_input_ids?: Int32Array;
  /** Tokens at the end of `input_ids`, and of what the head reads, that only fill a batch up. */
  padding?: { input: number; read: number };
  /** Which example of which set this is, where something is kept of it. */
  place?: { set: number; index: number };
}

/** Tokens that a model reads of an example, its decoder's included. */
export const tokensOf = ({ input_ids, decoder_input_ids }: Example): number => input_ids.length + (decoder_input_ids?.length ?? 0);

/** The target of a position that nothing is to be learned at, as in transformers. */
export const IGNORED = -100;

/** What a batch gave. */
export interface BatchResult {
  /** The batch's loss: summed over what is learned, and scaled while training. */
  loss: number;
  /** Of a classifier [B, num_labels], of tags [labelled tokens, num_labels], row after row; empty for a language model while it is trained. */
  logits: Float32Array;
  /** Of a language model: targets that have the largest logit. */
  right: number;
}

export interface OptimizerState {
  /** All trained values, one flat vector in the order of `AdapterPlan.trainables`. */
  trainables: Float32Array;
  /** AdamW's first and second moments, same layout. */
  exp_avg: Float32Array;
  exp_avg_sq: Float32Array;
}

export interface TrainingStep {
  /** The device and executor that really run, e.g. `cpu (onnxruntime)`. */
  readonly device: string;
  /** What the frozen layers at the start make of the examples, where the step is split after them. */
  readonly prefix: PrefixStates | null;
  /** The step was to be split, but dropout is applied in those layers. */
  readonly prefix_dropout: boolean;
  /** What is computed of an example depends on the longest one of its batch. */
  readonly depends_on_batch: boolean;
  /**
   * Forward and backward over one batch; adds the gradient of loss_scale · Σ loss to the accumulated gradient.
   * `dropout` seeds the masks; null turns dropout off. Returns loss_scale · Σ loss over examples (classifier) or targets (language model).
   */
  accumulate(examples: Example[], loss_scale: number, dropout: { seed: number; step: number; micro_step: number } | null): Promise<BatchResult>;
  /** How many losses a batch sums: its examples, or its targets. A window is normalised by this. */
  count(examples: Example[]): number;
  /**
   * One AdamW step with the accumulated gradient, which is then cleared. `step` counts from 1 (bias correction).
   * If the gradient norm is not finite nothing changes, and the caller must stop.
   */
  update(options: { learning_rate: number; step: number }): Promise<{ grad_norm: number }>;
  /** Forward only, without dropout and scaling. */
  evaluate(examples: Example[]): Promise<BatchResult>;
  /** Copies of the current values, from where the step computes. */
  state(): Promise<OptimizerState>;
  /** Takes copies of these values; what was accumulated is forgotten. */
  restore(state: OptimizerState): Promise<void>;
  /** Keeps the current values where they are, until the next mark. Costs no copy. */
  mark(): void;
  /** Goes back to the values that were marked last. */
  goBack(): void;
  dispose(): Promise<void>;
}
