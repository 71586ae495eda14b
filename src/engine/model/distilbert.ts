/** DistilBERT (Sanh et al. 2019, https://arxiv.org/abs/1910.01108), named as Hugging Face's DistilBertForSequenceClassification. It has no segments. */
import * as tf from '@tensorflow/tfjs-core';
import { ACTIVATION_NAMES, ACTIVATIONS, type Activation } from './activations';
import { oneOf, padToken, probability, size, wrongValue } from './config';
import { denseSpecs, embeddingSpec, encoderClass, encoderLayout, encoderNames, normOf, normSpecs, readsEarly, tagLogits } from './encoder';
import type { Config, Family, ForwardContext, ParameterSpec } from './family';

/** Not a key of config.json: the architecture fixes it. */
const EPSILON = 1e-12;

interface DistilBertConfig {
  vocab_size: number; hidden_size: number; layers: number; heads: number; intermediate_size: number; max_positions: number;
  dropout: number; attention_dropout: number; classifier_dropout: number; activation: Activation;
}

function readConfig(config: Config): DistilBertConfig {
  const [hidden_size, heads] = [size(config, 'dim'), size(config, 'n_heads')];
  if (hidden_size % heads !== 0) throw wrongValue('n_heads', heads, `a divisor of dim ${hidden_size}`);
  return {
    vocab_size: size(config, 'vocab_size'), hidden_size, layers: size(config, 'n_layers'), heads,
    intermediate_size: size(config, 'hidden_dim'),
    max_positions: size(config, 'max_position_embeddings'),
    dropout: probability(config, 'dropout', 0.1),
    attention_dropout: probability(config, 'attention_dropout', 0.1),
    classifier_dropout: probability(config, 'seq_classif_dropout', 0.2),
    activation: oneOf(config, 'activation', ACTIVATION_NAMES, 'gelu'),
  };
}

function layerParameters({ hidden_size: d, intermediate_size }: DistilBertConfig, at: string): ParameterSpec[] {
  return [
    ...['q_lin', 'k_lin', 'v_lin', 'out_lin'].flatMap(name => denseSpecs(`${at}.attention.${name}`, d, d)),
    ...normSpecs(`${at}.sa_layer_norm`, d),
    ...denseSpecs(`${at}.ffn.lin1`, intermediate_size, d),
    ...denseSpecs(`${at}.ffn.lin2`, d, intermediate_size),
    ...normSpecs(`${at}.output_layer_norm`, d),
  ];
}

/** What the head reads of the last layer: [R, d]. */
function encode(context: ForwardContext, c: DistilBertConfig): tf.Tensor {
  const { embed, dropout } = context;
  const embeddings = tf.add(embed('distilbert.embeddings.word_embeddings', 'input_ids'), embed('distilbert.embeddings.position_embeddings', 'position_ids'));
  let hidden_states = dropout(normOf(context, 'distilbert.embeddings.LayerNorm', embeddings, EPSILON), c.dropout);   // [T, d]
  for (let i = 0; i < c.layers; i++) {
    const at = `distilbert.transformer.layer.${i}`;
    hidden_states = context.block(at, [hidden_states], (block, x) => layer(block, c, at, x, i === c.layers - 1));
  }
  return readsEarly(context) ? hidden_states : context.headTokens(hidden_states);
}

/** hidden_states [T, d] → [n, d]: if only the first tokens of the last layer are read, only they are computed: n is T, in the last layer then B. */
function layer(context: ForwardContext, c: DistilBertConfig, at: string, hidden_states: tf.Tensor, last: boolean): tf.Tensor {
  const { linear, dropout, attention, headTokens } = context;
  const rows = last && readsEarly(context) ? headTokens(hidden_states) : hidden_states;                    // [n, d]
  const q = linear(`${at}.attention.q_lin`, rows);                                                         // [n, d]
  const [k, v] = ['k_lin', 'v_lin'].map(name => linear(`${at}.attention.${name}`, hidden_states));         // [T, d] each
  const attended = attention(q, k, v, { scale: 1 / Math.sqrt(c.hidden_size / c.heads), dropout: c.attention_dropout });   // [n, d]
  const middle = normOf(context, `${at}.sa_layer_norm`, tf.add(linear(`${at}.attention.out_lin`, attended), rows), EPSILON);   // [n, d]
  const expanded = ACTIVATIONS[c.activation](linear(`${at}.ffn.lin1`, middle));                            // [n, 4d]
  const contracted = dropout(linear(`${at}.ffn.lin2`, expanded), c.dropout);                               // [n, d]
  return normOf(context, `${at}.output_layer_norm`, tf.add(contracted, middle), EPSILON);
}

export const distilbert: Family = {
  model_types: ['distilbert'],
  // PEFT names none; these are what query and value are called here.
  default_target_modules: ['q_lin', 'v_lin'],
  // PEFT trains every module whose name ends in "classifier".
  headModules: task => (task === 'TOKEN_CLS' ? ['classifier'] : ['pre_classifier', 'classifier']),
  outputLayer: () => 'classifier',
  architecture: task => encoderClass('DistilBert', task),
  parameters(config, task, num_labels) {
    const c = readConfig(config);
    const d = c.hidden_size;
    return [
      embeddingSpec('distilbert.embeddings.word_embeddings', c.vocab_size, d, padToken(config, 0)),
      embeddingSpec('distilbert.embeddings.position_embeddings', c.max_positions, d),
      ...normSpecs('distilbert.embeddings.LayerNorm', d),
      ...Array.from({ length: c.layers }, (_, i) => layerParameters(c, `distilbert.transformer.layer.${i}`)).flat(),
      ...(task === 'TOKEN_CLS' ? [] : denseSpecs('pre_classifier', d, d)), ...denseSpecs('classifier', num_labels, d),
    ];
  },
  storedNames: name => encoderNames(name, 'distilbert'),
  limits: config => ({ ...readConfig(config), type_vocab_size: 0 }),
  layout: (config, task) => encoderLayout(readConfig(config), task),
  /** Logits [B, num_labels], of tags [R, num_labels]. */
  logits(context, config, task) {
    const c = readConfig(config);
    const { linear, dropout } = context;
    const states = encode(context, c);                                                                   // [B, d], of tags [R, d]
    if (task === 'TOKEN_CLS') return tagLogits(context, states, c.dropout);
    const hidden = dropout(tf.relu(linear('pre_classifier', states)), c.classifier_dropout);  // [B, d]
    return linear('classifier', hidden);                                                                 // [B, num_labels]
  },
};
