/** Rotary embedding as config.json describes it: `rope_parameters`, or `rope_theta` with `rope_scaling` in older files. */
import { number, oneOf, wrongValue } from './config';
import type { Config } from './family';

const TYPES = ['default', 'linear', 'llama3'] as const;

/**
 * Angle by which each pair of units turns from one position to the next, [dim / 2]: base^(−2i/dim), then scaled as `rope_type` says.
 * Rounded to float32 where transformers rounds. Errors: `checkpoint.config` for a type or a value that is not supported.
 */
export function rotaryFrequencies(config: Config, head_dim: number, options: { partial?: boolean } = {}): Float32Array {
  const rope = ropeOf(config);
  const base = number(rope, 'rope_theta', number(config, 'rope_theta', 10000));
  const share = number(rope, 'partial_rotary_factor', number(config, 'partial_rotary_factor', 1));
  if (share !== 1 && !options.partial || share <= 0 || share > 1) throw wrongValue('partial_rotary_factor', share, 'supported for this architecture');
  const dim = Math.floor(head_dim * share);
  if (dim % 2 !== 0 || dim < 2) throw wrongValue('head_dim', head_dim, 'a size whose rotated part can be halved');
  const plain = Float32Array.from({ length: dim / 2 }, (_, i) => 1 / Math.fround(base ** Math.fround((2 * i) / dim)));
  switch (oneOf({ rope_type: rope.rope_type ?? rope.type }, 'rope_type', TYPES, 'default')) {
    case 'default': return plain;
    case 'linear': return plain.map(frequency => frequency / number(rope, 'factor', 1));
    case 'llama3': return llama3(plain, rope, number(rope, 'original_max_position_embeddings', number(config, 'max_position_embeddings', 8192)));
  }
}

function ropeOf(config: Config): Config {
  const rope = config.rope_parameters ?? config.rope_scaling ?? {};
  if (typeof rope !== 'object' || Array.isArray(rope) || Object.values(rope).some(value => typeof value === 'object' && value !== null)) {
    throw wrongValue(config.rope_parameters == null ? 'rope_scaling' : 'rope_parameters', rope, 'supported; one set of numbers for all layers is');
  }
  return rope as Config;
}

/** Llama 3.1's scaling: long waves are stretched by `factor`, short ones stay, those in between are mixed (https://arxiv.org/abs/2407.21783). */
function llama3(frequencies: Float32Array, rope: Config, context: number): Float32Array {
  const [factor, low, high] = [number(rope, 'factor', 8), number(rope, 'low_freq_factor', 1), number(rope, 'high_freq_factor', 4)];
  return frequencies.map(frequency => {
    const wave = (2 * Math.PI) / frequency;
    if (wave < context / high) return frequency;
    if (wave > context / low) return frequency / factor;
    const smooth = (context / wave - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}
