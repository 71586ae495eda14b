/** Mistral (Jiang et al. 2023, https://arxiv.org/abs/2310.06825), named as Hugging Face's MistralForCausalLM: Llama with a sliding window. */
import { optionalSize } from './config';
import { decoderFamily, readDecoder } from './decoder';
import { llamaLayer, llamaLayerParameters } from './llama';

export const mistral = decoderFamily({
  model_type: 'mistral', class_name: 'Mistral', default_target_modules: ['q_proj', 'v_proj'],
  read(config) {
    const c = readDecoder(config, { key_value_heads: 8 });
    const window = config.sliding_window === undefined ? 4096 : optionalSize(config, 'sliding_window');
    return { ...c, windows: c.windows.map(() => window) };
  },
  layerParameters: (c, at) => llamaLayerParameters(c, at, { qkv: false, output: false, mlp: false }),
  layer: llamaLayer,
});
