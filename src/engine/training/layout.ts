/**
 * How a batch is laid out. Hidden states hold only real tokens, [T, d]; attention needs one row of S slots for each
 * example. The index vectors made here move head vectors between the two without a separate transpose.
 */
import type { Feeds, InputSpec } from '../executors/executor';
import { relativeBuckets, type RelativePositions } from '../model/relativePosition';
import { blockFeeds, blockInputs, turnFeeds, turnInputs } from './blocks';
import { decoderFeeds, decoderInputs } from './decoderLayout';
import { headFeeds, slotRows, tokenRows } from './slots';
import { IGNORED, type Example } from './step.types';
import { rotaryTables } from './rotaryTables';
import type { Rotary } from '../model/rotaryConfig';

/** Added to the scores of slots that must not be seen. Finite, so that no row of a softmax becomes NaN. */
export const MASKED = -3.4028234663852886e38;

export interface HeadCounts { query: number; key_value: number }

/** What an architecture and its task need to know of a batch. */
export interface BatchLayout {
  heads: HeadCounts;
  /** Tokens that the task's head reads: the first or last one of each example, or those that have a target. */
  read: 'first' | 'last' | 'labelled';
  /** With `read: 'labelled'`, tokens without a target are read too, and their losses weigh nothing. */
  unlabelled?: boolean;
  /** Tokens see only what stands before them; else everything in their example. */
  causal: boolean;
  /** With `read: 'last'`, tokens of this number at the end are passed over, as transformers does. */
  pad_token_id: number | null;
  /** With a number, positions count from the one after it, and tokens of this number stand at it themselves, as RoBERTa has it. */
  position_padding?: number | null;
  /** How many float targets an example has: one for each class with `multi_label_classification`, 1 with `regression`; absent where the target is a class or token number. */
  targets?: number;
  /** Null without rotary embedding. */
  rotary: Rotary | null;
  /** Buckets of relative positions, where the architecture has them. */
  relative?: RelativePositions;
  /** Of a language model: the layers whose keys and values are kept while it writes, of a decoder apart its own, and the width of a head. */
  cache?: { layers: number; head_dim: number };
  /** Blocks of rows that attention is computed in; absent for whole rows. */
  blocks?: number;
  /** Attention computes its probabilities again in the backward pass, and its heads in turns where the executor can. */
  may_remake?: boolean;
  /** Blocks of rows that the own attention of an encoder-decoder's decoder is computed in, its probabilities again in the backward pass; absent for whole rows, whose probabilities are kept. */
  decoder_blocks?: number;
  /** An encoder-decoder: the head reads tokens of the decoder, and `causal` is said of the encoder. */
  decoder?: boolean;
}

/** The encoder of an encoder-decoder by itself; nothing reads its tokens. */
export const encoderOnly = (layout: BatchLayout): BatchLayout => ({ ...layout, read: 'first', decoder: false, decoder_blocks: undefined });

/** Inputs of a batch: T tokens, B examples, S slots, R tokens that the head reads, P positions; of a decoder apart U tokens and V slots. Rows for keys and values are given apart only if their heads differ. */
export function batchInputs(layout: BatchLayout): InputSpec[] {
  const index = (name: string, shape: InputSpec['shape']): InputSpec => ({ name, dtype: 'int32', shape });
  const float = (name: string, shape: InputSpec['shape']): InputSpec => ({ name, dtype: 'float32', shape });
  const rows = readRows(layout);
  const read = layout.decoder ? 'U' : 'T';
  return [
    index('input_ids', ['T']), index('position_ids', ['T']),
    index('head_rows', [rows]), index('head_row_of_token', [read]), float('head_mask', [read, 1]),
    layout.targets === undefined ? index('labels', [rows]) : float('targets', [rows, layout.targets]),
    ...(readsAll(layout) ? [float('label_weights', [rows])] : []),
    ...headCounts(layout).flatMap(h => [index(slotRows(h), ['B', h, 'S']), index(tokenRows(h), ['T', h])]),
    float('slot_mask', ['B', 1, 'S', 1]),
    ...(layout.causal ? [index('slot_numbers', ['S'])] : [index('token_type_ids', ['T']), float('attention_bias', ['B', 1, 1, 'S'])]),
    ...(layout.decoder ? decoderInputs(layout.heads.query, layout.decoder_blocks) : []),
    ...blockInputs(layout.blocks, layout.causal),
    ...(layout.may_remake ? turnInputs() : []),
    ...(layout.relative ? [index('relative_buckets', ['S', 'S'])] : []),
    ...(layout.rotary ? ['rotary_cos', 'rotary_sin'].map(name => float(name, ['P', layout.rotary!.length])) : []),
  ];
}

