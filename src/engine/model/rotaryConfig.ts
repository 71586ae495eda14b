/** Rotary embedding as config.json describes it: `rope_parameters`, or `rope_theta` with `rope_scaling` in older files. */
import { flag, number, oneOf, optionalSize, wrongValue } from './config';
import type { Config } from './family';

/** What turns the heads' units by their positions. */
export interface Rotary {
  /** Pairs of units that are turned. */
  readonly length: number;
  /** Angle by which each pair turns from one position to the next, [length]. Rounded to float32 where transformers rounds. */
  readonly frequencies: Float32Array;
  /** Cosines and sines are multiplied by this. */
  readonly scaling: number;
  /** Angles in a batch with an example of more than `beyond` positions: of LongRoPE. */
  readonly long: { readonly frequencies: Float32Array; readonly beyond: number } | null;
}

const TYPES = ['default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope'] as const;
type RopeType = (typeof TYPES)[number];

export interface RotaryOptions {
  /** The architecture turns a share of each head's units. */
  partial?: boolean;
  /** Types that the architecture has; all by default. */
  types?: readonly RopeType[];
  /** Older names of types. */
  renamed?: Readonly<Record<string, RopeType>>;
  /** `original_max_position_embeddings` where config.json does not say. */
  original?: number;
}

/** The rotary embedding of heads of `head_dim` units. Errors: `checkpoint.config` for a type or a value that is not supported. */
export function rotaryOf(config: Config, head_dim: number, { partial = false, types = TYPES, renamed = {}, original }: RotaryOptions = {}): Rotary {
  const rope = ropeOf(config);
  const base = number(rope, 'rope_theta', number(config, 'rope_theta', 10000));
  const share = number(rope, 'partial_rotary_factor', number(config, 'partial_rotary_factor', 1));
  if (share !== 1 && !partial || share <= 0 || share > 1) throw wrongValue('partial_rotary_factor', share, 'supported for this architecture');
  const dim = Math.floor(head_dim * share);
  if (dim % 2 !== 0 || dim < 2) throw wrongValue('head_dim', head_dim, 'a size whose rotated part can be halved');
  // base^(2i/dim)
  const periods = Float32Array.from({ length: dim / 2 }, (_, i) => base ** Math.fround((2 * i) / dim));
  const plain = periods.map(period => 1 / period);
  const given = String(rope.rope_type ?? rope.type ?? 'default');
  const type = oneOf({ rope_type: renamed[given] ?? given }, 'rope_type', types, 'default');
  const context = originalPositions(config, rope, original);
  const made = (frequencies: Float32Array, scaling = 1, long: Rotary['long'] = null): Rotary => ({ length: dim / 2, frequencies, scaling, long });
  switch (type) {
    case 'default': return made(plain);
    case 'linear': return made(plain.map(frequency => frequency / number(rope, 'factor', 1)));
    // Only positions beyond max_position_embeddings are scaled, and none of those is ever computed.
    case 'dynamic': return made(plain);
    case 'llama3': return made(llama3(plain, rope, context));
    case 'yarn': return yarn(periods, rope, { base, dim, context, positions: number(config, 'max_position_embeddings', context) });
    case 'longrope': {
      const factor = rope.factor == null ? number(config, 'max_position_embeddings', context) / context : number(rope, 'factor', 1);
      const scaling = rope.attention_factor == null ? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(context))) : number(rope, 'attention_factor', 1);
      const [short, long] = ['short_factor', 'long_factor'].map(key => stretched(periods, rope, key));
      return made(short, scaling, { frequencies: long, beyond: context });
    }
  }
}

/** A value beside `rope_parameters` comes before one in it. */
function originalPositions(config: Config, rope: Config, otherwise: number | undefined): number {
  const key = 'original_max_position_embeddings';
  return optionalSize(config, key) ?? otherwise ?? optionalSize(rope, key) ?? number(config, 'max_position_embeddings', 8192);
}

function ropeOf(config: Config): Config {
  const rope = config.rope_parameters ?? config.rope_scaling ?? {};
  if (typeof rope !== 'object' || Array.isArray(rope) || Object.values(rope).some(value => typeof value === 'object' && value !== null && !Array.isArray(value))) {
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

/**
 * YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071): pairs that turn often within the original context stay, those that turn
 * less than `beta_slow` times are stretched by `factor`, with a ramp between; scores grow with the logarithm of `factor`.
 */
function yarn(periods: Float32Array, rope: Config, { base, dim, context, positions }: { base: number; dim: number; context: number; positions: number }): Rotary {
  const factor = rope.factor == null ? positions / context : number(rope, 'factor', 1);
  const mscale = (of: number): number => (factor <= 1 ? 1 : 0.1 * of * Math.log(factor) + 1);
  const [own, all] = [number(rope, 'mscale', 0), number(rope, 'mscale_all_dim', 0)];
  const scaling = rope.attention_factor == null ? (own && all ? mscale(own) / mscale(all) : mscale(1)) : number(rope, 'attention_factor', 1);
  // The pair that turns so many times within the original context.
  const pairOf = (turns: number): number => (dim * Math.log(context / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const truncate = flag(rope, 'truncate', true);
  const [fast, slow] = [pairOf(number(rope, 'beta_fast', 32) || 32), pairOf(number(rope, 'beta_slow', 1) || 1)];
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const high = Math.min(truncate ? Math.ceil(slow) : slow, dim - 1);
  const width = high === low ? 0.001 : high - low;
  const frequencies = periods.map((period, i) => {
    const kept = Math.fround(1 - Math.min(1, Math.max(0, Math.fround((i - low) / width))));
    return Math.fround(1 / Math.fround(factor * period)) * Math.fround(1 - kept) + Math.fround(1 / period) * kept;
  });
  return { length: dim / 2, frequencies, scaling, long: null };
}

/** LongRoPE (Ding et al. 2024, https://arxiv.org/abs/2402.13753): every pair is stretched by a factor of its own. */
function stretched(periods: Float32Array, rope: Config, key: string): Float32Array {
  const factors = rope[key];
  if (!Array.isArray(factors) || factors.length !== periods.length || !factors.every(factor => typeof factor === 'number' && factor > 0)) throw wrongValue(key, factors, `a list of ${periods.length} numbers above 0, one for each pair of rotated units`);
  return periods.map((period, i) => 1 / Math.fround(Math.fround(factors[i] as number) * period));
}
