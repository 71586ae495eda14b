/** Qwen3 (Yang et al. 2025, https://arxiv.org/abs/2505.09388), named as Hugging Face's Qwen3ForCausalLM: every head of q and k is normed. */
import * as tf from '@tensorflow/tfjs-core';
import { flag } from './config';
import { attend, decoderFamily, gatedMlp, norm, normSpec, projections, tokensRead, type DecoderConfig } from './decoder';
import type { ForwardContext } from './family';
import { llamaLayerParameters } from './llama';
import { readQwen } from './qwen2';

interface Qwen3Config extends DecoderConfig { attention_bias: boolean }

/** One layer: hidden_states [T, d] → [n, d], n being T or, in the last layer, R. */
function layer(context: ForwardContext, c: Qwen3Config, i: number, hidden_states: tf.Tensor): tf.Tensor {
  const at = `model.layers.${i}`;
  const normed = norm(context, `${at}.input_layernorm`, hidden_states, c.epsilon);
  const [q, k, v] = projections(context, `${at}.self_attn`, normed);                                        // [T, h · head_dim], [T, g · head_dim] twice
  const normHeads = (name: string, x: tf.Tensor): tf.Tensor =>
    tf.reshape(norm(context, `${at}.self_attn.${name}`, tf.reshape(x, [-1, c.head_dim]), c.epsilon), x.shape as [number, number]);
  const attended = attend(context, c, i, [normHeads('q_norm', q), normHeads('k_norm', k), v]);              // [T, h · head_dim]
  const projected = context.linear(`${at}.self_attn.o_proj`, tokensRead(context, c, i, attended));          // [n, d]
  const middle = tf.add(tokensRead(context, c, i, hidden_states), projected);
  return tf.add(middle, gatedMlp(context, c, `${at}.mlp`, norm(context, `${at}.post_attention_layernorm`, middle, c.epsilon)));
}

export const qwen3 = decoderFamily<Qwen3Config>({
  model_type: 'qwen3', class_name: 'Qwen3', default_target_modules: ['q_proj', 'v_proj'],
  read: config => ({ ...readQwen(config, { head_dim: 128 }), attention_bias: flag(config, 'attention_bias', false) }),
  layerParameters: (c, at) => [
    ...llamaLayerParameters(c, at, { qkv: c.attention_bias, output: c.attention_bias, mlp: false }),
    normSpec(`${at}.self_attn.q_norm`, c.head_dim), normSpec(`${at}.self_attn.k_norm`, c.head_dim),
  ],
  layer,
});
