/** Qwen2 (Yang et al. 2024, https://arxiv.org/abs/2407.10671), named as Hugging Face's Qwen2ForCausalLM: Llama with biases on q, k and v. */
import { flag, optionalSize, size } from './config';
import { decoderFamily, layerWindows, readDecoder, type DecoderConfig, type DecoderDefaults } from './decoder';
import type { Config } from './family';
import { llamaLayer, llamaLayerParameters } from './llama';

/** Qwen's windows: off by default; else on all layers from `max_window_layers` on, or as `layer_types` says. */
export function readQwen(config: Config, defaults: DecoderDefaults = {}): DecoderConfig {
  const c = readDecoder(config, defaults);
  const on = flag(config, 'use_sliding_window', false);
  const window = on ? config.sliding_window === undefined ? 4096 : optionalSize(config, 'sliding_window') : null;
  const first = config.max_window_layers === 0 ? 0 : size({ max_window_layers: 28, ...config }, 'max_window_layers');
  return { ...c, windows: layerWindows(config, c.layers, window, i => i >= first) };
}

export const qwen2 = decoderFamily({
  model_type: 'qwen2', class_name: 'Qwen2', default_target_modules: ['q_proj', 'v_proj'],
  read: config => readQwen(config),
  layerParameters: (c, at) => llamaLayerParameters(c, at, { qkv: true, output: false, mlp: false }),
  layer: llamaLayer,
});
