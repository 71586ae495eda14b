/**
 * What the engine knows of a model architecture. One file per family implements this; `families.ts` lists them.
 * Parameter names are those of the Hugging Face task model (`BertForSequenceClassification`), so that they
 * are what PEFT matches `target_modules` against and what a merged checkpoint is written with.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { TASKS } from '../../protocol/experiment';
import { MODEL_TYPES, TASKS_OF, type ModelType } from '../../protocol/modelTypes';
import type { BatchLayout } from '../training/layout';
import type { Savings } from '../../protocol/savings';
import type { Checkpoint } from './checkpoint';

export type Config = Record<string, unknown>;

export type Task = (typeof TASKS)[number];

export interface ParameterSpec {
  /** `bert.encoder.layer.0.attention.self.query.weight` */
  name: string;
  /** A Linear's weight is [out_features, in_features]; with `fan_in_fan_out` it is [in_features, out_features]. */
  shape: number[];
  /** The weight of a transformers Conv1D, stored transposed: PEFT's name for it. */
  fan_in_fan_out?: true;
  /** The output layer over the vocabulary, which `all-linear` leaves out. */
  output?: true;
  /** Why the module cannot be trained whole. */
  fixed?: string;
  /** Of an embedding table: the row that gets no gradient, PyTorch's padding_idx. */
  padding?: number | null;
  /** Of an embedding table: the modules that read it, where they have other names than the parameter's own module. */
  modules?: readonly string[];
  /** `linear`: the weight of a layer that adapters can be put on. */
  kind: 'linear' | 'embedding' | 'norm' | 'bias';
  /** Start value where the checkpoint lacks the parameter: normal uses the config's `initializer_range`. */
  init: 'normal' | 'zeros' | 'ones';
}

export interface Family {
  /** Of one kind: what the architecture can learn follows from it. */
  readonly model_types: readonly [ModelType, ...ModelType[]];
  /** PEFT's `TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING`; empty where it has none. */
  readonly default_target_modules: readonly string[];
  /** Modules of the task's head, which PEFT adds to `modules_to_save`. */
  headModules(task: string): string[];
  /** The module whose output are the logits, where it is not the first head module. */
  outputLayer?(task: string): string;
  /** Class name for `architectures` in the config.json of a merged checkpoint: `BertForSequenceClassification`. */
  architecture?(task: string, config: Config): string;
  /** Every parameter of the task model, in the order of the forward pass. Throws LabError if the config is unusable. */
  parameters(config: Config, task: string, num_labels: number): ParameterSpec[];
  /** Names under which checkpoints may store a parameter, the usual one first. */
  storedNames(name: string): string[];
  /** The config as the stored tensors make it, where they say what it leaves open. */
  resolve?(checkpoint: Pick<Checkpoint, 'config' | 'tensors' | 'folder'>, task: string): Config;
  /** Sizes of the embedding tables, positions without those that no token gets. A model without segments has `type_vocab_size` 0. */
  limits(config: Config): { vocab_size: number; max_positions: number; type_vocab_size: number };
  layout(config: Config, task: string): BatchLayout;
  /** Of a language model: what its output layer reads. */
  output?(context: ForwardContext, config: Config): OutputStates;
  /** Logits of the tokens that the task's head reads: [R, num_labels] of a classifier, [R, vocab_size] of a language model. */
  logits(context: ForwardContext, config: Config, task: string): Tensor;
  /** Of an encoder-decoder: the two halves of `logits`, for generation. */
  readonly seq2seq?: Seq2SeqFamily;
}

/** Logits are states · weightᵀ, or c · tanh of them / c with a `softcap` c. */
export interface OutputStates {
  /** [R, d] */
  states: Tensor;
  /** The parameter [vocab_size, d]: a layer's own, or the embeddings that are tied to it. */
  weight: string;
  softcap: number | null;
}

export interface Seq2SeqFamily {
  /** The token that the decoder starts with. */
  startToken(config: Config): number;
  /** The encoder's states [T, d]. */
  encode(context: ForwardContext, config: Config): Tensor;
  /** Keys and values [T, h · head_dim] of encoder states [T, d] in a layer of the decoder. */
  sourceHeads(context: ForwardContext, config: Config, layer: number, encoded: Tensor): Tensor[];
  /** Logits [R, vocab_size] of the decoder's tokens that are read, for encoder states [T, d]; null where the context has their keys and values. */
  decode(context: ForwardContext, config: Config, encoded: Tensor | null): Tensor;
}

