/**
 * What the decoders of Llama's kind share: configuration, parameters, grouped-query attention with rotary embedding, gated
 * feed-forward, output layer. Each architecture's own file says how they are put together.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { ModelType } from '../../protocol/modelTypes';
import { linear } from '../ops/linear';
import { rmsNorm } from '../ops/rmsNorm';
import { ACTIVATION_NAMES, ACTIVATIONS, type Activation } from './activations';
import { flag, mustBeOff, number, oneOf, optionalSize, padToken, probability, size, wrongValue } from './config';
import type { Config, Family, ForwardContext, OutputStates, ParameterSpec, Task } from './family';
import { rotaryOf, type Rotary, type RotaryOptions } from './rotaryConfig';
import { decideOutput } from './tying';

export interface DecoderConfig {
  vocab_size: number; hidden_size: number; layers: number; heads: number; key_value_heads: number; head_dim: number; intermediate_size: number;
  max_positions: number; epsilon: number; attention_dropout: number; activation: Activation;
  /** The embeddings are the output layer too. */
  tied: boolean;
  /** Of each layer: how many tokens back it sees, itself included; null sees all. */
  windows: (number | null)[];
  rotary: Rotary;
}

export interface DecoderDefaults { tied?: boolean; head_dim?: number; activation?: Activation; activation_key?: string; epsilon?: number; rotary?: RotaryOptions; key_value_heads?: number }

/** The keys that all of these architectures have. `windows` are all null. Error: `checkpoint.config`. */
export function readDecoder(config: Config, defaults: DecoderDefaults = {}): DecoderConfig {
  const [hidden_size, heads, layers] = [size(config, 'hidden_size'), size(config, 'num_attention_heads'), size(config, 'num_hidden_layers')];
  const key_value_heads = optionalSize(config, 'num_key_value_heads') ?? defaults.key_value_heads ?? heads;
  if (heads % key_value_heads !== 0) throw wrongValue('num_key_value_heads', key_value_heads, `a divisor of num_attention_heads ${heads}`);
  const head_dim = optionalSize(config, 'head_dim') ?? defaults.head_dim ?? hidden_size / heads;
  if (!Number.isSafeInteger(head_dim)) throw wrongValue('num_attention_heads', heads, `a divisor of hidden_size ${hidden_size}`);
  mustBeOff(config, 'use_bidirectional_attention', 'add_cross_attention', 'is_encoder_decoder');
  return {
    vocab_size: size(config, 'vocab_size'), hidden_size, layers, heads, key_value_heads, head_dim,
    intermediate_size: size(config, 'intermediate_size'),
    max_positions: size(config, 'max_position_embeddings'),
    epsilon: number(config, 'rms_norm_eps', defaults.epsilon ?? 1e-6),
    attention_dropout: probability(config, 'attention_dropout', 0),
    activation: oneOf(config, defaults.activation_key ?? 'hidden_act', ACTIVATION_NAMES, defaults.activation ?? 'silu'),
    tied: flag(config, 'tie_word_embeddings', defaults.tied ?? false),
    windows: Array.from({ length: layers }, () => null),
    rotary: rotaryOf(config, head_dim, defaults.rotary),
  };
}

/** Windows by `layer_types` where config.json gives them, else by `isSliding`. */
export function layerWindows(config: Config, layers: number, window: number | null, isSliding: (i: number) => boolean): (number | null)[] {
  const types = config.layer_types as string[] | null | undefined;
  const known = ['full_attention', 'sliding_attention'];
  if (types != null && (!Array.isArray(types) || types.length !== layers || !types.every(type => known.includes(type)))) {
    throw wrongValue('layer_types', types, `a list of ${known.join(' and ')}, one for each of the ${layers} layers`);
  }
  return Array.from({ length: layers }, (_, i) => ((types ? types[i] === 'sliding_attention' : isSliding(i)) ? window : null));
}

/** Specification of a Linear's weight and bias. */
export const linearSpec = (name: string, output: number, input: number, bias = false): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [output, input], kind: 'linear', init: 'normal' },
  ...(bias ? [{ name: `${name}.bias`, shape: [output], kind: 'bias' as const, init: 'zeros' as const }] : []),
];
export const normSpec = (name: string, width: number): ParameterSpec => ({ name: `${name}.weight`, shape: [width], kind: 'norm', init: 'ones' });

