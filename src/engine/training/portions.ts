/**
 * A batch is computed in portions of a few hundred tokens whose gradients add up to the batch's: activations then take the
 * memory of one portion, most of them stay in the processor's cache, and examples of similar length share the padding of attention.
 */

/**
 * Tokens of one portion. Of 128 … 2,048 this was the fastest for BERT-base on the CPU (test/bench/README.md). A GPU may want
 * more of them at a time: `LORA_LAB_PORTION_TOKENS` is how the bench tries that.
 */
export const PORTION_TOKENS = Number(process.env.LORA_LAB_PORTION_TOKENS) || 512;

/**
 * Places of the examples, portion after portion, shorter ones first. A portion holds at most `tokens`, or one longer example.
 * `in_order` leaves them as they come: packed rows fill portions, and sorted they would not.
 */
export function portions(lengths: ArrayLike<number>, tokens = PORTION_TOKENS, in_order = false): number[][] {
  const order = Array.from(lengths, (_, i) => i);
  if (!in_order) order.sort((a, b) => lengths[a] - lengths[b] || a - b);
  const result: number[][] = [];
  let room = 0;
  for (const place of order) {
    if (lengths[place] > room) { result.push([]); room = Math.max(tokens, lengths[place]); }
    result.at(-1)!.push(place);
    room -= lengths[place];
  }
  return result;
}
