/** Masks of dropout: rows of a pool that no two places of a token share more often than chance has it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropoutFeeds, OFFSETS, poolName, rowsName, type DropoutSeed, type DropoutSite } from '../../src/engine/training/dropout';
import type { BatchLayout, BatchSizes } from '../../src/engine/training/layout';

const [WIDTH, P] = [64, 0.25];
/** As many places of one width as BERT-base has, and attention probabilities. */
const HIDDEN = Array.from({ length: 25 }, (): DropoutSite => ({ rows: 'T', width: WIDTH, p: P }));
const SITES: DropoutSite[] = [...HIDDEN, { rows: 'S', width: 'S', p: P }];
const LAYOUT = { heads: { query: 2, key_value: 2 }, read: 'first', causal: false, pad_token_id: null, rotary: null } satisfies BatchLayout;
const SEED: DropoutSeed = { seed: 1, step: 3, micro_step: 0, portion: 0 };

const feedsOf = (tokens: number, seed: DropoutSeed | null = SEED) => dropoutFeeds(SITES, LAYOUT, { T: tokens, B: 1, S: tokens, R: 1, U: 0, V: 0 } satisfies BatchSizes, seed);
/** The mask [tokens, WIDTH] of one place. */
function maskOf(feeds: ReturnType<typeof feedsOf>, site: number): string[] {
  const [pool, rows, offsets] = [poolName(SITES[site]), rowsName(SITES[site]), OFFSETS].map(name => feeds[name].data as Float32Array);
  return Array.from(rows, row => pool.slice((row + offsets[site]) * WIDTH, (row + offsets[site] + 1) * WIDTH).join());
}

test('in a short text too most places of a token have a mask of their own', () => {
  for (let step = 1; step <= 20; step++) {
    const feeds = feedsOf(8, { ...SEED, step });
    const masks = HIDDEN.map((_, site) => maskOf(feeds, site));
    for (let token = 0; token < 8; token++) assert.ok(new Set(masks.map(rows => rows[token])).size >= 17, `step ${step}, token ${token}: ${new Set(masks.map(rows => rows[token])).size} different masks in 25 places`);
  }
});

test('every window lies in its pool, and as much is kept as is to be', () => {
  for (const tokens of [1, 8, 512, 700]) {
    const feeds = feedsOf(tokens);
    const offsets = feeds[OFFSETS].data as Int32Array;
    SITES.forEach((site, i) => {
      const rows = Math.max(...(feeds[rowsName(site)].data as Int32Array)) + 1;
      assert.ok(offsets[i] + rows <= feeds[poolName(site)].shape[0], `${tokens} tokens, place ${i}`);
    });
    const pool = feeds[poolName(HIDDEN[0])].data as Float32Array;
    const kept = pool.filter(value => value !== 0);
    assert.ok(kept.every(value => value === Math.fround(1 / (1 - P))) && Math.abs(kept.length / pool.length - (1 - P)) < 0.01);
  }
});

test('masks depend on the seed alone, and without one nothing is dropped', () => {
  assert.deepEqual(feedsOf(8), feedsOf(8));
  assert.notDeepEqual(maskOf(feedsOf(8), 0), maskOf(feedsOf(8, { ...SEED, portion: 1 }), 0));
  assert.ok((feedsOf(8, null)[poolName(HIDDEN[0])].data as Float32Array).every(value => value === 1));
});