/** q_proj, k_proj, v_proj and o_proj. */
export function attentionSpecs(c: DecoderConfig, at: string, bias: { qkv: boolean; output: boolean }): ParameterSpec[] {
  return [
    ...linearSpec(`${at}.q_proj`, c.heads * c.head_dim, c.hidden_size, bias.qkv),
    ...linearSpec(`${at}.k_proj`, c.key_value_heads * c.head_dim, c.hidden_size, bias.qkv),
    ...linearSpec(`${at}.v_proj`, c.key_value_heads * c.head_dim, c.hidden_size, bias.qkv),
    ...linearSpec(`${at}.o_proj`, c.hidden_size, c.heads * c.head_dim, bias.output),
  ];
}

/** gate_proj, up_proj and down_proj. */
export function mlpSpecs(c: DecoderConfig, at: string, bias = false): ParameterSpec[] {
  return [
    ...linearSpec(`${at}.gate_proj`, c.intermediate_size, c.hidden_size, bias),
    ...linearSpec(`${at}.up_proj`, c.intermediate_size, c.hidden_size, bias),
    ...linearSpec(`${at}.down_proj`, c.hidden_size, c.intermediate_size, bias),
  ];
}

/** Root mean square norm. x [N, w] → [N, w]. `offset` is added to the stored weight: 1 in Gemma. */
export function norm(context: ForwardContext, name: string, x: tf.Tensor, epsilon: number, offset = 0): tf.Tensor {
  const stored = context.weight(`${name}.weight`);
  return rmsNorm({ x, gamma: offset === 0 ? stored : tf.add(stored, offset) }, { epsilon });
}

/** Attention of layer i over projected heads: q [T, h · head_dim], k and v [T, g · head_dim] → [T, h · head_dim]. */
export function attend(context: ForwardContext, c: DecoderConfig, i: number, [q, k, v]: tf.Tensor[], options: { scale?: number; softcap?: number | null } = {}): tf.Tensor {
  const turned = [q, k].map(x => context.rotary(x, c.head_dim));
  const scale = options.scale ?? 1 / Math.sqrt(c.head_dim);
  return context.attention(turned[0], turned[1], v, { scale, dropout: c.attention_dropout, window: c.windows[i], softcap: options.softcap });
}

/** What follows attention needs only the tokens that are read later: in the last layer those that the head reads. x [T, w] → [n, w]. */
export const tokensRead = (context: ForwardContext, c: { layers: number }, i: number, x: tf.Tensor): tf.Tensor => (i === c.layers - 1 && context.savings.last_layer_positions ? context.headTokens(x) : x);

/** What the head reads of the states after the last layer: [n, d] → [R, d]. */
export const lastStates = (context: ForwardContext, x: tf.Tensor): tf.Tensor => (context.savings.last_layer_positions ? x : context.headTokens(x));

/** q, k and v of layer i: [T, h · head_dim], [T, g · head_dim], [T, g · head_dim]. */
export const projections = (context: ForwardContext, at: string, x: tf.Tensor): tf.Tensor[] => ['q_proj', 'k_proj', 'v_proj'].map(name => context.linear(`${at}.${name}`, x));

/** down(activation(gate(x)) · up(x)). [T, d] → [T, d]. */
export function gatedMlp(context: ForwardContext, c: DecoderConfig, at: string, x: tf.Tensor): tf.Tensor {
  const gate = ACTIVATIONS[c.activation](context.linear(`${at}.gate_proj`, x));                 // [T, f]
  return context.linear(`${at}.down_proj`, tf.mul(gate, context.linear(`${at}.up_proj`, x)));
}

export interface DecoderOptions<C extends DecoderConfig> {
  model_type: ModelType;
  /** Hugging Face's class name before `ForCausalLM`. */
  class_name: string;
  default_target_modules: readonly string[];
  read(config: Config): C;
  /** Parameters of layer i, which stands at `model.layers.i`. */
  layerParameters(c: C, at: string): ParameterSpec[];
  /** hidden_states [T, d] → [n, d]: of all tokens, or in the last layer of those alone that the head reads. */
  layer(context: ForwardContext, c: C, i: number, hidden_states: tf.Tensor): tf.Tensor;
  /** `pad_token_id` where config.json has none. */
  pad_token_id?: number;
  /** Token embeddings [T, d] → the first hidden states. */
  embed?(context: ForwardContext, c: C, embeddings: tf.Tensor): tf.Tensor;
  /** Added to the weight of the last norm. */
  norm_offset?: number;
  /** Bound of a language model's logits. */
  softcap?(c: C): number | null;
}

