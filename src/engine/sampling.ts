/** Choosing the next token from its logits, as transformers' generate does: temperature, then top_k, then top_p. */
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

/** The number of the next token. logits [vocab_size]. Nothing is drawn from `random` at temperature 0. */
export function chooseToken(logits: Float32Array, { temperature, top_k, top_p }: SamplingSettings, random: Random): number {
  if (temperature === 0) return largest(logits);
  const top = logits[largest(logits)];
  let order = Array.from(logits, (_, token) => token);
  if (top_k > 0 || top_p < 1) order.sort((a, b) => logits[b] - logits[a] || a - b);
  if (top_k > 0) order = order.slice(0, top_k);
  const weights = order.map(token => Math.exp((logits[token] - top) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  // A token stays as long as those before it do not reach top_p: the most probable one always does.
  let before = 0, kept = 0;
  for (; kept < order.length && (kept === 0 || before < top_p * total); kept++) before += weights[kept];
  let left = random.next() * before;
  for (let i = 0; i < kept; i++) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}
