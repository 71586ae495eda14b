/**
 * A batch is computed in portions of a few hundred tokens whose gradients add up to the batch's: activations then take the
 * memory of one portion, most of them stay in the processor's cache, and examples of similar length share the padding of attention.
 */
import { PORTION_TOKENS, trainedPortion } from '../../protocol/portions';
import { ALL_SAVINGS, type Savings } from '../../protocol/savings';
import type { AdapterPlan } from '../model/lora.types';

/** A GPU may want more tokens at a time: this is how the bench tries that. */
const TRIED = Number(process.env.LORA_LAB_PORTION_TOKENS) || undefined;

export interface PortionOptions { plan: AdapterPlan | null; savings?: Savings; portion_tokens?: number }

/** Tokens of a portion of a step that gives gradients, or of one that only computes losses and logits. */
export function portionTokens({ plan, savings = ALL_SAVINGS, portion_tokens }: PortionOptions, { gradients }: { gradients: boolean }): number {
  if (portion_tokens !== undefined) return portion_tokens;
  if (!savings.portions) return Infinity;
  return TRIED ?? (gradients && plan ? trainedPortion(plan) : PORTION_TOKENS);
}

/** Attention pads the texts of a portion to the longest of them: to so many times its tokens at most, or a long text beside many short ones would take more time and memory than the rest of the portion. */
const MOST_PADDED = 4;

/**
 * Places of the examples, portion after portion, shorter ones first. A portion holds at most `tokens`, padded `MOST_PADDED` times as many, or one longer example.
 * `in_order` leaves them as they come: packed rows fill portions, and sorted they would not.
 */
export function portions(lengths: ArrayLike<number>, tokens = PORTION_TOKENS, in_order = false): number[][] {
  const order = Array.from(lengths, (_, i) => i);
  if (!in_order) order.sort((a, b) => lengths[a] - lengths[b] || a - b);
  const result: number[][] = [];
  let [room, longest] = [0, 0];
  for (const place of order) {
    const length = lengths[place];
    longest = Math.max(longest, length);
    if (length > room || longest * (result.at(-1)!.length + 1) > MOST_PADDED * tokens) { result.push([]); room = Math.max(tokens, length); longest = length; }
    result.at(-1)!.push(place);
    room -= length;
  }
  return result;
}
