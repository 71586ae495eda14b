/** Speed against rank, length of the examples and size of the model, beside what the count of floating-point operations predicts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../support/paths';
import { median } from './arithmetic';
import { BASES, type BaseName } from './bases';
import { measureOurs, prepare, run } from './measure';
import { experimentOperations } from './operations';
import { ownFolder } from './places';
import { named, type Row } from './rows';

interface Point { base: BaseName; rank: number; length: number; label: string }
interface Series { title: string; axis: string; points: Point[] }

/** Tokens of one step. */
const TOKENS = 2048;
/** A measurement has as many steps as issue these operations, about eight seconds, so that those of small models are no shorter than others; but at least a few. */
const OPERATIONS = 2e12, LEAST_STEPS = 9;
const common = { base: 'bert-small' as BaseName, rank: 8, length: 128 };

const SERIES: Series[] = [
  { title: 'Rank', axis: 'r', points: [4, 16, 64, 256].map(rank => ({ ...common, rank, label: String(rank) })) },
  { title: 'Length', axis: 'tokens of an example', points: [64, 256, 1024, 2048].map(length => ({ ...common, base: 'bert-small-2048' as BaseName, length, label: String(length) })) },
  { title: 'Model', axis: 'layers × width', points: (['bert-mini', 'bert-small', 'bert-medium', 'bert-base'] as const).map(base => ({ ...common, base, label: `${BASES[base].config.num_hidden_layers} × ${BASES[base].config.hidden_size}` })) },
];

const rowOf = ({ base, rank, length }: Point, steps: number): Row => ({
  name: 'scaling', base, rank, lengths: Array<number>(8 * TOKENS / length).fill(length), batch: TOKENS / length, steps, dropout: 0, target_modules: ['query', 'value'], padding: 'longest', unit: 'tokens/s',
});

/**
 * Measures the points of the series that `rows` names (default all) in turns, prints a table of each and, with `picture`, draws them. The count says how the
 * speed changes, not how fast the machine is: it begins at the first point, and each round compares its points with its own first one.
 */
export async function measureScaling(rounds: number, { rows, picture }: { rows?: string; picture?: string } = {}): Promise<void> {
  const result = [];
  for (const { title, axis, points } of named(SERIES, rows)) {
    const measured = [];
    for (const point of points) {
      await prepare(rowOf(point, 1));
      const { issued, needed } = experimentOperations(ownFolder());
      measured.push({ row: rowOf(point, Math.max(LEAST_STEPS, Math.round(OPERATIONS / issued) + 1)), issued, needed, speeds: [] as number[] });
    }
    for (let round = 0; round < rounds; round++) {
      for (const { row, speeds } of measured) {
        await prepare(row);
        // All steps are alike, so the one in the middle is none that something else on the machine has made longer.
        speeds.push(TOKENS / median((await measureOurs(row)).step_seconds!));
      }
    }
    const [first] = measured;
    console.log(`\n| ${axis} | tokens/s | by the count | measured ÷ counted | million operations a token | needed of them |\n| --- | --- | --- | --- | --- | --- |`);
    const lines = measured.map(({ issued, needed, speeds }, i) => {
      const speed = median(speeds), counted = median(first.speeds) * first.issued / issued;
      const ratios = speeds.map((own, round) => own * issued / (first.speeds[round] * first.issued)).sort((a, b) => a - b);
      const spread = i === 0 ? '' : `${median(ratios).toFixed(3)} (${ratios[0].toFixed(3)} to ${ratios.at(-1)!.toFixed(3)})`;
      console.log(`| ${points[i].label} | ${speed.toFixed(0)} | ${counted.toFixed(0)} | ${spread} | ${(issued / TOKENS / 1e6).toFixed(1)} | ${(100 * needed / issued).toFixed(1)} % |`);
      return { speed, counted };
    });
    result.push({ title, axis, labels: points.map(point => point.label), measured: lines.map(({ speed }) => speed), predicted: lines.map(({ counted }) => counted) });
  }
  if (!picture) return;
  const data = join(ownFolder(), 'scaling.json');
  writeFileSync(data, JSON.stringify(result));
  await run(process.execPath, [join(ROOT, 'test/bench/plot.mjs'), data, picture]);
  console.log(`\n${picture}`);
}
