/** BERT (Devlin et al. 2018, https://arxiv.org/abs/1810.04805), named as Hugging Face's BertForSequenceClassification. */
import * as tf from '@tensorflow/tfjs-core';
import { denseSpecs, embeddingSpecs, embedTokens, encode, encoderLayout, encoderNames, layerSpecs, readEncoder } from './encoder';
import type { Family } from './family';

export const bert: Family = {
  model_types: ['bert'],
  tasks: ['SEQ_CLS'],
  default_target_modules: ['query', 'value'],
  headModules: () => ['classifier'],
  architecture: () => 'BertForSequenceClassification',
  parameters(config, _task, num_labels) {
    const c = readEncoder(config);
    const d = c.hidden_size;
    return [...embeddingSpecs(c, 'bert'), ...layerSpecs(c, 'bert'), ...denseSpecs('bert.pooler.dense', d, d), ...denseSpecs('classifier', num_labels, d)];
  },
  storedNames: name => encoderNames(name, 'bert'),
  limits: config => readEncoder(config),
  layout: config => encoderLayout(readEncoder(config)),
  /** Logits [B, num_labels]. */
  logits(context, config) {
    const c = readEncoder(config);
    const { linear, dropout } = context;
    const first = encode(context, c, 'bert', embedTokens(context, c, 'bert'));                            // [B, d]
    const pooled = dropout(tf.tanh(linear('bert.pooler.dense', first)), c.classifier_dropout);            // [B, d]
    return linear('classifier', pooled);                                                                 // [B, num_labels]
  },
};
