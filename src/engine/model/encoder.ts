/** What the encoders of BERT's kind share: configuration, parameters, embeddings, layers. Each architecture's own file says how they are put together. */
import * as tf from '@tensorflow/tfjs-core';
import { layerNorm } from '../ops/layerNorm';
import { ACTIVATION_NAMES, ACTIVATIONS, type Activation } from './activations';
import { mustBeOff, number, oneOf, optionalSize, padToken, probability, size, wrongValue } from './config';
import { linearSpec } from './decoder';
import type { Config, ForwardContext, IndexName, ParameterSpec } from './family';
import type { BatchLayout } from '../training/layout';

export interface EncoderConfig {
  vocab_size: number; hidden_size: number; embedding_size: number; layers: number; heads: number; intermediate_size: number; max_positions: number;
  type_vocab_size: number; pad_token_id: number | null; epsilon: number; hidden_dropout: number; attention_dropout: number; classifier_dropout: number; activation: Activation;
}

/** The keys that BERT, RoBERTa and ELECTRA have in common. Error: `checkpoint.config`. */
export function readEncoder(config: Config): EncoderConfig {
  const [hidden_size, heads] = [size(config, 'hidden_size'), size(config, 'num_attention_heads')];
  if (hidden_size % heads !== 0) throw wrongValue('num_attention_heads', heads, `a divisor of hidden_size ${hidden_size}`);
  mustBeOff(config, 'is_decoder', 'add_cross_attention');
  oneOf(config, 'position_embedding_type', ['absolute'], 'absolute');
  const hidden_dropout = probability(config, 'hidden_dropout_prob', 0.1);
  return {
    vocab_size: size(config, 'vocab_size'), hidden_size, embedding_size: hidden_size, layers: size(config, 'num_hidden_layers'), heads,
    intermediate_size: size(config, 'intermediate_size'),
    max_positions: size(config, 'max_position_embeddings'),
    type_vocab_size: optionalSize(config, 'type_vocab_size') ?? 2,
    pad_token_id: padToken(config, 0),
    epsilon: number(config, 'layer_norm_eps', 1e-12),
    hidden_dropout,
    attention_dropout: probability(config, 'attention_probs_dropout_prob', 0.1),
    classifier_dropout: config.classifier_dropout == null ? hidden_dropout : probability(config, 'classifier_dropout', 0.1),
    activation: oneOf(config, 'hidden_act', ACTIVATION_NAMES, 'gelu'),
  };
}

/** A Linear with its bias: weight [output, input]. */
export const denseSpecs = (name: string, output: number, input: number): ParameterSpec[] => linearSpec(name, output, input, true);

export const normSpecs = (name: string, width: number): ParameterSpec[] => [
  { name: `${name}.weight`, shape: [width], kind: 'norm', init: 'ones' },
  { name: `${name}.bias`, shape: [width], kind: 'norm', init: 'zeros' },
];

export const embeddingSpec = (name: string, rows: number, width: number, padding: number | null = null): ParameterSpec => ({ name: `${name}.weight`, shape: [rows, width], kind: 'embedding', init: 'normal', padding });

/** `<at>.embeddings`: words, positions and segments, and the norm of their sum. */
export function embeddingSpecs(c: EncoderConfig, at: string, padded_positions = false): ParameterSpec[] {
  const embedding = (name: string, rows: number, padding: number | null = null): ParameterSpec => embeddingSpec(`${at}.embeddings.${name}`, rows, c.embedding_size, padding);
  return [
    embedding('word_embeddings', c.vocab_size, c.pad_token_id),
    embedding('position_embeddings', c.max_positions, padded_positions ? c.pad_token_id : null),
    embedding('token_type_embeddings', c.type_vocab_size),
    ...normSpecs(`${at}.embeddings.LayerNorm`, c.embedding_size),
  ];
}

/** `<at>.encoder.layer.N`. */
export function layerSpecs(c: EncoderConfig, at: string): ParameterSpec[] {
  const d = c.hidden_size;
  const layer = (prefix: string): ParameterSpec[] => [
    ...['query', 'key', 'value'].flatMap(name => denseSpecs(`${prefix}.attention.self.${name}`, d, d)),
    ...denseSpecs(`${prefix}.attention.output.dense`, d, d),
    ...normSpecs(`${prefix}.attention.output.LayerNorm`, d),
    ...denseSpecs(`${prefix}.intermediate.dense`, c.intermediate_size, d),
    ...denseSpecs(`${prefix}.output.dense`, d, c.intermediate_size),
    ...normSpecs(`${prefix}.output.LayerNorm`, d),
  ];
  return Array.from({ length: c.layers }, (_, i) => layer(`${at}.encoder.layer.${i}`)).flat();
}

