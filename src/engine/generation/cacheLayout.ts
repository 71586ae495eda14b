/** How one pass of generation is laid out: the new tokens of each text as in training, beside them the keys and values of those before. */
import type { Feeds, InputSpec } from '../executors/executor';
import { relativeBucket } from '../model/relativePosition';
import { DECODER } from '../training/decoderLayout';
import { headCounts, type BatchLayout } from '../training/layout';
import { rotaryTables } from '../training/rotaryTables';
import { headFeeds, slotRows, tokenRows } from '../training/slots';

/** Of keys and of values alike. */
export interface CacheShape { layers: number; heads: number; head_dim: number }

export const cacheShape = (layout: BatchLayout): CacheShape => ({ ...layout.cache!, heads: layout.heads.key_value });

/** Outputs [B, heads, S, head_dim] of a layer; inputs of the same names after `past_` have the kept ones [B, heads, C, head_dim]. */
export const cacheNames = (layer: number): [string, string] => [`keys_${layer}`, `values_${layer}`];
/** Of an encoder-decoder: keys and values of the source in a layer of the decoder [B, heads, E, head_dim]. */
export const sourceNames = (layer: number): [string, string] => [`source_keys_${layer}`, `source_values_${layer}`];

/** The number of slots that hold nothing: later than every token. */
const NOTHING = 2 ** 30;

/** Inputs: T new tokens of B texts in S slots, C kept slots, K = C + S, P positions, E slots of sources. */
export function generationInputs(layout: BatchLayout): InputSpec[] {
  const index = (name: string, shape: InputSpec['shape']): InputSpec => ({ name, dtype: 'int32', shape });
  const float = (name: string, shape: InputSpec['shape']): InputSpec => ({ name, dtype: 'float32', shape });
  const { layers, heads, head_dim } = cacheShape(layout);
  const side = layout.decoder ? DECODER : '';
  const ofLayers = (names: (layer: number) => string[], slots: string): InputSpec[] => Array.from({ length: layers }, (_, i) => names(i)).flat().map(name => float(name, ['B', heads, slots, head_dim]));
  return [
    index(`${side}input_ids`, ['T']), index('head_rows', ['B']),
    ...headCounts(layout).flatMap(h => [index(side + slotRows(h), ['B', h, 'S']), index(side + tokenRows(h), ['T', h])]),
    index('query_numbers', ['B', 1, 'S', 1]), index('key_numbers', ['B', 1, 1, 'K']),
    ...ofLayers(i => cacheNames(i).map(name => `past_${name}`), 'C'),
    ...(layout.decoder ? [float('attention_bias', ['B', 1, 1, 'E']), ...ofLayers(sourceNames, 'E')] : [index('position_ids', ['T'])]),
    ...(layout.relative ? [index(`${side}relative_buckets`, ['S', 'K'])] : []),
    ...(layout.rotary ? ['rotary_cos', 'rotary_sin'].map(name => float(name, ['P', layout.rotary!.length])) : []),
  ];
}

/**
 * Values of `generationInputs` but for the kept keys and values and the sources: the new tokens of each text, of which `past` tokens are kept in `slots` slots.
 * Where positions are relative all texts have the same number of tokens, as the decoder's have.
 */
export function generationFeeds(tokens: readonly ArrayLike<number>[], past: readonly number[], slots: number, layout: BatchLayout): Feeds {
  const lengths = tokens.map(({ length }) => length);
  const [T, B, S] = [lengths.reduce((a, b) => a + b, 0), tokens.length, Math.max(...lengths)];
  const K = slots + S;
  const input_ids = new Int32Array(T), position_ids = new Int32Array(T), head_rows = new Int32Array(B);
  const query_numbers = new Int32Array(B * S), key_numbers = new Int32Array(B * K).fill(NOTHING);
  let token = 0;
  tokens.forEach((ids, b) => {
    for (let c = 0; c < past[b]; c++) key_numbers[b * K + c] = c;
    for (let s = 0; s < S; s++) query_numbers[b * S + s] = key_numbers[b * K + slots + s] = past[b] + s;
    for (let s = 0; s < ids.length; s++) [input_ids[token], position_ids[token++]] = [ids[s], past[b] + s];
    head_rows[b] = token - 1;
  });
  const side = layout.decoder ? DECODER : '';
  const rows = headCounts(layout).flatMap(h => Object.entries(headFeeds(lengths, h))).map(([name, feed]) => [side + name, feed] as const);
  return {
    ...Object.fromEntries(rows),
    [`${side}input_ids`]: { data: input_ids, shape: [T] },
    head_rows: { data: head_rows, shape: [B] },
    query_numbers: { data: query_numbers, shape: [B, 1, S, 1] },
    key_numbers: { data: key_numbers, shape: [B, 1, 1, K] },
    ...(layout.decoder ? {} : { position_ids: { data: position_ids, shape: [T] } }),
    ...(layout.relative ? { [`${side}relative_buckets`]: { data: buckets(query_numbers.subarray(0, S), key_numbers.subarray(0, K), layout), shape: [S, K] } } : {}),
    ...(layout.rotary ? rotaryTables(layout.rotary, Math.max(...lengths.map((length, b) => past[b] + length))) : {}),
  };
}

/** Buckets [S, K] of relative positions. What a slot without a token shows is masked. */
function buckets(queries: Int32Array, keys: Int32Array, { relative }: BatchLayout): Int32Array {
  return Int32Array.from({ length: queries.length * keys.length }, (_, i) => relativeBucket(keys[i % keys.length] - queries[Math.floor(i / keys.length)], relative!, false));
}