/**
 * What a forward pass works with. All hidden states are [T, d], the decoder's of an encoder-decoder [U, d]: the real tokens of the batch, one example after
 * the other, no padding. Only attention lays them out as [B, heads, S, head_dim].
 */
export interface ForwardContext {
  readonly batch: BatchTensors;
  /** Which tokens the head reads. */
  readonly reads: BatchLayout['read'];
  /** What may be left out. */
  readonly savings: Savings;
  /** A parameter by its full name: frozen, or the trained value. */
  weight(name: string): Tensor;
  /** Rows of an embedding table for one of the batch's index vectors, plus the adapter of the module if it has one. [N, w], of buckets [S, S, w]. */
  embed(module: string, ids: IndexName): Tensor;
  /** y = x Wᵀ + b, plus the adapter of the module if it has one. x [rows, in_features] → [rows, out_features]. */
  linear(module: string, x: Tensor): Tensor;
  /** Logits [R, vocab_size] of an output layer over x [R, d], with the columns of trained tokens in their places. */
  vocabulary(logits: Tensor, x: Tensor): Tensor;
  /** Dropout with probability p while training, identity otherwise. x [rows, width]. */
  dropout(x: Tensor, p: number): Tensor;
  /** The tokens that the task's head reads: the first or last of each example, or those with a target. x [T, d] → [R, d]. */
  headTokens(x: Tensor): Tensor;
  /** While an encoder-decoder writes: keys and values [B, heads, S, head_dim] of the sources in a layer of the decoder, made when they were read. */
  sourceHeads(layer: number): Tensor[];
  /** Turns every head of x [T, heads · head_dim] by the angles of its token's position. */
  rotary(x: Tensor, head_dim: number): Tensor;
  /**
   * softmax(q kᵀ · scale + bias) v for every head. k and v [T, key_value_heads · head_dim]; q and the result [T, heads · head_dim],
   * or [B, …] for the first tokens alone where the head reads those.
   * Of an encoder-decoder, `between` says whose q, k and v they are: the encoder's (or those of a model with one stack), the
   * decoder's, or queries of the decoder [U, …] with keys and values of the encoder [T, …]. `position_bias` [heads, queries, keys] is added to the scores.
   * While a model writes, keys and values of the tokens before are kept and stand before k and v.
   * `window`: how many tokens back a causal model sees, itself included. `softcap`: c · tanh(score / c) bounds the scores.
   */
  attention(q: Tensor, k: Tensor, v: Tensor, options: { scale: number; dropout: number; window?: number | null; softcap?: number | null; between?: Between; position_bias?: Tensor }): Tensor;
  /**
   * run(context, ...inputs, ...constants), one layer whose parameters are those below the module `at`. With `gradient_checkpointing` only these
   * tensors are kept for the backward pass. `run` must use the context that it is given, and no tensor of the forward pass but these; gradients pass through `inputs`.
   */
  block(at: string, inputs: Tensor[], run: (context: ForwardContext, ...tensors: Tensor[]) => Tensor, constants?: Tensor[]): Tensor;
}

/** What of a batch numbers rows of a table. */
export type IndexName = 'input_ids' | 'token_type_ids' | 'position_ids' | 'decoder_input_ids' | 'relative_buckets' | 'decoder_relative_buckets';

export type Between = 'encoder' | 'decoder' | 'cross';

/** A batch as tensors. T tokens, B examples, R tokens that the head reads; of an encoder-decoder U tokens of the decoder, S and V slots. All int32. */
export interface BatchTensors {
  input_ids: Tensor;        // [T]
  token_type_ids: Tensor;   // [T], only where the layout is not causal
  position_ids: Tensor;     // [T]
  labels: Tensor;           // [R], where the layout has no float targets
  targets: Tensor;          // [R, width] float32, where it has
  decoder_input_ids: Tensor;          // [U]
  relative_buckets: Tensor;           // [S, S]
  decoder_relative_buckets: Tensor;   // [V, V], while a model writes [V, kept + V]
}

/** Tasks that the architecture can learn, the usual one first. */
export const tasksOf = ({ model_types: [type] }: Pick<Family, 'model_types'>): readonly Task[] => TASKS_OF[MODEL_TYPES[type]];

/** The weight whose rows are the classes of a classifier. */
export const classWeight = (family: Family, task: string): string => `${family.outputLayer?.(task) ?? family.headModules(task)[0]}.weight`;
