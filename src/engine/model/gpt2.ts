/** GPT-2 (Radford et al. 2019), named as Hugging Face's GPT2LMHeadModel. Its linear layers are Conv1D: weights are [in, out]. */
import * as tf from '@tensorflow/tfjs-core';
import { layerNorm } from '../ops/layerNorm';
import { ACTIVATION_NAMES, ACTIVATIONS, type Activation } from './activations';
import { flag, mustBeOff, number, oneOf, optionalSize, padToken, probability, size, wrongValue } from './config';
import { headSpecs, lastStates, outputWeight, tokensRead, vocabularyLogits } from './decoder';
import type { Config, Family, ForwardContext, ParameterSpec, Task } from './family';
import { decideOutput } from './tying';

interface Gpt2Config {
  vocab_size: number; hidden_size: number; layers: number; heads: number; intermediate_size: number; max_positions: number; epsilon: number;
  embedding_dropout: number; residual_dropout: number; attention_dropout: number; activation: Activation; tied: boolean;
  /** Scores are divided by √head_dim, and by the number of the layer counted from 1. */
  scale_weights: boolean; scale_by_layer: boolean;
}

function readConfig(config: Config): Gpt2Config {
  const hidden_size = size(config, 'n_embd');
  const heads = size(config, 'n_head');
  if (hidden_size % heads !== 0) throw wrongValue('n_head', heads, `a divisor of n_embd ${hidden_size}`);
  mustBeOff(config, 'add_cross_attention');
  return {
    vocab_size: size(config, 'vocab_size'), hidden_size, layers: size(config, 'n_layer'), heads,
    intermediate_size: optionalSize(config, 'n_inner') ?? 4 * hidden_size,
    max_positions: size(config, 'n_positions'),
    epsilon: number(config, 'layer_norm_epsilon', 1e-5),
    embedding_dropout: probability(config, 'embd_pdrop', 0.1),
    residual_dropout: probability(config, 'resid_pdrop', 0.1),
    attention_dropout: probability(config, 'attn_pdrop', 0.1),
    activation: oneOf(config, 'activation_function', ACTIVATION_NAMES, 'gelu_new'),
    tied: flag(config, 'tie_word_embeddings', true),
    scale_weights: flag(config, 'scale_attn_weights', true),
    scale_by_layer: flag(config, 'scale_attn_by_inverse_layer_idx', false),
  };
}

function parameters(config: Config, task: string, num_labels: number): ParameterSpec[] {
  const c = readConfig(config);
  const d = c.hidden_size;
  const conv1d = (name: string, output: number, input: number): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [input, output], kind: 'linear', init: 'normal', fan_in_fan_out: true },
    { name: `${name}.bias`, shape: [output], kind: 'bias', init: 'zeros' },
  ];
  const norm = (name: string): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [d], kind: 'norm', init: 'ones' },
    { name: `${name}.bias`, shape: [d], kind: 'norm', init: 'zeros' },
  ];
  const layer = (at: string): ParameterSpec[] => [
    ...norm(`${at}.ln_1`),
    ...conv1d(`${at}.attn.c_attn`, 3 * d, d),
    ...conv1d(`${at}.attn.c_proj`, d, d),
    ...norm(`${at}.ln_2`),
    ...conv1d(`${at}.mlp.c_fc`, c.intermediate_size, d),
    ...conv1d(`${at}.mlp.c_proj`, d, c.intermediate_size),
  ];
  return [
    { name: 'transformer.wte.weight', shape: [c.vocab_size, d], kind: 'embedding', init: 'normal', ...(c.tied && task === 'CAUSAL_LM' ? { output: true } : {}) },
    { name: 'transformer.wpe.weight', shape: [c.max_positions, d], kind: 'embedding', init: 'normal' },
    ...Array.from({ length: c.layers }, (_, i) => layer(`transformer.h.${i}`)).flat(),
    ...norm('transformer.ln_f'),
    ...headSpecs(task as Task, c, num_labels),
  ];
}

