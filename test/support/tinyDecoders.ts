/** Small language models with random weights in memory, one or more of each architecture, and texts for them. */
import { families } from '../../src/engine/model/families';
import { familyOf } from '../../src/engine/model/loadModel';
import type { LoadedModel, Weight } from '../../src/engine/model/weights';
import { random } from '../../src/engine/random';
import { IGNORED, type Example } from '../../src/engine/training/step.types';

const VOCABULARY = 40;
const LLAMA = {
  vocab_size: VOCABULARY, hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 24, max_position_embeddings: 32,
};

/** config.json of each case, by a name. */
export const TINY_DECODERS: Record<string, Record<string, unknown>> = {
  gpt2: { model_type: 'gpt2', vocab_size: VOCABULARY, n_embd: 16, n_layer: 2, n_head: 4, n_positions: 32, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 },
  'gpt2 with its own switches': { model_type: 'gpt2', vocab_size: VOCABULARY, n_embd: 16, n_layer: 2, n_head: 2, n_positions: 32, n_inner: 20, activation_function: 'relu', scale_attn_by_inverse_layer_idx: true, tie_word_embeddings: false, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 },
  llama: { ...LLAMA, model_type: 'llama' },
  'llama with scaled rotary embedding, biases and tied head': {
    ...LLAMA, model_type: 'llama', num_key_value_heads: 1, attention_bias: true, mlp_bias: true, tie_word_embeddings: true,
    rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 16 },
  },
  'mistral with a window': { ...LLAMA, model_type: 'mistral', sliding_window: 3 },
  qwen2: { ...LLAMA, model_type: 'qwen2' },
  qwen3: { ...LLAMA, model_type: 'qwen3', head_dim: 6 },
  gemma: { ...LLAMA, model_type: 'gemma', head_dim: 6 },
  'gemma2 with windows': { ...LLAMA, model_type: 'gemma2', head_dim: 6, sliding_window: 3, query_pre_attn_scalar: 9, attn_logit_softcapping: 2, final_logit_softcapping: 3 },
  phi3: { ...LLAMA, model_type: 'phi3', partial_rotary_factor: 0.5 },
};

export function tinyDecoder(config: Record<string, unknown>, task: string, labels: string[] = [], seed = 1): LoadedModel {
  const family = familyOf(config, families, '');
  const parameters = family.parameters(config, task, labels.length);
  const weights = new Map<string, Weight>();
  for (const { name, shape, kind } of parameters) {
    const generator = random(seed, name);
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => generator.normal() * 0.3 + (kind === 'norm' && name.endsWith('weight') ? 1 : 0));
    weights.set(name, { source: 'memory', shape, data });
  }
  return { folder: '', family, config, task, problem_type: 'single_label_classification', labels, parameters, weights, missing: [], fingerprint: '' };
}

/** Examples of the given lengths whose second half, at least one token, is learned. */
export function tinyTexts(lengths: number[], seed = 2): Example[] {
  const generator = random(seed, 'texts');
  const token = (): number => Math.floor(generator.next() * VOCABULARY);
  return lengths.map(length => {
    const input_ids = Int32Array.from({ length }, token);
    const targets = input_ids.map((_, i) => (i < length - 1 && i >= Math.floor(length / 2) - 1 ? input_ids[i + 1] : IGNORED));
    return { input_ids, token_type_ids: null, label: token() % 3, targets };
  });
}