const EMBEDDINGS = 'model.embed_tokens';

/** The family of an architecture with embeddings, layers, a last norm and a head. */
export function decoderFamily<C extends DecoderConfig>(options: DecoderOptions<C>): Family {
  const { read } = options;
  const storedNames = (name: string): string[] => [name, name.replace(/^model\./, '')];
  return {
    model_types: [options.model_type],
    default_target_modules: options.default_target_modules,
    headModules: task => (task === 'SEQ_CLS' ? ['score'] : []),
    architecture: task => `${options.class_name}For${task === 'SEQ_CLS' ? 'SequenceClassification' : 'CausalLM'}`,
    parameters(config, task, num_labels) {
      const c = read(config);
      return [
        { name: `${EMBEDDINGS}.weight`, shape: [c.vocab_size, c.hidden_size], kind: 'embedding', init: 'normal', padding: padToken(config, options.pad_token_id), ...(c.tied && task === 'CAUSAL_LM' ? { output: true } : {}) },
        ...Array.from({ length: c.layers }, (_, i) => options.layerParameters(c, `model.layers.${i}`)).flat(),
        normSpec('model.norm', c.hidden_size),
        ...headSpecs(task as Task, c, num_labels),
      ];
    },
    // Checkpoints of a bare model have no prefix.
    storedNames,
    resolve: (checkpoint, task) => (task === 'CAUSAL_LM' && read(checkpoint.config).tied ? decideOutput(checkpoint, storedNames(`${EMBEDDINGS}.weight`)) : checkpoint.config),
    limits(config) {
      const { vocab_size, max_positions } = read(config);
      return { vocab_size, max_positions, type_vocab_size: 1 };
    },
    layout(config, task) {
      const c = read(config);
      return { heads: { query: c.heads, key_value: c.key_value_heads }, read: task === 'SEQ_CLS' ? 'last' : 'labelled', causal: true, pad_token_id: padToken(config), rotary: c.rotary, cache: { layers: c.layers, head_dim: c.head_dim } };
    },
    output(context, config) {
      const c = read(config);
      return { states: statesRead(context, c, options), weight: outputWeight(c.tied ? EMBEDDINGS : null), softcap: options.softcap?.(c) ?? null };
    },
    logits(context, config, task) {
      return task === 'SEQ_CLS' ? context.linear('score', statesRead(context, read(config), options)) : vocabularyLogits(context, this.output!(context, config));
    },
  };
}

/** What the head reads: [R, d]. */
function statesRead<C extends DecoderConfig>(context: ForwardContext, c: C, options: DecoderOptions<C>): tf.Tensor {
  const embeddings = context.embed(EMBEDDINGS, 'input_ids');   // [T, d]
  let hidden_states = options.embed?.(context, c, embeddings) ?? embeddings;
  for (let i = 0; i < c.layers; i++) hidden_states = context.block(`model.layers.${i}`, [hidden_states], (block, x) => options.layer(block, c, i, x));
  return norm(context, 'model.norm', lastStates(context, hidden_states), c.epsilon, options.norm_offset);
}

/** The head's parameters. A tied output layer has none of its own. */
export function headSpecs(task: Task, c: { hidden_size: number; vocab_size: number; tied: boolean }, num_labels: number): ParameterSpec[] {
  if (task === 'SEQ_CLS') return linearSpec('score', num_labels, c.hidden_size);
  return c.tied ? [] : [{ name: 'lm_head.weight', shape: [c.vocab_size, c.hidden_size], kind: 'linear', init: 'normal', output: true }];
}

const HEAD = 'lm_head';

/** Name of the output layer's weight: that of `lm_head`, or the embeddings where they are tied to it. */
export const outputWeight = (tied: string | null): string => `${tied ?? HEAD}.weight`;

/** [R, vocab_size] */
export function vocabularyLogits(context: ForwardContext, { states, weight, softcap }: OutputStates): tf.Tensor {
  const logits = context.vocabulary(weight === outputWeight(null) ? context.linear(HEAD, states) : linear({ x: states, w: context.weight(weight) }, { bias: false }), states);
  return softcap === null ? logits : tf.mul(tf.tanh(tf.div(logits, softcap)), softcap);
}
