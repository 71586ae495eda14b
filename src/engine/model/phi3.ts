/** Phi-3 (Abdin et al. 2024, https://arxiv.org/abs/2404.14219), named as Hugging Face's Phi3ForCausalLM: q, k, v and gate, up in one matrix each. */
import * as tf from '@tensorflow/tfjs-core';
import { ACTIVATIONS } from './activations';
import { optionalSize, probability } from './config';
import { attend, decoderFamily, linearSpec, norm, normSpec, readDecoder, tokensRead, type DecoderConfig } from './decoder';
import type { ForwardContext } from './family';
import type { RotaryOptions } from './rotaryConfig';

interface Phi3Config extends DecoderConfig { residual_dropout: number }

/** LongRoPE was called "su" and "yarn" here before it had its name. */
const ROTARY: RotaryOptions = { partial: true, types: ['default', 'longrope'], renamed: { su: 'longrope', yarn: 'longrope' }, original: 4096 };

/** One layer: hidden_states [T, d] → [n, d], n being T or, in the last layer, R. */
function layer(context: ForwardContext, c: Phi3Config, i: number, hidden_states: tf.Tensor): tf.Tensor {
  const at = `model.layers.${i}`;
  const [h, g] = [c.heads * c.head_dim, c.key_value_heads * c.head_dim];
  const qkv = context.linear(`${at}.self_attn.qkv_proj`, norm(context, `${at}.input_layernorm`, hidden_states, c.epsilon));   // [T, h + 2g]
  const attended = attend(context, c, i, tf.split(qkv, [h, g, g], 1));                                                         // [T, h]
  const projected = context.linear(`${at}.self_attn.o_proj`, tokensRead(context, c, i, attended));                             // [n, d]
  const middle = tf.add(tokensRead(context, c, i, hidden_states), context.dropout(projected, c.residual_dropout));
  const [gate, up] = tf.split(context.linear(`${at}.mlp.gate_up_proj`, norm(context, `${at}.post_attention_layernorm`, middle, c.epsilon)), 2, 1);   // [n, f] each
  const contracted = context.linear(`${at}.mlp.down_proj`, tf.mul(up, ACTIVATIONS[c.activation](gate)));                       // [n, d]
  return tf.add(middle, context.dropout(contracted, c.residual_dropout));
}

export const phi3 = decoderFamily<Phi3Config>({
  model_type: 'phi3', class_name: 'Phi3', default_target_modules: [], pad_token_id: 32_000,
  read(config) {
    const c = readDecoder(config, { epsilon: 1e-5, rotary: ROTARY });
    const window = optionalSize(config, 'sliding_window');
    return { ...c, windows: c.windows.map(() => window), residual_dropout: probability(config, 'resid_pdrop', 0) };
  },
  layerParameters: (c, at) => [
    normSpec(`${at}.input_layernorm`, c.hidden_size),
    ...linearSpec(`${at}.self_attn.qkv_proj`, (c.heads + 2 * c.key_value_heads) * c.head_dim, c.hidden_size),
    ...linearSpec(`${at}.self_attn.o_proj`, c.hidden_size, c.heads * c.head_dim),
    normSpec(`${at}.post_attention_layernorm`, c.hidden_size),
    ...linearSpec(`${at}.mlp.gate_up_proj`, 2 * c.intermediate_size, c.hidden_size),
    ...linearSpec(`${at}.mlp.down_proj`, c.hidden_size, c.intermediate_size),
  ],
  layer,
});
