/** Index vectors between the real tokens of a batch, one example after the other, and the rows of equal length that attention works on. */
import type { Feeds } from '../executors/executor';

/** Input [B, h, S]: for each slot its row in [T · h, head_dim]. Padded slots show the example's first token. */
export const slotRows = (heads: number): string => `slot_rows_${heads}`;
/** Input [T, h]: for each token and head its row in [B · h · S, head_dim]. */
export const tokenRows = (heads: number): string => `token_rows_${heads}`;

/** Both for `h` heads, examples of these lengths and S slots. */
export function headFeeds(lengths: readonly number[], h: number, S = Math.max(...lengths)): Feeds {
  const [T, B] = [lengths.reduce((a, b) => a + b, 0), lengths.length];
  const slots = new Int32Array(B * h * S), tokens = new Int32Array(T * h);
  let first = 0;
  for (let b = 0; b < B; b++) {
    for (let head = 0; head < h; head++) {
      for (let s = 0; s < S; s++) {
        const slot = (b * h + head) * S + s;
        const row = (first + (s < lengths[b] ? s : 0)) * h + head;
        slots[slot] = row;
        if (s < lengths[b]) tokens[row] = slot;
      }
    }
    first += lengths[b];
  }
  return { [slotRows(h)]: { data: slots, shape: [B, h, S] }, [tokenRows(h)]: { data: tokens, shape: [T, h] } };
}
