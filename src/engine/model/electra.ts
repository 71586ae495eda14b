/** ELECTRA (Clark et al. 2020, https://arxiv.org/abs/2003.10555): BERT's layers over embeddings that may be narrower, and a head of two layers. */
import { ACTIVATIONS } from './activations';
import { optionalSize } from './config';
import { denseSpecs, embeddingSpecs, embedTokens, encode, encoderClass, encoderLayout, encoderNames, layerSpecs, readEncoder, tagLogits, type EncoderConfig } from './encoder';
import type { Config, Family } from './family';

const readConfig = (config: Config): EncoderConfig => ({ ...readEncoder(config), embedding_size: optionalSize(config, 'embedding_size') ?? 128 });

export const electra: Family = {
  model_types: ['electra'],
  default_target_modules: ['query', 'value'],
  headModules: () => ['classifier'],
  outputLayer: task => (task === 'TOKEN_CLS' ? 'classifier' : 'classifier.out_proj'),
  architecture: task => encoderClass('Electra', task),
  parameters(config, task, num_labels) {
    const c = readConfig(config);
    const d = c.hidden_size;
    return [
      ...embeddingSpecs(c, 'electra'),
      ...(c.embedding_size === d ? [] : denseSpecs('electra.embeddings_project', d, c.embedding_size)),
      ...layerSpecs(c, 'electra'),
      ...(task === 'TOKEN_CLS' ? denseSpecs('classifier', num_labels, d) : [...denseSpecs('classifier.dense', d, d), ...denseSpecs('classifier.out_proj', num_labels, d)]),
    ];
  },
  storedNames: name => encoderNames(name, 'electra'),
  limits: config => readConfig(config),
  layout: (config, task) => encoderLayout(readConfig(config), task),
  /** Logits [B, num_labels], of tags [R, num_labels]. */
  logits(context, config, task) {
    const c = readConfig(config);
    const { linear, dropout } = context;
    const narrow = embedTokens(context, c, 'electra');                                                    // [T, embedding_size]
    const embedded = c.embedding_size === c.hidden_size ? narrow : linear('electra.embeddings_project', narrow);   // [T, d]
    const states = encode(context, c, 'electra', embedded);                                               // [B, d], of tags [R, d]
    if (task === 'TOKEN_CLS') return tagLogits(context, states, c.classifier_dropout);
    const first = dropout(states, c.classifier_dropout);                                                  // [B, d]
    // The head's activation is GELU whatever config.json says of the layers.
    const hidden = dropout(ACTIVATIONS.gelu(linear('classifier.dense', first)), c.classifier_dropout);    // [B, d]
    return linear('classifier.out_proj', hidden);                                                         // [B, num_labels]
  },
};
