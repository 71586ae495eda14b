/** Small encoder-decoders with random weights in memory, and pairs of texts for them. */
import { random } from '../../src/engine/random';
import type { Example } from '../../src/engine/training/step.types';

const VOCABULARY = 40;
const T5 = {
  model_type: 't5', vocab_size: VOCABULARY, d_model: 16, d_kv: 6, d_ff: 24, num_heads: 4, num_layers: 2, relative_attention_num_buckets: 8, relative_attention_max_distance: 12,
  decoder_start_token_id: 0, pad_token_id: 0, eos_token_id: 1, dropout_rate: 0,
};

/** config.json of each case, by a name. */
export const TINY_T5: Record<string, Record<string, unknown>> = {
  't5 v1.0': T5,
  't5 v1.1': { ...T5, feed_forward_proj: 'gated-gelu', tie_word_embeddings: false, num_layers: 1, num_decoder_layers: 2 },
  mt5: { ...T5, model_type: 'mt5', feed_forward_proj: 'gated-gelu' },
};

/** Examples of the given lengths of source and target. */
export function tinyPairs(lengths: [number, number][], seed = 2): Example[] {
  const generator = random(seed, 'pairs');
  const tokens = (length: number): Int32Array => Int32Array.from({ length }, () => Math.floor(generator.next() * VOCABULARY));
  return lengths.map(([source, target]) => {
    const [input_ids, targets] = [tokens(source), tokens(target)];
    return { input_ids, token_type_ids: null, label: 0, targets, decoder_input_ids: Int32Array.from([0, ...targets.slice(0, -1)]) };
  });
}
