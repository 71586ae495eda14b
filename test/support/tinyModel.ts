/** A small BERT with random weights in memory, and examples for it. */
import { bert } from '../../src/engine/model/bert';
import { families } from '../../src/engine/model/families';
import { familyOf } from '../../src/engine/model/loadModel';
import type { Family } from '../../src/engine/model/family';
import type { LoadedModel, Weight } from '../../src/engine/model/weights';
import type { Example } from '../../src/engine/training/step.types';
import { parseExperiment, type Experiment, type ProblemType } from '../../src/protocol/experiment';
import { random } from '../../src/engine/random';

export const TINY_CONFIG = {
  model_type: 'bert', vocab_size: 50, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 24,
  max_position_embeddings: 20, type_vocab_size: 2, hidden_act: 'gelu', layer_norm_eps: 1e-12,
  hidden_dropout_prob: 0, attention_probs_dropout_prob: 0,
};

/** config.json of the other encoders, with what differs from BERT's. */
export const TINY_ENCODERS: Record<string, Record<string, unknown>> = {
  roberta: { model_type: 'roberta', type_vocab_size: 2, pad_token_id: 1, max_position_embeddings: 22 },
  electra: { model_type: 'electra', embedding_size: 8 },
  distilbert: { model_type: 'distilbert', dim: 16, n_layers: 2, n_heads: 4, hidden_dim: 24, dropout: 0, attention_dropout: 0, seq_classif_dropout: 0 },
};

/** A small encoder of any architecture, as `tinyBert`. */
export function tinyEncoder(config: Record<string, unknown>, labels = ['a', 'b', 'c'], problem_type: ProblemType = 'single_label_classification', seed = 1, task = 'SEQ_CLS'): LoadedModel {
  return { ...tinyBert(config, labels, seed, familyOf({ ...TINY_CONFIG, ...config }, families, ''), task), problem_type };
}

export function tinyBert(config: Record<string, unknown> = {}, labels = ['a', 'b', 'c'], seed = 1, family: Family = bert, task = 'SEQ_CLS'): LoadedModel {
  const full = { ...TINY_CONFIG, ...config };
  const parameters = family.parameters(full, task, labels.length);
  const weights = new Map<string, Weight>();
  for (const { name, shape, kind } of parameters) {
    const generator = random(seed, name);
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => generator.normal() * 0.3 + (kind === 'norm' && name.endsWith('weight') ? 1 : 0));
    weights.set(name, { source: 'memory', shape, data });
  }
  return { folder: '', family, config: full, task, problem_type: 'single_label_classification', labels, parameters, weights, missing: [], fingerprint: '' };
}

/** Examples of the given lengths with random tokens and labels. */
export function tinyExamples(lengths: number[], classes = 3, seed = 2): Example[] {
  const generator = random(seed, 'examples');
  return lengths.map(length => ({
    input_ids: Int32Array.from({ length }, () => Math.floor(generator.next() * 50)),
    token_type_ids: Int32Array.from({ length }, (_, i) => (i > length / 2 ? 1 : 0)),
    label: Math.floor(generator.next() * classes),
  }));
}

/** An experiment with these LoRA and training settings, all others at their defaults; with `full` the whole model is trained. */
export function settings(lora: object = {}, training: object = {}): Experiment {
  const { experiment, problems } = parseExperiment({ base_model: 'model', dataset: { train: 'train.jsonl' }, lora: 'full' in lora ? null : lora, training });
  if (!experiment) throw new Error(JSON.stringify(problems));
  return experiment;
}
