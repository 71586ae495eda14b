/** BERT (Devlin et al. 2018, https://arxiv.org/abs/1810.04805), named as Hugging Face's BertForSequenceClassification and BertForTokenClassification. */
import * as tf from '@tensorflow/tfjs-core';
import { denseSpecs, embeddingSpecs, embedTokens, encode, encoderClass, encoderLayout, encoderNames, layerSpecs, readEncoder, tagLogits } from './encoder';
import type { Family } from './family';

export const bert: Family = {
  model_types: ['bert'],
  default_target_modules: ['query', 'value'],
  headModules: () => ['classifier'],
  architecture: task => encoderClass('Bert', task),
  parameters(config, task, num_labels) {
    const c = readEncoder(config);
    const d = c.hidden_size;
    return [...embeddingSpecs(c, 'bert'), ...layerSpecs(c, 'bert'), ...(task === 'TOKEN_CLS' ? [] : denseSpecs('bert.pooler.dense', d, d)), ...denseSpecs('classifier', num_labels, d)];
  },
  storedNames: name => encoderNames(name, 'bert'),
  limits: config => readEncoder(config),
  layout: (config, task) => encoderLayout(readEncoder(config), task),
  /** Logits [B, num_labels], of tags [R, num_labels]. */
  logits(context, config, task) {
    const c = readEncoder(config);
    const { linear, dropout } = context;
    const states = encode(context, c, 'bert', embedTokens(context, c, 'bert'));                           // [B, d], of tags [R, d]
    if (task === 'TOKEN_CLS') return tagLogits(context, states, c.classifier_dropout);
    const pooled = dropout(tf.tanh(linear('bert.pooler.dense', states)), c.classifier_dropout);            // [B, d]
    return linear('classifier', pooled);                                                                 // [B, num_labels]
  },
};
