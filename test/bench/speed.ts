/** The rows of the bench: ours and PEFT in turns, and the README's table of them. */
import { cpus } from 'node:os';
import { refusal } from './gpu/arms';
import { measureOurs, measurePeft, prepare, python, type Measurement } from './measure';
import type { Row } from './rows';
import { isBelow, tableHead, tableRow, type Bf16, type RowResult } from './table';

/** Prints each row as it is measured and returns the table, and the names of the rows that are slower than is asked of them. `bf16`: PEFT in that, too. */
export async function measureRows(rows: readonly Row[], { rounds, bf16, note = '' }: { rounds: number; bf16?: Bf16; note?: string }): Promise<{ table: string[]; below: string[] }> {
  const table = [`${cpus()[0].model.trim()}, ${cpus().length} cores, ${new Date().toISOString().slice(0, 10)}, ${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`} in turns${note}`, '', ...tableHead(bf16)];
  const below: string[] = [];
  for (const group of alike(rows)) {
    for (const result of await measureGroup(group, rounds, bf16)) {
      table.push(tableRow(result));
      if (isBelow(result)) below.push(result.row.name);
      console.log(table.at(-1));
      const gap = result.refused ? undefined : lossGap(result);
      if (gap) console.log(`  relative difference of the first loss: ${gap[0].toExponential(1)}; at most of the ${result.row.steps} losses, with another A on either side: ${Math.max(...gap).toExponential(1)}`);
    }
  }
  return { table, below };
}

/** What PEFT computes alike for two rows is measured once a round, between both. */
async function measureGroup(group: readonly Row[], rounds: number, bf16?: Bf16): Promise<RowResult[]> {
  const theirs: Measurement[] = [], rounded: Measurement[] = [];
  const results: RowResult[] = group.map(row => ({ row, ours: [], theirs, ...(bf16 ? { bf16: rounded } : {}) }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, { row, ours }] of results.entries()) {
      if (results[i].refused) continue;
      await prepare(row);
      const measured = await measureOurs(row).catch((error: unknown) => {
        // A processor may lack what base weights in few bits take; the other rows can be measured all the same.
        if (row.engine?.precision === undefined || !/cannot be computed on/.test(String(error))) throw error;
        results[i].refused = refusal(error);
      });
      if (measured) ours.push(measured);
      if (i > 0 || !python || !measured) continue;
      theirs.push(await measurePeft(row));
      if (bf16) rounded.push(await measurePeft(row, { precision: bf16 }));
    }
  }
  const fp32 = results.find(({ row }) => row.engine?.precision === undefined)?.ours;
  return results.map(result => ({ ...result, fp32 }));
}

/** Rows one after the other that PEFT computes alike: it knows neither our engine nor halving. */
export function alike(rows: readonly Row[]): Row[][] {
  const key = (row: Row): string => JSON.stringify({ ...row, name: '', must: undefined, must_of_fp32: undefined, engine: undefined, sweep: row.sweep && { ...row.sweep, halving: undefined } });
  const groups: Row[][] = [];
  for (const row of rows) {
    const last = groups.at(-1);
    if (last && key(last[0]) === key(row)) last.push(row); else groups.push([row]);
  }
  return groups;
}

/** Relative difference of each loss. Steps are compared that see the same texts without dropout. Each side draws an A of its own, which shows from the second step on: B is zero in the first. */
function lossGap({ row, ours: [ours], theirs: [theirs] }: RowResult): number[] | undefined {
  if (!theirs || row.dropout > 0 || row.packed_rows !== undefined || row.padding === 'grouped') return undefined;
  return ours.losses.map((loss, i) => Math.abs(loss - theirs.losses[i]) / theirs.losses[i]);
}