/** Layer norm of x [n, w] by the parameters of a module. */
export const normOf = ({ weight }: ForwardContext, name: string, x: tf.Tensor, epsilon: number): tf.Tensor =>
  layerNorm({ x, gamma: weight(`${name}.weight`), beta: weight(`${name}.bias`) }, { epsilon });

/** Words, segments and positions of the batch's tokens, summed and normed: [T, embedding_size]. */
export function embedTokens(context: ForwardContext, c: EncoderConfig, at: string): tf.Tensor {
  const { embed, dropout } = context;
  const rows = (name: string, ids: IndexName): tf.Tensor => embed(`${at}.embeddings.${name}`, ids);
  const sum = tf.add(tf.add(rows('word_embeddings', 'input_ids'), rows('token_type_embeddings', 'token_type_ids')), rows('position_embeddings', 'position_ids'));
  return dropout(normOf(context, `${at}.embeddings.LayerNorm`, sum, c.epsilon), c.hidden_dropout);
}

/** Whether the last layer is computed for the first tokens alone, because nothing else of it is read. */
export const readsEarly = ({ reads, savings }: ForwardContext): boolean => reads === 'first' && savings.last_layer_positions;

/** All layers: [T, d] → what the head reads of the last one, [R, d]. */
export function encode(context: ForwardContext, c: EncoderConfig, at: string, embedded: tf.Tensor): tf.Tensor {
  let hidden_states = embedded;                                                                            // [T, d]
  for (let i = 0; i < c.layers; i++) {
    const layer = `${at}.encoder.layer.${i}`;
    hidden_states = context.block(layer, [hidden_states], (block, x) => encoderLayer(block, c, layer, x, i === c.layers - 1));
  }
  return readsEarly(context) ? hidden_states : context.headTokens(hidden_states);
}

/** hidden_states [T, d] → [n, d]: if only the first tokens of the last layer are read, only they are computed: n is T, in the last layer then B. */
function encoderLayer(context: ForwardContext, c: EncoderConfig, layer: string, hidden_states: tf.Tensor, last: boolean): tf.Tensor {
  const { linear, dropout, attention, headTokens } = context;
  const scale = 1 / Math.sqrt(c.hidden_size / c.heads);
  const rows = last && readsEarly(context) ? headTokens(hidden_states) : hidden_states;                    // [n, d]
  const q = linear(`${layer}.attention.self.query`, rows);                                                 // [n, d]
  const [k, v] = ['key', 'value'].map(name => linear(`${layer}.attention.self.${name}`, hidden_states));   // [T, d] each
  const attended = attention(q, k, v, { scale, dropout: c.attention_dropout });                            // [n, d]
  const projected = dropout(linear(`${layer}.attention.output.dense`, attended), c.hidden_dropout);
  const middle = normOf(context, `${layer}.attention.output.LayerNorm`, tf.add(projected, rows), c.epsilon);   // [n, d]
  const expanded = ACTIVATIONS[c.activation](linear(`${layer}.intermediate.dense`, middle));               // [n, 4d]
  const contracted = dropout(linear(`${layer}.output.dense`, expanded), c.hidden_dropout);                 // [n, d]
  return normOf(context, `${layer}.output.LayerNorm`, tf.add(contracted, middle), c.epsilon);
}

/** Checkpoints of a bare model have no prefix; those converted from TensorFlow call a norm's parameters gamma and beta. */
export function encoderNames(name: string, prefix: string): string[] {
  const old = name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta');
  const bare = (n: string): string => (n.startsWith(`${prefix}.`) ? n.slice(prefix.length + 1) : n);
  return [...new Set([name, old, bare(name), bare(old)])];
}

/** The class of an encoder that Hugging Face has for a task. */
export const encoderClass = (model: string, task: string): string => `${model}For${task === 'TOKEN_CLS' ? 'Token' : 'Sequence'}Classification`;

/** The head of token classification: one linear layer over every token that is read. [R, d] → [R, num_labels]. */
export const tagLogits = ({ linear, dropout }: ForwardContext, states: tf.Tensor, p: number): tf.Tensor => linear('classifier', dropout(states, p));

/** Everything is seen, and the head reads the first token of each example, or those that have a tag. */
export const encoderLayout = ({ heads }: { heads: number }, task: string): BatchLayout => ({
  heads: { query: heads, key_value: heads }, read: task === 'TOKEN_CLS' ? 'labelled' : 'first', causal: false, pad_token_id: null, position_padding: null, rotary: null,
});
