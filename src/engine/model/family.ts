/**
 * What the engine knows of a model architecture. One file per family implements this; `families.ts` lists them.
 * Parameter names are those of the Hugging Face task model (`BertForSequenceClassification`), so that they
 * are what PEFT matches `target_modules` against and what a merged checkpoint is written with.
 */
import type { Tensor } from '@tensorflow/tfjs-core';

export type Config = Record<string, unknown>;

export interface ParameterSpec {
  /** `bert.encoder.layer.0.attention.self.query.weight` */
  name: string;
  /** A Linear's weight is [out_features, in_features]. */
  shape: number[];
  /** `linear`: the weight of a layer that adapters can be put on. */
  kind: 'linear' | 'embedding' | 'norm' | 'bias';
  /** Start value where the checkpoint lacks the parameter: normal uses the config's `initializer_range`. */
  init: 'normal' | 'zeros' | 'ones';
}

export interface Family {
  readonly model_types: readonly string[];
  /** PEFT's `TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING`. */
  readonly default_target_modules: readonly string[];
  /** Modules of the task's head, which PEFT adds to `modules_to_save`. */
  headModules(task: string): string[];
  /** Class name for `architectures` in the config.json of a merged checkpoint: `BertForSequenceClassification`. */
  architecture?(task: string): string;
  /** Every parameter of the task model, in the order of the forward pass. Throws LabError if the config is unusable. */
  parameters(config: Config, task: string, num_labels: number): ParameterSpec[];
  /** Names under which checkpoints may store a parameter, the usual one first. */
  storedNames(name: string): string[];
  limits(config: Config): { vocab_size: number; max_positions: number; type_vocab_size: number };
  /** Attention heads of queries and of keys and values. */
  heads(config: Config): { query: number; key_value: number };
  /** Logits [B, num_labels] of a sequence classifier. */
  classify(context: ForwardContext, config: Config): Tensor;
}

/**
 * What a forward pass works with. All hidden states are [T, d]: the T real tokens of the batch, one example after
 * the other, no padding. Only attention lays them out as [B, heads, S, head_dim].
 */
export interface ForwardContext {
  readonly batch: BatchTensors;
  /** A parameter by its full name: frozen, or the trained value. */
  weight(name: string): Tensor;
  /** y = x Wᵀ + b, plus the adapter of the module if it has one. x [rows, in_features] → [rows, out_features]. */
  linear(module: string, x: Tensor): Tensor;
  /** Dropout with probability p while training, identity otherwise. x [rows, width]. */
  dropout(x: Tensor, p: number): Tensor;
  /** The first token of each example. x [T, d] → [B, d]. */
  firstTokens(x: Tensor): Tensor;
  /** softmax(q kᵀ · scale + bias) v for every head. k and v [T, heads · head_dim]; q and the result the same, or [B, …] for the first tokens alone. */
  attention(q: Tensor, k: Tensor, v: Tensor, options: { scale: number; dropout: number }): Tensor;
}

/** A batch as tensors. T tokens, B examples, S the longest example. All int32. */
export interface BatchTensors {
  input_ids: Tensor;        // [T]
  token_type_ids: Tensor;   // [T]
  position_ids: Tensor;     // [T]
  labels: Tensor;           // [B]
}
