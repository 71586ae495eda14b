/** T5 and mT5 (Raffel et al. 2019, https://arxiv.org/abs/1910.10683), named as Hugging Face's T5ForConditionalGeneration. */
import * as tf from '@tensorflow/tfjs-core';
import { ACTIVATION_NAMES, ACTIVATIONS, type Activation } from './activations';
import { flag, mustBeOff, number, oneOf, optionalSize, padToken, probability, size, wrongValue } from './config';
import { linearSpec, norm, normSpec, outputWeight, vocabularyLogits } from './decoder';
import type { Config, Family, ForwardContext, OutputStates, ParameterSpec } from './family';
import type { RelativePositions } from './relativePosition';
import { decideTying } from './tying';

interface T5Config {
  vocab_size: number; hidden_size: number; head_dim: number; heads: number; intermediate_size: number; epsilon: number; dropout: number;
  layers: { encoder: number; decoder: number };
  relative: RelativePositions;
  activation: Activation; gated: boolean;
  /** The embeddings are the output layer too. */
  tied: boolean;
  /** The states are multiplied by d^−0.5 before the output layer, as in the first T5. */
  scaled: boolean;
  decoder_start_token_id: number;
}

const STACKS = ['encoder', 'decoder'] as const;
type Stack = (typeof STACKS)[number];

function readConfig(config: Config): T5Config {
  const multilingual = config.model_type === 'mt5';
  mustBeOff(config, 'is_decoder');
  if (!flag(config, 'is_encoder_decoder', true)) throw wrongValue('is_encoder_decoder', false, 'supported; only true is');
  const [hidden_size, layers] = [size(config, 'd_model'), size(config, 'num_layers')];
  const vocab_size = size(config, 'vocab_size');
  const relative = { buckets: optionalSize(config, 'relative_attention_num_buckets') ?? 32, max_distance: optionalSize(config, 'relative_attention_max_distance') ?? 128 };
  if (relative.buckets < 4) throw wrongValue('relative_attention_num_buckets', relative.buckets, 'a whole number of at least 4');
  if (relative.max_distance <= relative.buckets / 2) throw wrongValue('relative_attention_max_distance', relative.max_distance, `above half of the ${relative.buckets} buckets`);
  const decoder_start_token_id = config.decoder_start_token_id ?? (multilingual ? 0 : undefined);
  if (!Number.isSafeInteger(decoder_start_token_id) || (decoder_start_token_id as number) < 0 || (decoder_start_token_id as number) >= vocab_size) {
    throw wrongValue('decoder_start_token_id', decoder_start_token_id, `a token of the vocabulary of ${vocab_size}`);
  }
  const tied = flag(config, 'tie_word_embeddings', true);
  return {
    vocab_size, hidden_size, relative, tied, decoder_start_token_id: decoder_start_token_id as number,
    head_dim: size(config, 'd_kv'), heads: size(config, 'num_heads'), intermediate_size: size(config, 'd_ff'),
    epsilon: number(config, 'layer_norm_epsilon', 1e-6),
    dropout: probability(config, 'dropout_rate', 0.1),
    layers: { encoder: layers, decoder: optionalSize(config, 'num_decoder_layers') ?? layers },
    ...feedForward(config, multilingual ? 'gated-gelu' : 'relu'),
    scaled: !multilingual && flag(config, 'scale_decoder_outputs', tied),
  };
}

/** `relu`, `gated-gelu`, …: the function, and whether a second projection is multiplied with it. */
function feedForward(config: Config, otherwise: string): Pick<T5Config, 'activation' | 'gated'> {
  const supported = [...ACTIVATION_NAMES, ...ACTIVATION_NAMES.map(name => `gated-${name}`)];
  const chosen = oneOf(config, 'feed_forward_proj', supported, otherwise);
  const gated = chosen.startsWith('gated-');
  // Gated GELU has always meant the approximation with tanh.
  return { gated, activation: chosen === 'gated-gelu' ? 'gelu_new' : chosen.replace('gated-', '') as Activation };
}

const attentionOf = (stack: Stack, i: number): string => `${stack}.block.${i}.layer.0.SelfAttention`;
const biasOf = (stack: Stack): string => `${attentionOf(stack, 0)}.relative_attention_bias`;

