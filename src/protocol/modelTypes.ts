/**
 * Every `model_type` of config.json that can be trained, with the kind of its model. The engine's families name theirs from this table, and
 * take their tasks from it; the editor reads it where it asks no engine.
 */
import type { TASKS } from './experiment';

export type ModelKind = 'encoder' | 'decoder' | 'encoder-decoder';

export const MODEL_TYPES = {
  bert: 'encoder', roberta: 'encoder', distilbert: 'encoder', electra: 'encoder',
  gpt2: 'decoder', llama: 'decoder', mistral: 'decoder', qwen2: 'decoder', qwen3: 'decoder', gemma: 'decoder', gemma2: 'decoder', phi3: 'decoder',
  t5: 'encoder-decoder', mt5: 'encoder-decoder',
} as const satisfies Record<string, ModelKind>;
export type ModelType = keyof typeof MODEL_TYPES;

/** What a model of each kind can learn, the usual task first. */
export const TASKS_OF: Record<ModelKind, readonly (typeof TASKS)[number][]> = {
  encoder: ['SEQ_CLS', 'TOKEN_CLS'], decoder: ['CAUSAL_LM', 'SEQ_CLS'], 'encoder-decoder': ['SEQ_2_SEQ_LM'],
};

/** The kind of a `model_type`; undefined for one that cannot be trained. */
export const kindOfModel = (model_type: unknown): ModelKind | undefined => (typeof model_type === 'string' && Object.hasOwn(MODEL_TYPES, model_type) ? MODEL_TYPES[model_type as ModelType] : undefined);
