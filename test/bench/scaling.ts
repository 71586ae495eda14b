/** Speed against rank, length of the examples and size of the model, beside what the count of floating-point operations predicts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../support/paths';
import { BASES, type BaseName } from './bases';
import { measureOurs, median, prepare, run } from './measure';
import { ownFolder } from './places';
import type { Row } from './rows';

interface Point { base: BaseName; rank: number; length: number; label: string }
interface Series { title: string; axis: string; points: Point[] }

/** Tokens of one step. */
const TOKENS = 2048;
const common = { base: 'bert-small' as BaseName, rank: 8, length: 128 };

const SERIES: Series[] = [
  { title: 'Rank', axis: 'r', points: [4, 16, 64, 256].map(rank => ({ ...common, rank, label: String(rank) })) },
  { title: 'Length', axis: 'tokens of an example', points: [64, 256, 1024, 2048].map(length => ({ ...common, base: 'bert-small-2048' as BaseName, length, label: String(length) })) },
  { title: 'Model', axis: 'layers × width', points: (['bert-mini', 'bert-small', 'bert-medium', 'bert-base'] as const).map(base => ({ ...common, base, label: `${BASES[base].config.num_hidden_layers} × ${BASES[base].config.hidden_size}` })) },
];

/**
 * Operations for one token of a BERT with adapters on query and value: forward and backward through the frozen layers
 * (no gradients of their weights), attention, adapters.
 */
function operations({ base, rank, length }: Point): number {
  const { num_hidden_layers: layers, hidden_size: d } = BASES[base].config as { num_hidden_layers: number; hidden_size: number };
  return layers * (4 * 12 * d * d + 12 * length * d + 24 * rank * d);
}

/** Measures every point, prints a table and, with `picture`, draws it. */
export async function measureScaling(rounds: number, picture?: string): Promise<void> {
  const result = [];
  for (const { title, axis, points } of SERIES) {
    const measured: number[] = [];
    for (const point of points) {
      const row: Row = {
        name: title, base: point.base, rank: point.rank, lengths: Array<number>(8 * TOKENS / point.length).fill(point.length), batch: TOKENS / point.length, steps: 8, dropout: 0, target_modules: ['query', 'value'],
        padding: 'longest', unit: 'tokens/s', must: 0,
      };
      await prepare(row);
      const speeds: number[] = [];
      for (let round = 0; round < rounds; round++) speeds.push((await measureOurs(row)).tokens_per_second);
      measured.push(median(speeds));
    }
    // The count says how the speed changes, not how fast the machine is: it begins at the first point.
    const predicted = points.map(point => measured[0] * operations(points[0]) / operations(point));
    console.log(`\n| ${axis} | tokens/s | predicted by the count of operations |\n| --- | --- | --- |`);
    points.forEach((point, i) => console.log(`| ${point.label} | ${measured[i].toFixed(0)} | ${predicted[i].toFixed(0)} |`));
    result.push({ title, axis, labels: points.map(point => point.label), measured, predicted });
  }
  if (!picture) return;
  const data = join(ownFolder(), 'scaling.json');
  writeFileSync(data, JSON.stringify(result));
  await run(process.execPath, [join(ROOT, 'test/bench/plot.mjs'), data, picture]);
  console.log(`\n${picture}`);
}
