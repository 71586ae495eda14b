/** Gemma 2 (Gemma Team 2024, https://arxiv.org/abs/2408.00118), named as Hugging Face's Gemma2ForCausalLM. */
import * as tf from '@tensorflow/tfjs-core';
import { flag, number, optionalSize } from './config';
import { attend, attentionSpecs, decoderFamily, gatedMlp, layerWindows, mlpSpecs, norm, normSpec, projections, readDecoder, tokensRead, type DecoderConfig } from './decoder';
import type { Config, ForwardContext } from './family';
import { scaledEmbeddings } from './gemma';

interface Gemma2Config extends DecoderConfig { attention_bias: boolean; scale: number; attention_softcap: number | null; logit_softcap: number | null }

/** One layer: hidden_states [T, d] → [n, d], n being T or, in the last layer, R. Every block is normed before and after; norms multiply by 1 + weight. */
function layer(context: ForwardContext, c: Gemma2Config, i: number, hidden_states: tf.Tensor): tf.Tensor {
  const at = `model.layers.${i}`;
  const normed = (name: string, x: tf.Tensor): tf.Tensor => norm(context, `${at}.${name}`, x, c.epsilon, 1);
  const heads = projections(context, `${at}.self_attn`, normed('input_layernorm', hidden_states));
  const attended = attend(context, c, i, heads, { scale: c.scale, softcap: c.attention_softcap });           // [T, h · head_dim]
  const projected = context.linear(`${at}.self_attn.o_proj`, tokensRead(context, c, i, attended));           // [n, d]
  const middle = tf.add(tokensRead(context, c, i, hidden_states), normed('post_attention_layernorm', projected));
  const contracted = gatedMlp(context, c, `${at}.mlp`, normed('pre_feedforward_layernorm', middle));
  return tf.add(middle, normed('post_feedforward_layernorm', contracted));
}

/** A bound for tanh; null turns it off, an absent key stands for `otherwise`. */
const softcap = (config: Config, key: string, otherwise: number): number | null => (config[key] === null ? null : number(config, key, otherwise));

export const gemma2 = decoderFamily<Gemma2Config>({
  model_type: 'gemma2', class_name: 'Gemma2', default_target_modules: ['q_proj', 'v_proj'],
  read(config) {
    const c = readDecoder(config, { tied: true, head_dim: 256, key_value_heads: 4, activation: 'gelu_pytorch_tanh', activation_key: 'hidden_activation' });
    const window = config.sliding_window === undefined ? 4096 : optionalSize(config, 'sliding_window');
    return {
      ...c, windows: layerWindows(config, c.layers, window, i => i % 2 === 0), attention_bias: flag(config, 'attention_bias', false),
      scale: number(config, 'query_pre_attn_scalar', 256) ** -0.5,
      attention_softcap: softcap(config, 'attn_logit_softcapping', 50), logit_softcap: softcap(config, 'final_logit_softcapping', 30),
    };
  },
  layerParameters: (c, at) => [
    normSpec(`${at}.input_layernorm`, c.hidden_size),
    ...attentionSpecs(c, `${at}.self_attn`, { qkv: c.attention_bias, output: c.attention_bias }),
    normSpec(`${at}.post_attention_layernorm`, c.hidden_size),
    normSpec(`${at}.pre_feedforward_layernorm`, c.hidden_size),
    ...mlpSpecs(c, `${at}.mlp`),
    normSpec(`${at}.post_feedforward_layernorm`, c.hidden_size),
  ],
  layer,
  embed: scaledEmbeddings,
  norm_offset: 1,
  softcap: c => c.logit_softcap,
});