const norm = ({ weight }: ForwardContext, c: Gpt2Config, name: string, x: tf.Tensor): tf.Tensor =>
  layerNorm({ x, gamma: weight(`${name}.weight`), beta: weight(`${name}.bias`) }, { epsilon: c.epsilon });

/** Layer i: hidden_states [T, d] → [n, d], n being T or, in the last layer, R: only what the head reads is computed on. */
function layer(context: ForwardContext, c: Gpt2Config, i: number, hidden_states: tf.Tensor): tf.Tensor {
  const { linear, dropout, attention } = context;
  const at = `transformer.h.${i}`;
  const [q, k, v] = tf.split(linear(`${at}.attn.c_attn`, norm(context, c, `${at}.ln_1`, hidden_states)), 3, 1);   // [T, d] each
  const scale = (c.scale_weights ? Math.sqrt(c.heads / c.hidden_size) : 1) / (c.scale_by_layer ? i + 1 : 1);
  const attended = attention(q, k, v, { scale, dropout: c.attention_dropout });                             // [T, d]
  const projected = linear(`${at}.attn.c_proj`, tokensRead(context, c, i, attended));                        // [n, d]
  const middle = tf.add(tokensRead(context, c, i, hidden_states), dropout(projected, c.residual_dropout));
  const expanded = ACTIVATIONS[c.activation](linear(`${at}.mlp.c_fc`, norm(context, c, `${at}.ln_2`, middle)));   // [n, 4d]
  return tf.add(middle, dropout(linear(`${at}.mlp.c_proj`, expanded), c.residual_dropout));                  // [n, d]
}

/** What the head reads: [R, d]. */
function statesRead(context: ForwardContext, c: Gpt2Config): tf.Tensor {
  const { embed, dropout } = context;
  let hidden_states = dropout(tf.add(embed('transformer.wte', 'input_ids'), embed('transformer.wpe', 'position_ids')), c.embedding_dropout);   // [T, d]
  for (let i = 0; i < c.layers; i++) hidden_states = context.block(`transformer.h.${i}`, [hidden_states], (block, x) => layer(block, c, i, x));
  return norm(context, c, 'transformer.ln_f', lastStates(context, hidden_states));
}

const storedNames = (name: string): string[] => [name, name.replace(/^transformer\./, '')];

export const gpt2: Family = {
  model_types: ['gpt2'],
  default_target_modules: ['c_attn'],
  headModules: task => (task === 'SEQ_CLS' ? ['score'] : []),
  architecture: task => (task === 'SEQ_CLS' ? 'GPT2ForSequenceClassification' : 'GPT2LMHeadModel'),
  parameters,
  // OpenAI's own checkpoints are of the bare model, without a prefix.
  storedNames,
  resolve: (checkpoint, task) => (task === 'CAUSAL_LM' && readConfig(checkpoint.config).tied ? decideOutput(checkpoint, storedNames('transformer.wte.weight')) : checkpoint.config),
  limits(config) {
    const { vocab_size, max_positions } = readConfig(config);
    return { vocab_size, max_positions, type_vocab_size: 1 };
  },
  layout(config, task) {
    const { heads, layers, hidden_size } = readConfig(config);
    return { heads: { query: heads, key_value: heads }, read: task === 'SEQ_CLS' ? 'last' : 'labelled', causal: true, pad_token_id: padToken(config), rotary: null, cache: { layers, head_dim: hidden_size / heads } };
  },
  output(context, config) {
    const c = readConfig(config);
    return { states: statesRead(context, c), weight: outputWeight(c.tied ? 'transformer.wte' : null), softcap: null };
  },
  logits(context, config, task) {
    return task === 'SEQ_CLS' ? context.linear('score', statesRead(context, readConfig(config))) : vocabularyLogits(context, this.output!(context, config));
  },
};
