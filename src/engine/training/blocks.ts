/** Blocks of rows that attention over long texts is computed in, and turns of its heads (ops/blockAttention.ts). */
import { BLOCKED_FROM, MOST_BLOCKS, TURN_BYTES } from '../../protocol/savings';
import type { Feeds, InputSpec } from '../executors/executor';
import type { HeadCounts } from './layout';

/** Rows of a block of a decoder's. */
const ROWS = 256;
/** Heads that a turn of an encoder's has room for: cores that multiply a head each pack its keys and values once, where two that share a head both do. */
const HEADS = 2;

/**
 * In how many blocks texts of up to `longest` tokens are computed; undefined for whole rows. Where every row sees all keys, blocks leave
 * nothing out: there are as many as keep the scores of two heads in a turn's bytes.
 */
export function blocksFor(longest: number, causal = true): number | undefined {
  if (longest < BLOCKED_FROM[causal ? 'decoder' : 'encoder']) return undefined;
  const blocks = Math.min(MOST_BLOCKS, Math.ceil(causal ? longest / ROWS : HEADS * 4 * longest ** 2 / TURN_BYTES));
  return blocks === 1 ? undefined : blocks;
}

/** Input [n]: slots of the queries of a block. `of` stands in front of the names of a decoder's that has an encoder. */
export const blockRows = (block: number, of = ''): string => `${of}block_rows_${block}`;
/** Input [m]: slots of the keys that they see. */
export const blockKeys = (block: number, of = ''): string => `${of}block_keys_${block}`;

/** Inputs of the program for so many blocks. */
export const blockInputs = (blocks = 0, causal = true, of = ''): InputSpec[] => Array.from({ length: blocks }, (_, i): InputSpec[] => [
  { name: blockRows(i, of), dtype: 'int32', shape: [`${of}rows ${i}`] }, ...(causal ? [{ name: blockKeys(i, of), dtype: 'int32' as const, shape: [`${of}keys ${i}`] }] : []),
]).flat();

/** Input [C, G]: heads of all examples, or groups of heads that share keys, are computed in C turns, G at a time. Values are their numbers within an example. */
export const TURNS = 'attention_turns';

/** The input of the program where heads are computed in turns. */
export const turnInputs = (of = ''): InputSpec[] => [{ name: of + TURNS, dtype: 'int32', shape: [`${of}turns`, `${of}groups`] }];

/** The value of `turnInputs` for B examples of S slots, in so many blocks of rows. */
export function turnFeeds(B: number, S: number, { query, key_value }: HeadCounts, blocks = 1, of = ''): Feeds {
  const groups = B * key_value;
  const most = Math.max(1, Math.floor(TURN_BYTES / (4 * (query / key_value) * Math.ceil(S / blocks) * S)));
  let size = Math.min(most, groups);
  while (groups % size) size--;
  return { [of + TURNS]: { data: Int32Array.from({ length: groups }, (_, i) => i % key_value), shape: [groups / size, size] } };
}

/** The values of `blockInputs` for S slots, at least one for each block. */
export function blockFeeds(S: number, blocks = 0, causal = true, of = ''): Feeds {
  const feeds: Feeds = {};
  const slots = Int32Array.from({ length: S }, (_, s) => s);
  const end = (block: number): number => Math.floor(S * (block + 1) / blocks);
  for (let i = 0; i < blocks; i++) {
    const [rows, keys] = [slots.slice(end(i - 1), end(i)), slots.slice(0, end(i))];
    feeds[blockRows(i, of)] = { data: rows, shape: [rows.length] };
    if (causal) feeds[blockKeys(i, of)] = { data: keys, shape: [keys.length] };
  }
  return feeds;
}
