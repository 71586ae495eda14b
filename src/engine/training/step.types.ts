/** What the training loop asks of the compiled or eager step. Implemented in `step.ts`. */

export interface Example {
  input_ids: Int32Array;
  /** Segment numbers for sentence pairs; null means all 0. */
  token_type_ids: Int32Array | null;
  /** Class number. */
  label: number;
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
  /**
   * Forward and backward over one batch; adds the gradient of loss_scale · Σ loss to the accumulated gradient.
   * `dropout` seeds the masks; null turns dropout off. Returns loss_scale · Σ loss and the logits [B, num_labels].
   */
  accumulate(examples: Example[], loss_scale: number, dropout: { seed: number; step: number; micro_step: number } | null): Promise<{ loss: number; logits: Float32Array }>;
  /**
   * One AdamW step with the accumulated gradient, which is then cleared. `step` counts from 1 (bias correction).
   * If the gradient norm is not finite nothing changes, and the caller must stop.
   */
  update(options: { learning_rate: number; step: number }): Promise<{ grad_norm: number }>;
  /** Forward only, without dropout: Σ loss over the examples and the logits [B, num_labels], row after row. */
  evaluate(examples: Example[]): Promise<{ loss: number; logits: Float32Array }>;
  /** Copies of the current values. */
  state(): Promise<OptimizerState>;
  restore(state: OptimizerState): void;
  dispose(): Promise<void>;
}