/** The size R of what the head reads: with one token of each example it is B, so that rows of the two kinds can meet. */
export const readRows = ({ read }: Pick<BatchLayout, 'read'>): 'R' | 'B' => (read === 'labelled' ? 'R' : 'B');

/** Whether the head reads every token, with a target or without. */
const readsAll = ({ read, unlabelled = false }: Pick<BatchLayout, 'read' | 'unlabelled'>): boolean => read === 'labelled' && unlabelled;

export const headCounts = ({ heads }: BatchLayout): number[] => [...new Set([heads.query, heads.key_value])];

/** U and V are 0 without a decoder apart. There are at least as many slots as blocks. */
export interface BatchSizes { T: number; B: number; S: number; R: number; U: number; V: number }

export function batchSizes(examples: Example[], layout: BatchLayout): BatchSizes {
  const [lengths, decoder] = [examples.map(e => e.input_ids.length), examples.map(e => e.decoder_input_ids?.length ?? 0)];
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
  return { T: sum(lengths), B: examples.length, S: Math.max(layout.blocks ?? 0, ...lengths), R: rowsRead(examples, layout), U: sum(decoder), V: Math.max(layout.decoder_blocks ?? 0, ...decoder) };
}

/** Tokens that the head reads: one for each example, or as many as have a target, or all. */
function rowsRead(examples: Example[], layout: BatchLayout): number {
  return readsAll(layout) ? examples.reduce((sum, { input_ids, decoder_input_ids = input_ids }) => sum + decoder_input_ids.length, 0) : lossCount(examples, layout);
}

/** Losses that count: one for each example, or as many as there are targets. */
export function lossCount(examples: Example[], { read }: Pick<BatchLayout, 'read'>): number {
  return read === 'labelled' ? examples.reduce((sum, example) => sum + countTargets(example), 0) : examples.length;
}

/** Tokens of an example that predict a next one which counts. */
export const countTargets = ({ targets }: Pick<Example, 'targets'>): number => targets?.reduce((sum, target) => sum + (target === IGNORED ? 0 : 1), 0) ?? 0;

/** Whether what is computed of an example depends on the longest one beside it. */
export const dependsOnBatch = ({ rotary }: BatchLayout): boolean => rotary?.long != null;