function parameters(config: Config): ParameterSpec[] {
  const c = readConfig(config);
  const [d, inner] = [c.hidden_size, c.heads * c.head_dim];
  const attention = (at: string): ParameterSpec[] => [
    ...['q', 'k', 'v'].flatMap(name => linearSpec(`${at}.${name}`, inner, d)),
    ...linearSpec(`${at}.o`, d, inner),
  ];
  const block = (stack: Stack, i: number): ParameterSpec[] => {
    const at = `${stack}.block.${i}.layer`;
    const last = stack === 'encoder' ? 1 : 2;
    return [
      ...attention(attentionOf(stack, i)),
      ...(i === 0 ? [{ name: `${biasOf(stack)}.weight`, shape: [c.relative.buckets, c.heads], kind: 'embedding' as const, init: 'normal' as const, fixed: 'the position bias stays as it is' }] : []),
      normSpec(`${at}.0.layer_norm`, d),
      ...(stack === 'decoder' ? [...attention(`${at}.1.EncDecAttention`), normSpec(`${at}.1.layer_norm`, d)] : []),
      ...(c.gated ? ['wi_0', 'wi_1'] : ['wi']).flatMap(name => linearSpec(`${at}.${last}.DenseReluDense.${name}`, c.intermediate_size, d)),
      ...linearSpec(`${at}.${last}.DenseReluDense.wo`, d, c.intermediate_size),
      normSpec(`${at}.${last}.layer_norm`, d),
    ];
  };
  return [
    { name: 'shared.weight', shape: [c.vocab_size, d], kind: 'embedding', init: 'normal', modules: STACKS.map(stack => `${stack}.embed_tokens`), ...(c.tied ? { output: true } : {}), fixed: 'encoder and decoder use it under other names, where a trained copy would not be read' },
    ...STACKS.flatMap(stack => [...Array.from({ length: c.layers[stack] }, (_, i) => block(stack, i)).flat(), normSpec(`${stack}.final_layer_norm`, d)]),
    ...(c.tied ? [] : [{ name: 'lm_head.weight', shape: [c.vocab_size, d], kind: 'linear' as const, init: 'normal' as const, output: true as const }]),
  ];
}

/** One stack: its tokens → hidden states [N, d] before the last norm. `encoded` [T, d] is what the decoder attends to; null where its keys and values are there already. */
function runStack(context: ForwardContext, c: T5Config, stack: Stack, encoded: tf.Tensor | null = null): tf.Tensor {
  const { embed, dropout } = context;
  const biases = embed(biasOf(stack), stack === 'encoder' ? 'relative_buckets' : 'decoder_relative_buckets');       // [S, S, h]
  const position_bias = tf.transpose(biases, [2, 0, 1]);                                                            // [h, S, S]
  let hidden_states = dropout(embed(`${stack}.embed_tokens`, stack === 'encoder' ? 'input_ids' : 'decoder_input_ids'), c.dropout);   // [N, d]
  for (let i = 0; i < c.layers[stack]; i++) {
    const at = `${stack}.block.${i}`;
    hidden_states = encoded ? context.block(at, [hidden_states, encoded], (block, x, e, bias) => layer(block, c, stack, i, x, bias, e), [position_bias])
      : context.block(at, [hidden_states], (block, x, bias) => layer(block, c, stack, i, x, bias), [position_bias]);
  }
  return hidden_states;
}

/** Keys and values of the source in layer i of the decoder: encoded [T, d] → [T, h · head_dim] each. */
const sourceHeads = ({ linear }: ForwardContext, i: number, encoded: tf.Tensor): tf.Tensor[] => ['k', 'v'].map(name => linear(`decoder.block.${i}.layer.1.EncDecAttention.${name}`, encoded));

