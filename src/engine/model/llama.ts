/** Llama (Touvron et al. 2023, https://arxiv.org/abs/2302.13971), named as Hugging Face's LlamaForCausalLM. */
import * as tf from '@tensorflow/tfjs-core';
import { flag } from './config';
import { attend, attentionSpecs, decoderFamily, gatedMlp, mlpSpecs, norm, normSpec, projections, readDecoder, tokensRead, type DecoderConfig } from './decoder';
import type { ForwardContext, ParameterSpec } from './family';

interface LlamaConfig extends DecoderConfig { attention_bias: boolean; mlp_bias: boolean }

/** Parameters of one layer; those of Mistral and Qwen2 differ only in their biases. */
export function llamaLayerParameters(c: DecoderConfig, at: string, bias: { qkv: boolean; output: boolean; mlp: boolean }): ParameterSpec[] {
  return [
    normSpec(`${at}.input_layernorm`, c.hidden_size),
    ...attentionSpecs(c, `${at}.self_attn`, bias),
    normSpec(`${at}.post_attention_layernorm`, c.hidden_size),
    ...mlpSpecs(c, `${at}.mlp`, bias.mlp),
  ];
}

/** One layer: hidden_states [T, d] → [n, d], n being T or, in the last layer, R. */
export function llamaLayer(context: ForwardContext, c: DecoderConfig, i: number, hidden_states: tf.Tensor): tf.Tensor {
  const at = `model.layers.${i}`;
  const normed = norm(context, `${at}.input_layernorm`, hidden_states, c.epsilon);
  const attended = attend(context, c, i, projections(context, `${at}.self_attn`, normed));                 // [T, h · head_dim]
  const projected = context.linear(`${at}.self_attn.o_proj`, tokensRead(context, c, i, attended));          // [n, d]
  const middle = tf.add(tokensRead(context, c, i, hidden_states), projected);
  return tf.add(middle, gatedMlp(context, c, `${at}.mlp`, norm(context, `${at}.post_attention_layernorm`, middle, c.epsilon)));
}

export const llama = decoderFamily<LlamaConfig>({
  model_type: 'llama', class_name: 'Llama', default_target_modules: ['q_proj', 'v_proj'],
  read: config => ({ ...readDecoder(config), attention_bias: flag(config, 'attention_bias', false), mlp_bias: flag(config, 'mlp_bias', false) }),
  layerParameters: (c, at) => llamaLayerParameters(c, at, { qkv: c.attention_bias, output: c.attention_bias, mlp: c.mlp_bias }),
  layer: llamaLayer,
});
