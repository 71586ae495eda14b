/**
 * How a batch is laid out. Hidden states hold only real tokens, [T, d]; attention needs one row of S slots for each
 * example. The index vectors made here move head vectors between the two without a separate transpose.
 */
import type { Feeds, InputSpec } from '../executors/executor';
import type { Example } from './step.types';

/** Added to the scores of padded slots. Finite, so that no row of a softmax becomes NaN. */
const MASKED = -3.4028234663852886e38;

export interface HeadCounts { query: number; key_value: number }

/** Inputs of a batch; T tokens, B examples, S slots. Rows for keys and values are given apart only if their heads differ. */
export function batchInputs(heads: HeadCounts): InputSpec[] {
  const index = (name: string, shape: InputSpec['shape']): InputSpec => ({ name, dtype: 'int32', shape });
  const layouts = [...new Set([heads.query, heads.key_value])];
  return [
    index('input_ids', ['T']), index('token_type_ids', ['T']), index('position_ids', ['T']),
    index('first_tokens', ['B']), index('example_of_token', ['T']), index('labels', ['B']),
    { name: 'first_mask', dtype: 'float32', shape: ['T', 1] },
    ...layouts.flatMap(h => [index(slotRows(h), ['B', h, 'S']), index(tokenRows(h), ['T', h])]),
    { name: 'attention_bias', dtype: 'float32', shape: ['B', 1, 1, 'S'] },
    { name: 'slot_mask', dtype: 'float32', shape: ['B', 1, 'S', 1] },
  ];
}

/** Input [B, h, S]: for each slot its row in [T · h, head_dim]. Padded slots show the example's first token. */
export const slotRows = (heads: number): string => `slot_rows_${heads}`;
/** Input [T, h]: for each token and head its row in [B · h · S, head_dim]. */
export const tokenRows = (heads: number): string => `token_rows_${heads}`;

export interface BatchSizes { T: number; B: number; S: number }

export function batchSizes(examples: Example[]): BatchSizes {
  const lengths = examples.map(e => e.input_ids.length);
  return { T: lengths.reduce((a, b) => a + b, 0), B: examples.length, S: Math.max(...lengths) };
}

/** The values of `batchInputs` for these examples. */
export function batchFeeds(examples: Example[], heads: HeadCounts): Feeds {
  const { T, B, S } = batchSizes(examples);
  const input_ids = new Int32Array(T), token_type_ids = new Int32Array(T), position_ids = new Int32Array(T);
  const first_tokens = new Int32Array(B), example_of_token = new Int32Array(T), labels = new Int32Array(B);
  const first_mask = new Float32Array(T);
  const attention_bias = new Float32Array(B * S).fill(MASKED), slot_mask = new Float32Array(B * S);
  let token = 0;
  examples.forEach((example, b) => {
    const length = example.input_ids.length;
    input_ids.set(example.input_ids, token);
    if (example.token_type_ids) token_type_ids.set(example.token_type_ids, token);
    for (let s = 0; s < length; s++) position_ids[token + s] = s;
    attention_bias.fill(0, b * S, b * S + length);
    slot_mask.fill(1, b * S, b * S + length);
    first_tokens[b] = token;
    first_mask[token] = 1;
    example_of_token.fill(b, token, token + length);
    labels[b] = example.label;
    token += length;
  });
  const feeds: Feeds = {
    input_ids: { data: input_ids, shape: [T] },
    token_type_ids: { data: token_type_ids, shape: [T] },
    position_ids: { data: position_ids, shape: [T] },
    first_tokens: { data: first_tokens, shape: [B] },
    example_of_token: { data: example_of_token, shape: [T] },
    first_mask: { data: first_mask, shape: [T, 1] },
    labels: { data: labels, shape: [B] },
    attention_bias: { data: attention_bias, shape: [B, 1, 1, S] },
    slot_mask: { data: slot_mask, shape: [B, 1, S, 1] },
  };
  for (const h of new Set([heads.query, heads.key_value])) Object.assign(feeds, headFeeds(examples, first_tokens, h, { T, B, S }));
  return feeds;
}

function headFeeds(examples: Example[], first_tokens: Int32Array, h: number, { T, B, S }: BatchSizes): Feeds {
  const slots = new Int32Array(B * h * S), tokens = new Int32Array(T * h);
  for (let b = 0; b < B; b++) {
    const first = first_tokens[b];
    const length = examples[b].input_ids.length;
    for (let head = 0; head < h; head++) {
      for (let s = 0; s < S; s++) {
        const slot = (b * h + head) * S + s;
        const row = (first + (s < length ? s : 0)) * h + head;
        slots[slot] = row;
        if (s < length) tokens[row] = slot;
      }
    }
  }
  return { [slotRows(h)]: { data: slots, shape: [B, h, S] }, [tokenRows(h)]: { data: tokens, shape: [T, h] } };
}