/** Layer i of a stack: hidden_states [N, d], position_bias [h, S, S] → [N, d]. */
function layer(context: ForwardContext, c: T5Config, stack: Stack, i: number, hidden_states: tf.Tensor, position_bias: tf.Tensor, encoded: tf.Tensor | null = null): tf.Tensor {
  const { linear, dropout, attention } = context;
  const at = `${stack}.block.${i}.layer`;
  const self = attentionOf(stack, i);
  const normed = norm(context, `${at}.0.layer_norm`, hidden_states, c.epsilon);
  const [q, k, v] = ['q', 'k', 'v'].map(name => linear(`${self}.${name}`, normed));                                 // [N, h · head_dim] each
  const attended = attention(q, k, v, { scale: 1, dropout: c.dropout, between: stack, position_bias });
  const seen = tf.add(hidden_states, dropout(linear(`${self}.o`, attended), c.dropout));
  const joined = stack === 'decoder' ? tf.add(seen, crossAttention(context, c, i, seen, encoded)) : seen;
  const last = `${at}.${stack === 'encoder' ? 1 : 2}`;
  const forwarded = feed(context, c, `${last}.DenseReluDense`, norm(context, `${last}.layer_norm`, joined, c.epsilon));
  return tf.add(joined, dropout(forwarded, c.dropout));                                                             // [N, d]
}

/** hidden_states [U, d], encoded [T, d] → [U, d] */
function crossAttention(context: ForwardContext, c: T5Config, i: number, hidden_states: tf.Tensor, encoded: tf.Tensor | null): tf.Tensor {
  const { linear, dropout, attention } = context;
  const at = `decoder.block.${i}.layer.1`;
  const q = linear(`${at}.EncDecAttention.q`, norm(context, `${at}.layer_norm`, hidden_states, c.epsilon));         // [U, h · head_dim]
  const [k, v] = encoded ? sourceHeads(context, i, encoded) : context.sourceHeads(i);
  const attended = attention(q, k, v, { scale: 1, dropout: c.dropout, between: 'cross' });
  return dropout(linear(`${at}.EncDecAttention.o`, attended), c.dropout);
}

/** [N, d] → [N, d] */
function feed({ linear, dropout }: ForwardContext, c: T5Config, at: string, x: tf.Tensor): tf.Tensor {
  const activated = ACTIVATIONS[c.activation](linear(`${at}.${c.gated ? 'wi_0' : 'wi'}`, x));                       // [N, f]
  return linear(`${at}.wo`, dropout(c.gated ? tf.mul(activated, linear(`${at}.wi_1`, x)) : activated, c.dropout));
}

function encode(context: ForwardContext, config: Config): tf.Tensor {
  const c = readConfig(config);
  return context.dropout(norm(context, 'encoder.final_layer_norm', runStack(context, c, 'encoder'), c.epsilon), c.dropout);
}

function decodedStates(context: ForwardContext, config: Config, encoded: tf.Tensor | null): OutputStates {
  const c = readConfig(config);
  const hidden_states = runStack(context, c, 'decoder', encoded);                                                  // [U, d]
  const read = context.dropout(norm(context, 'decoder.final_layer_norm', context.headTokens(hidden_states), c.epsilon), c.dropout);
  return { states: c.scaled ? tf.mul(read, c.hidden_size ** -0.5) : read, weight: outputWeight(c.tied ? 'shared' : null), softcap: null };
}

const decode = (context: ForwardContext, config: Config, encoded: tf.Tensor | null): tf.Tensor => vocabularyLogits(context, decodedStates(context, config, encoded));

export const t5: Family = {
  model_types: ['t5', 'mt5'],
  default_target_modules: ['q', 'v'],
  headModules: () => [],
  // A merged mT5 stays one.
  architecture: (_task, config) => (config.model_type === 'mt5' ? 'MT5ForConditionalGeneration' : 'T5ForConditionalGeneration'),
  parameters,
  // Each stack may store the shared embeddings under its own name.
  storedNames: name => (name === 'shared.weight' ? [name, 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'] : [name]),
  resolve: decideTying,
  limits: config => ({ vocab_size: readConfig(config).vocab_size, max_positions: Number.MAX_SAFE_INTEGER, type_vocab_size: 0 }),
  layout(config) {
    const { heads, relative, layers, head_dim } = readConfig(config);
    return { heads: { query: heads, key_value: heads }, read: 'labelled', causal: false, pad_token_id: padToken(config), rotary: null, relative, decoder: true, cache: { layers: layers.decoder, head_dim } };
  },
  output: (context, config) => decodedStates(context, config, encode(context, config)),
  logits: (context, config) => decode(context, config, encode(context, config)),
  seq2seq: { encode, sourceHeads: (context, _config, i, encoded) => sourceHeads(context, i, encoded), decode, startToken: config => readConfig(config).decoder_start_token_id },
};
