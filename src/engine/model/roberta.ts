/** RoBERTa (Liu et al. 2019, https://arxiv.org/abs/1907.11692): BERT with positions counted from the padding token's number on, and a head of two layers. */
import * as tf from '@tensorflow/tfjs-core';
import { padToken, wrongValue } from './config';
import { denseSpecs, embeddingSpecs, embedTokens, encode, encoderClass, encoderLayout, encoderNames, layerSpecs, readEncoder, tagLogits } from './encoder';
import type { Config, Family } from './family';

/** The first position is the one after this. */
const paddingPosition = (config: Config): number => padToken(config) ?? 1;

export const roberta: Family = {
  model_types: ['roberta'],
  default_target_modules: ['query', 'value'],
  headModules: () => ['classifier'],
  outputLayer: task => (task === 'TOKEN_CLS' ? 'classifier' : 'classifier.out_proj'),
  architecture: task => encoderClass('Roberta', task),
  parameters(config, task, num_labels) {
    const c = readEncoder(config);
    const d = c.hidden_size;
    return [...embeddingSpecs({ ...c, pad_token_id: padToken(config, 1) }, 'roberta', true), ...layerSpecs(c, 'roberta'), ...(task === 'TOKEN_CLS' ? denseSpecs('classifier', num_labels, d) : [...denseSpecs('classifier.dense', d, d), ...denseSpecs('classifier.out_proj', num_labels, d)])];
  },
  storedNames: name => encoderNames(name, 'roberta'),
  limits(config) {
    const { vocab_size, max_positions, type_vocab_size } = readEncoder(config);
    const positions = max_positions - paddingPosition(config) - 1;
    if (positions < 1) throw wrongValue('max_position_embeddings', max_positions, `above pad_token_id ${paddingPosition(config)} + 1`);
    return { vocab_size, max_positions: positions, type_vocab_size };
  },
  layout: (config, task) => ({ ...encoderLayout(readEncoder(config), task), position_padding: paddingPosition(config) }),
  /** Logits [B, num_labels], of tags [R, num_labels]. */
  logits(context, config, task) {
    const c = readEncoder(config);
    const { linear, dropout } = context;
    const states = encode(context, c, 'roberta', embedTokens(context, c, 'roberta'));                                 // [B, d], of tags [R, d]
    if (task === 'TOKEN_CLS') return tagLogits(context, states, c.classifier_dropout);
    const first = dropout(states, c.classifier_dropout);                                                             // [B, d]
    const hidden = dropout(tf.tanh(linear('classifier.dense', first)), c.classifier_dropout);                        // [B, d]
    return linear('classifier.out_proj', hidden);                                                                    // [B, num_labels]
  },
};
