/**
 * A batch is computed in portions of a few hundred tokens whose gradients add up to the batch's: activations then take the
 * memory of one portion, most of them stay in the processor's cache, and examples of similar length share the padding of attention.
 */

import { packRows } from '../data/packing';

/** Tokens of one portion. Of 128 … 2,048 this was the fastest for BERT-base on the CPU (test/bench/README.md). */
export const PORTION_TOKENS = 512;

/**
 * Places of the examples, portion after portion, shorter ones first. A portion holds at most `tokens`, or one longer example.
 * With `fill` there are as few portions as best fit finds, whose examples then differ in length.
 */
export function portions(lengths: ArrayLike<number>, tokens = PORTION_TOKENS, fill = false): number[][] {
  if (fill && Number.isFinite(tokens)) return packRows(lengths, tokens).map(places => Array.from(places));
  const order = Array.from(lengths, (_, i) => i).sort((a, b) => lengths[a] - lengths[b] || a - b);
  const result: number[][] = [];
  let room = 0;
  for (const place of order) {
    if (lengths[place] > room) { result.push([]); room = Math.max(tokens, lengths[place]); }
    result.at(-1)!.push(place);
    room -= lengths[place];
  }
  return result;
}
