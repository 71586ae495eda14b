/** BERT (Devlin et al. 2018, https://arxiv.org/abs/1810.04805), named as Hugging Face's BertForSequenceClassification. */
import * as tf from '@tensorflow/tfjs-core';
import { layerNorm } from '../ops/layerNorm';
import { LabError } from '../errors';
import { ACTIVATION_NAMES, ACTIVATIONS, type Activation } from './activations';
import { number, oneOf, probability, size } from './config';
import type { Config, Family, ForwardContext, ParameterSpec } from './family';

interface BertConfig {
  vocab_size: number; hidden_size: number; layers: number; heads: number; intermediate_size: number; max_positions: number;
  type_vocab_size: number; epsilon: number; hidden_dropout: number; attention_dropout: number; classifier_dropout: number;
  activation: Activation;
}

function readConfig(config: Config): BertConfig {
  const hidden_dropout = probability(config, 'hidden_dropout_prob', 0.1);
  const bert: BertConfig = {
    vocab_size: size(config, 'vocab_size'),
    hidden_size: size(config, 'hidden_size'),
    layers: size(config, 'num_hidden_layers'),
    heads: size(config, 'num_attention_heads'),
    intermediate_size: size(config, 'intermediate_size'),
    max_positions: size(config, 'max_position_embeddings'),
    type_vocab_size: size({ type_vocab_size: 2, ...config }, 'type_vocab_size'),
    epsilon: number(config, 'layer_norm_eps', 1e-12),
    hidden_dropout,
    attention_dropout: probability(config, 'attention_probs_dropout_prob', 0.1),
    classifier_dropout: config.classifier_dropout == null ? hidden_dropout : probability(config, 'classifier_dropout', 0.1),
    activation: oneOf(config, 'hidden_act', ACTIVATION_NAMES, 'gelu'),
  };
  oneOf(config, 'position_embedding_type', ['absolute'], 'absolute');
  if (config.is_decoder === true || config.add_cross_attention === true) {
    throw new LabError({ code: 'checkpoint.config', file: 'config.json', where: 'is_decoder', cause: 'BERT as a decoder is not supported', action: 'use an encoder checkpoint' });
  }
  if (bert.hidden_size % bert.heads !== 0) {
    throw new LabError({
      code: 'checkpoint.config', file: 'config.json', where: 'num_attention_heads',
      cause: `hidden_size ${bert.hidden_size} is not a multiple of num_attention_heads ${bert.heads}`, action: 'use the config.json that belongs to this checkpoint',
    });
  }
  return bert;
}

function parameters(config: Config, _task: string, num_labels: number): ParameterSpec[] {
  const { vocab_size, hidden_size: d, layers, intermediate_size, max_positions, type_vocab_size } = readConfig(config);
  const linear = (name: string, output: number, input: number): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [output, input], kind: 'linear', init: 'normal' },
    { name: `${name}.bias`, shape: [output], kind: 'bias', init: 'zeros' },
  ];
  const embedding = (name: string, rows: number): ParameterSpec => ({ name: `bert.embeddings.${name}.weight`, shape: [rows, d], kind: 'embedding', init: 'normal' });
  const norm = (name: string): ParameterSpec[] => [
    { name: `${name}.weight`, shape: [d], kind: 'norm', init: 'ones' },
    { name: `${name}.bias`, shape: [d], kind: 'norm', init: 'zeros' },
  ];
  const layer = (i: number): ParameterSpec[] => {
    const at = `bert.encoder.layer.${i}`;
    return [
      ...['query', 'key', 'value'].flatMap(name => linear(`${at}.attention.self.${name}`, d, d)),
      ...linear(`${at}.attention.output.dense`, d, d),
      ...norm(`${at}.attention.output.LayerNorm`),
      ...linear(`${at}.intermediate.dense`, intermediate_size, d),
      ...linear(`${at}.output.dense`, d, intermediate_size),
      ...norm(`${at}.output.LayerNorm`),
    ];
  };
  return [
    embedding('word_embeddings', vocab_size),
    embedding('position_embeddings', max_positions),
    embedding('token_type_embeddings', type_vocab_size),
    ...norm('bert.embeddings.LayerNorm'),
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
    ...linear('bert.pooler.dense', d, d),
    ...linear('classifier', num_labels, d),
  ];
}

/** Logits [B, num_labels]. */
function logits(context: ForwardContext, config: Config): tf.Tensor {
  const bert = readConfig(config);
  const { batch, weight, linear, dropout, attention, headTokens } = context;
  const norm = (name: string, x: tf.Tensor): tf.Tensor =>
    layerNorm({ x, gamma: weight(`${name}.weight`), beta: weight(`${name}.bias`) }, { epsilon: bert.epsilon });
  const embed = (name: string, ids: tf.Tensor): tf.Tensor => tf.gather(weight(`bert.embeddings.${name}.weight`), ids as tf.Tensor1D);

  const embeddings = tf.add(
    tf.add(embed('word_embeddings', batch.input_ids), embed('token_type_embeddings', batch.token_type_ids)),
    embed('position_embeddings', batch.position_ids),
  );
  let hidden_states = dropout(norm('bert.embeddings.LayerNorm', embeddings), bert.hidden_dropout);      // [T, d]

  for (let i = 0; i < bert.layers; i++) {
    const at = `bert.encoder.layer.${i}`;
    // Only the first tokens of the last layer are read, so only they are computed: n is T, in the last layer B.
    const rows = i === bert.layers - 1 ? headTokens(hidden_states) : hidden_states;                       // [n, d]
    const q = linear(`${at}.attention.self.query`, rows);                                                  // [n, d]
    const [k, v] = ['key', 'value'].map(name => linear(`${at}.attention.self.${name}`, hidden_states));    // [T, d] each
    const scale = 1 / Math.sqrt(bert.hidden_size / bert.heads);
    const attended = attention(q, k, v, { scale, dropout: bert.attention_dropout });                       // [n, d]
    const projected = dropout(linear(`${at}.attention.output.dense`, attended), bert.hidden_dropout);
    const middle = norm(`${at}.attention.output.LayerNorm`, tf.add(projected, rows));                      // [n, d]
    const expanded = ACTIVATIONS[bert.activation](linear(`${at}.intermediate.dense`, middle));             // [n, 4d]
    const contracted = dropout(linear(`${at}.output.dense`, expanded), bert.hidden_dropout);               // [n, d]
    hidden_states = norm(`${at}.output.LayerNorm`, tf.add(contracted, middle));
  }

  const pooled = dropout(tf.tanh(linear('bert.pooler.dense', hidden_states)), bert.classifier_dropout);     // [B, d]
  return linear('classifier', pooled);                                                                     // [B, num_labels]
}

export const bert: Family = {
  model_types: ['bert'],
  tasks: ['SEQ_CLS'],
  default_target_modules: ['query', 'value'],
  headModules: () => ['classifier'],
  architecture: () => 'BertForSequenceClassification',
  parameters,
  // Checkpoints of a bare BertModel have no prefix; those converted from TensorFlow call a norm's parameters gamma and beta.
  storedNames(name) {
    const old = name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta');
    const bare = (n: string): string => n.replace(/^bert\./, '');
    return [...new Set([name, old, bare(name), bare(old)])];
  },
  limits(config) {
    const { vocab_size, max_positions, type_vocab_size } = readConfig(config);
    return { vocab_size, max_positions, type_vocab_size };
  },
  layout(config) {
    const { heads } = readConfig(config);
    return { heads: { query: heads, key_value: heads }, read: 'first', causal: false, pad_token_id: null, rotary: null };
  },
  logits,
};
