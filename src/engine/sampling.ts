/** Choosing the next token from its logits, as transformers' generate does: repetition penalty, temperature, then top_k, then top_p. */
import type { Random } from './random';
import { largest } from './training/metrics';

export interface SamplingSettings {
  /** 0 takes the most probable token; above, logits are divided by it before one is drawn. */
  temperature: number;
  /** Only so many of the most probable tokens are drawn from; 0 for all. */
  top_k: number;
  /** Only the most probable tokens that together reach this share are drawn from; 1 for all. */
  top_p: number;
}

/**
 * Logits [vocab_size] in which each token of `ids` is less probable by `penalty`, as transformers' RepetitionPenaltyLogitsProcessor makes it (Keskar et al. 2019,
 * https://arxiv.org/abs/1909.05858): positive logits are divided, negative ones multiplied. 1 changes nothing.
 */
export function penalizeRepetition(logits: Float32Array, ids: Iterable<number>, penalty: number): Float32Array {
  if (penalty === 1) return logits;
  const penalized = logits.slice();
  const factor = Math.fround(penalty);
  for (const id of new Set(ids)) penalized[id] = logits[id] < 0 ? logits[id] * factor : logits[id] / factor;
  return penalized;
}

/** The number of the next token. logits [vocab_size]. Nothing is drawn from `random` at temperature 0. */
export function chooseToken(logits: Float32Array, { temperature, top_k, top_p }: SamplingSettings, random: Random): number {
  if (temperature === 0) return largest(logits);
  const weight = (logit: number): number => Math.exp((logit - top) / temperature);
  const top = logits[largest(logits)];
  const order = top_k > 0 || top_p < 1 ? mostProbable(logits, weight, top_k || logits.length, top_p) : Array.from(logits, (_, token) => token);
  const weights = order.map(token => weight(logits[token]));
  let left = random.next() * weights.reduce((sum, value) => sum + value, 0);
  for (let i = 0; i < order.length; i++) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[order.length - 1];
}

/** Tokens that top_k and then top_p leave, the most probable first. Only they are sorted as tokens: a vocabulary is large. */
function mostProbable(logits: Float32Array, weight: (logit: number) => number, top_k: number, top_p: number): number[] {
  const falling = logits.slice().sort().reverse().subarray(0, top_k);
  const weights = Array.from(falling, weight);
  const total = weights.reduce((sum, value) => sum + value, 0);
  // A token stays as long as those before it do not reach top_p: the most probable one always does.
  let before = 0, kept = 0;
  for (; kept < weights.length && (kept === 0 || before < top_p * total); kept++) before += weights[kept];
  const least = falling[kept - 1];
  const tokens: number[] = [];
  for (let token = 0; token < logits.length; token++) if (logits[token] >= least) tokens.push(token);
  return tokens.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, kept);
}
