/** Gemma (Gemma Team 2024, https://arxiv.org/abs/2403.08295), named as Hugging Face's GemmaForCausalLM. */
import * as tf from '@tensorflow/tfjs-core';
import { flag } from './config';
import { attend, decoderFamily, gatedMlp, norm, projections, readDecoder, tokensRead, type DecoderConfig } from './decoder';
import type { ForwardContext } from './family';
import { llamaLayerParameters } from './llama';

interface GemmaConfig extends DecoderConfig { attention_bias: boolean }

/** One layer: hidden_states [T, d] → [n, d], n being T or, in the last layer, R. Norms multiply by 1 + weight. */
function layer(context: ForwardContext, c: GemmaConfig, i: number, hidden_states: tf.Tensor): tf.Tensor {
  const at = `model.layers.${i}`;
  const normed = norm(context, `${at}.input_layernorm`, hidden_states, c.epsilon, 1);
  const attended = attend(context, c, i, projections(context, `${at}.self_attn`, normed));                 // [T, h · head_dim]
  const projected = context.linear(`${at}.self_attn.o_proj`, tokensRead(context, c, i, attended));          // [n, d]
  const middle = tf.add(tokensRead(context, c, i, hidden_states), projected);
  return tf.add(middle, gatedMlp(context, c, `${at}.mlp`, norm(context, `${at}.post_attention_layernorm`, middle, c.epsilon, 1)));
}

/** Token embeddings times √d: [T, d] → [T, d]. */
export const scaledEmbeddings = (_context: ForwardContext, c: DecoderConfig, embeddings: tf.Tensor): tf.Tensor => tf.mul(embeddings, Math.sqrt(c.hidden_size));

export const gemma = decoderFamily<GemmaConfig>({
  model_type: 'gemma', class_name: 'Gemma', default_target_modules: ['q_proj', 'v_proj'], pad_token_id: 0,
  read(config) {
    const c = readDecoder(config, { tied: true, head_dim: 256, activation: 'gelu_pytorch_tanh' });
    // The first Gemma files say gelu and mean its approximation.
    return { ...c, activation: c.activation === 'gelu' ? 'gelu_pytorch_tanh' : c.activation, attention_bias: flag(config, 'attention_bias', false) };
  },
  layerParameters: (c, at) => llamaLayerParameters(c, at, { qkv: c.attention_bias, output: c.attention_bias, mlp: false }),
  layer,
  embed: scaledEmbeddings,
  norm_offset: 1,
});