/** The values of `batchInputs` for these examples. At least one token must be read. `longest`: tokens of the longest example of the batch that these are a part of. */
export function batchFeeds(examples: Example[], layout: BatchLayout, longest?: number): Feeds {
  const sizes = batchSizes(examples, layout);
  const { T, B, S, R } = sizes;
  const N = layout.decoder ? sizes.U : T;
  const input_ids = new Int32Array(T), token_type_ids = new Int32Array(T), position_ids = new Int32Array(T);
  const head_rows = new Int32Array(R), head_row_of_token = new Int32Array(N), labels = new Int32Array(R);
  const head_mask = new Float32Array(N), label_weights = new Float32Array(R);
  const attention_bias = new Float32Array(B * S).fill(MASKED), slot_mask = new Float32Array(B * S);
  let token = 0, row = 0, first_read = 0;
  examples.forEach((example, b) => {
    const length = example.input_ids.length;
    const real = length - (example.padding?.input ?? 0);
    input_ids.set(example.input_ids, token);
    if (example.token_type_ids) token_type_ids.set(example.token_type_ids, token);
    position_ids.set(positionsOf(example.input_ids, layout), token);
    attention_bias.fill(0, b * S, b * S + real);
    slot_mask.fill(1, b * S, b * S + length);
    for (const [place, label] of placesRead(example, layout)) {
      head_rows[row] = first_read + place;
      head_row_of_token[first_read + place] = row;
      head_mask[first_read + place] = 1;
      label_weights[row] = label === IGNORED ? 0 : 1;
      labels[row++] = label === IGNORED ? 0 : label;
    }
    token += length;
    first_read += layout.decoder ? example.decoder_input_ids!.length : length;
  });
  const feeds: Feeds = {
    input_ids: { data: input_ids, shape: [T] },
    position_ids: { data: position_ids, shape: [T] },
    head_rows: { data: head_rows, shape: [R] },
    head_row_of_token: { data: head_row_of_token, shape: [N] },
    head_mask: { data: head_mask, shape: [N, 1] },
    ...(layout.targets === undefined ? { labels: { data: labels, shape: [R] } } : { targets: { data: floatTargets(examples, layout.targets), shape: [R, layout.targets] } }),
    ...(readsAll(layout) ? { label_weights: { data: label_weights, shape: [R] } } : {}),
    slot_mask: { data: slot_mask, shape: [B, 1, S, 1] },
  };
  if (layout.causal) {
    feeds.slot_numbers = { data: Int32Array.from({ length: S }, (_, s) => s), shape: [S] };
  } else {
    feeds.token_type_ids = { data: token_type_ids, shape: [T] };
    feeds.attention_bias = { data: attention_bias, shape: [B, 1, 1, S] };
  }
  for (const h of headCounts(layout)) Object.assign(feeds, headFeeds(examples.map(e => e.input_ids.length), h, S));
  Object.assign(feeds, blockFeeds(S, layout.blocks, layout.causal), layout.may_remake ? turnFeeds(B, Math.max(S, sizes.V), layout.heads, layout.decoder ? 1 : layout.blocks) : {});
  if (layout.relative) feeds.relative_buckets = { data: relativeBuckets(S, layout.relative, !layout.causal), shape: [S, S] };
  if (layout.decoder) Object.assign(feeds, decoderFeeds(examples, sizes.V, layout.heads.query, layout.relative!, layout.decoder_blocks));
  if (layout.rotary) Object.assign(feeds, rotaryTables(layout.rotary, S, longest));
  return feeds;
}

/** 0, 1, 2 … or what `position_padding` makes of them. */
function positionsOf(input_ids: Int32Array, { position_padding: padding = null }: BatchLayout): Int32Array {
  if (padding === null) return input_ids.map((_, s) => s);
  let last = padding;
  return input_ids.map(id => (id === padding ? padding : ++last));
}

/** 1 for each class that applies and 0 for the others, or the value: [B, width]. */
function floatTargets(examples: Example[], width: number): Float32Array {
  const targets = new Float32Array(examples.length * width);
  examples.forEach(({ classes, label }, b) => {
    if (!classes) targets[b * width] = label;
    classes?.forEach(number => { targets[b * width + number] = 1; });
  });
  return targets;
}

/** Places within an example that the head reads, each with its label. */
function placesRead({ input_ids, decoder_input_ids: read_ids = input_ids, label, targets, padding }: Example, layout: BatchLayout): [number, number][] {
  const { read, pad_token_id } = layout;
  if (readsAll(layout)) return Array.from(read_ids, (_, place) => [place, targets?.[place] ?? IGNORED]);
  if (read === 'labelled') return Array.from(targets ?? [], (target, place): [number, number] => [place, target]).filter(([, target]) => target !== IGNORED);
  if (read === 'first') return [[0, label]];
  let last = read_ids.length - 1 - (padding?.read ?? 0);
  // What a decoder has written itself is no padding.
  while (last > 0 && read_ids === input_ids && read_ids[last] === pad_token_id) last--;
  return [[last, label]];
}
