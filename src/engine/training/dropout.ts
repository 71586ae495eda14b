/**
 * Dropout (Srivastava et al. 2014) from pools of random rows. The mask of one site is a window, at a random offset,
 * into a pool of rows that are drawn anew for each batch. Within a site every element is drawn independently up to
 * POOL_ROWS rows; the windows of sites of one width overlap, but a token has the same row in two of them only where their
 * offsets are the same, of FEWEST_OFFSETS or more. Drawing a full mask for each of the sites of a deep model would cost more than the arithmetic that it hides.
 * Masks depend on the DropoutSeed alone, so that a resumed run draws the same ones.
 */
import type { Feeds, InputSpec } from '../executors/executor';
import { readRows, type BatchLayout, type BatchSizes } from './layout';
import { random } from '../random';

const POOL_ROWS = 4096;
/** With one offset for each row the many sites of a short portion would have to share them. */
const FEWEST_OFFSETS = 128;

/** One place where dropout is applied: rows of `width` hidden units, one for each token (T), token of the decoder (U) or token that the head reads (R), or the probabilities of each query slot (S, V) or of one query for each example (H) over the slots of keys. */
export interface DropoutSite { rows: 'T' | 'U' | 'R' | 'S' | 'V' | 'H'; width: number | 'S' | 'V'; p: number }

export interface DropoutSeed { seed: number; step: number; micro_step: number; portion: number }

const ofSlots = ({ width }: Pick<DropoutSite, 'width'>): boolean => typeof width === 'string';

export const poolName = ({ width, p }: DropoutSite): string => `keep_${width}_${p}`;
/** Input with row numbers, before the site's offset is added: [T], [U], [R], [B, heads, S], [B, heads, V] or [B, heads, 1]. */
export const rowsName = (site: DropoutSite): string => `keep_rows_${site.rows}`;
export const OFFSETS = 'keep_offsets';

const distinct = (sites: DropoutSite[]): DropoutSite[] => [...new Map(sites.map(site => [poolName(site), site])).values()];

export function dropoutInputs(sites: DropoutSite[], layout: BatchLayout): InputSpec[] {
  const heads = layout.heads.query;
  if (!sites.length) return [];
  return [
    { name: OFFSETS, dtype: 'int32', shape: [sites.length] },
    { name: 'keep_rows_T', dtype: 'int32', shape: ['T'] },
    { name: 'keep_rows_R', dtype: 'int32', shape: [readRows(layout)] },
    { name: 'keep_rows_S', dtype: 'int32', shape: ['B', heads, 'S'] },
    ...(layout.decoder ? [{ name: 'keep_rows_U', dtype: 'int32' as const, shape: ['U'] }, { name: 'keep_rows_V', dtype: 'int32' as const, shape: ['B', heads, 'V'] }] : []),
    { name: 'keep_rows_H', dtype: 'int32', shape: ['B', heads, 1] },
    ...distinct(sites).map((site): InputSpec => ({ name: poolName(site), dtype: 'float32', shape: [ofSlots(site) ? 'Q' : 'P', site.width] })),
  ];
}

/** Pool values are 0 or 1/(1−p). Without a seed every value is 1: dropout is off. */
export function dropoutFeeds(sites: DropoutSite[], { heads: { query: heads }, decoder }: BatchLayout, sizes: BatchSizes, seed: DropoutSeed | null): Feeds {
  if (!sites.length) return {};
  const rows = { tokens: Math.max(sizes.T, sizes.U), slots: sizes.B * heads * Math.max(sizes.S, sizes.V) };
  const rowsOf = (site: DropoutSite): number => (ofSlots(site) ? rows.slots : rows.tokens);
  const pool = (count: number): number => (seed ? Math.min(Math.max(count, FEWEST_OFFSETS), POOL_ROWS) : 1);
  const index = (count: number): Int32Array => Int32Array.from({ length: count }, (_, i) => i % pool(count));
  const stream = (name: string) => random(seed!.seed, `dropout-${seed!.step}-${seed!.micro_step}-${seed!.portion}-${name}`);
  const offsets = new Int32Array(sites.length);
  if (seed) {
    const generator = stream('offsets');
    sites.forEach((site, i) => { offsets[i] = Math.floor(generator.next() * pool(rowsOf(site))); });
  }
  const [tokens, slots] = [index(rows.tokens), index(rows.slots)];
  const feeds: Feeds = {
    [OFFSETS]: { data: offsets, shape: [sites.length] },
    keep_rows_T: { data: tokens.slice(0, sizes.T), shape: [sizes.T] },
    keep_rows_R: { data: tokens.slice(0, sizes.R), shape: [sizes.R] },
    keep_rows_S: { data: slots.slice(0, sizes.B * heads * sizes.S), shape: [sizes.B, heads, sizes.S] },
    keep_rows_H: { data: slots.slice(0, sizes.B * heads), shape: [sizes.B, heads, 1] },
    ...(decoder ? {
      keep_rows_U: { data: tokens.slice(0, sizes.U), shape: [sizes.U] },
      keep_rows_V: { data: slots.slice(0, sizes.B * heads * sizes.V), shape: [sizes.B, heads, sizes.V] },
    } : {}),
  };
  for (const site of distinct(sites)) {
    const width = typeof site.width === 'string' ? sizes[site.width] : site.width;
    const height = 2 * pool(rowsOf(site));
    const data = new Float32Array(height * width);
    if (seed) fillKeep(data, site.p, Math.floor(stream(poolName(site)).next() * 2 ** 32));
    else data.fill(1);
    feeds[poolName(site)] = { data, shape: [height, width] };
  }
  return feeds;
}

/** Fills `data` with 0 (probability p) or 1/(1−p). sfc32, two 16-bit draws from each number. */
function fillKeep(data: Float32Array, p: number, seed: number): void {
  const threshold = Math.round(p * 65536);
  const keep = 1 / (1 - p);
  let a = seed | 0, b = 0x9e3779b9 | 0, c = 0x243f6a88 | 0, counter = 1;
  const next = (): number => {
    const t = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t | 0;
    return t;
  };
  for (let i = 0; i < 12; i++) next();
  for (let i = 0; i < data.length; i += 2) {
    const bits = next();
    data[i] = (bits & 0xffff) < threshold ? 0 : keep;
    if (i + 1 < data.length) data[i + 1] = (bits >>> 16) < threshold ? 0 : keep;
  }
}
