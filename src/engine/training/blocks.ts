/** Blocks of rows that causal attention over long texts is computed in (ops/blockAttention.ts). */
import { BLOCKED_FROM } from '../../protocol/savings';
import type { Feeds, InputSpec } from '../executors/executor';

/** Rows of a block, and how many blocks there are at most: each adds about 35 nodes to a layer. */
const [ROWS, MOST] = [256, 8];

/** In how many blocks texts of up to `longest` tokens are computed; undefined for whole rows. */
export const blocksFor = (longest: number): number | undefined => (longest < BLOCKED_FROM ? undefined : Math.min(MOST, Math.ceil(longest / ROWS)));

/** Input [n]: slots of the queries of a block. */
export const blockRows = (block: number): string => `block_rows_${block}`;
/** Input [m]: slots of the keys that they see. */
export const blockKeys = (block: number): string => `block_keys_${block}`;

export const blockInputs = (blocks = 0): InputSpec[] => Array.from({ length: blocks }, (_, i): InputSpec[] => [
  { name: blockRows(i), dtype: 'int32', shape: [`rows ${i}`] }, { name: blockKeys(i), dtype: 'int32', shape: [`keys ${i}`] },
]).flat();

/** The values of `blockInputs` for S slots, at least one for each block. */
export function blockFeeds(S: number, blocks = 0): Feeds {
  const feeds: Feeds = {};
  const slots = Int32Array.from({ length: S }, (_, s) => s);
  const end = (block: number): number => Math.floor(S * (block + 1) / blocks);
  for (let i = 0; i < blocks; i++) {
    const [rows, keys] = [slots.slice(end(i - 1), end(i)), slots.slice(0, end(i))];
    feeds[blockRows(i)] = { data: rows, shape: [rows.length] };
    feeds[blockKeys(i)] = { data: keys, shape: [keys.length] };
  }
  return feeds;
}
