/** Where a batch takes the rows of trained tables (ops/embedding.ts), for their gradients. */
import type { Feeds, InputSpec } from '../executors/executor';
import type { IndexName } from '../model/family';

/** A table of `rows` rows that is read by one of the batch's index vectors. `padding` names the row that gets no gradient. */
export interface TableSite {
  ids: IndexName;
  rows: number;
  padding: number | null;
  /** The table holds only these rows of a larger one, of the module of this name. */
  only?: { name: string; indices: readonly number[] };
}

/** Places whose gradients are summed at once. */
const GROUP = 16;

/** Names of the inputs of a site. Sites that read by the same indices share all but `rows`. */
export const tableInputs = ({ ids, rows, padding, only }: TableSite) => ({
  groups: `${ids}_groups`, mask: `${ids}_group_mask`, merged: `${ids}_merged`, rows: only ? `${ids}_rows_of_${only.name}` : `${ids}_rows_${rows}${padding === null ? '' : `_${padding}`}`,
});

/** Inputs of a program for its sites: groups and mask [G, 16, 1], merged [U, M] and rows [n]. */
export function tableSpecs(sites: readonly TableSite[]): InputSpec[] {
  const specs = new Map<string, InputSpec>();
  for (const site of sites) {
    const names = tableInputs(site);
    const [G, U, M] = ['G', 'U', 'M'].map(letter => `${site.ids}:${letter}`);
    for (const [name, dtype, shape] of [
      [names.groups, 'int32', [G, GROUP]], [names.mask, 'float32', [G, GROUP, 1]], [names.merged, 'int32', [U, M]], [names.rows, 'int32', [site.rows]],
    ] as const) specs.set(name, { name, dtype, shape: [...shape] });
  }
  return [...specs.values()];
}

/** The values of `tableSpecs` for the index vectors of a batch. */
export function tableFeeds(sites: readonly TableSite[], batch: Feeds): Feeds {
  const feeds: Feeds = {};
  const sums = new Map<IndexName, Map<number, number>>();
  for (const site of sites) {
    const names = tableInputs(site);
    if (!sums.has(site.ids)) {
      const { groups, mask, merged, sumOf } = group(batch[site.ids].data as Int32Array);
      sums.set(site.ids, sumOf);
      feeds[names.groups] = { data: groups, shape: [groups.length / GROUP, GROUP] };
      feeds[names.mask] = { data: mask, shape: [groups.length / GROUP, GROUP, 1] };
      feeds[names.merged] = { data: merged, shape: [sumOf.size + 1, merged.length / (sumOf.size + 1)] };
    }
    const rows = new Int32Array(site.rows);
    const known = sums.get(site.ids)!;
    if (site.only) site.only.indices.forEach((id, i) => { rows[i] = id === site.padding ? 0 : known.get(id) ?? 0; });
    else {
      for (const [id, sum] of known) rows[id] = sum;
      if (site.padding !== null) rows[site.padding] = 0;
    }
    feeds[names.rows] = { data: rows, shape: [site.rows] };
  }
  return feeds;
}

/** The places of every number in groups, the groups of every number in a row of `merged`, and which row that is. Both begin with an empty one. */
function group(ids: Int32Array): { groups: Int32Array; mask: Float32Array; merged: Int32Array; sumOf: Map<number, number> } {
  const places = new Map<number, number[]>();
  ids.forEach((id, place) => { const known = places.get(id); if (known) known.push(place); else places.set(id, [place]); });
  let count = 1, most = 1;
  for (const { length } of places.values()) {
    const own = Math.ceil(length / GROUP);
    count += own;
    most = Math.max(most, own);
  }
  const groups = new Int32Array(count * GROUP), mask = new Float32Array(count * GROUP);
  const merged = new Int32Array((places.size + 1) * most);
  const sumOf = new Map<number, number>();
  let next = 1;
  for (const [id, own] of places) {
    const sum = sumOf.size + 1;
    sumOf.set(id, sum);
    own.forEach((place, i) => {
      groups[next * GROUP + i] = place;
      mask[next * GROUP + i] = 1;
    });
    const used = Math.ceil(own.length / GROUP);
    for (let i = 0; i < used; i++) merged[sum * most + i] = next + i;
    next += used;
  }
  return { groups, mask, merged, sumOf };
}
