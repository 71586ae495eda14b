/** Speed against rank, length of the examples and size of the model, beside what the count of floating-point operations predicts. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../support/paths';
import { besideCount, median, quantile, quietest } from './arithmetic';
import { BASES, type BaseName } from './bases';
import { writeExperiment } from './experiment';
import { run } from './measure';
import { experimentOperations } from './operations';
import { linkBase, ownFolder } from './places';
import { named, type Row } from './rows';
import { stepsInTurns } from './turns';

interface Point { base: BaseName; rank: number; length: number; label: string }
interface Series { title: string; axis: string; points: Point[] }

/** Tokens of one step. */
const TOKENS = 2048;
/** The share of turns whose speeds are those of the table. */
const QUIET = 0.25;
const common = { base: 'bert-small' as BaseName, rank: 8, length: 128 };

const SERIES: Series[] = [
  { title: 'Rank', axis: 'r', points: [4, 16, 64, 256].map(rank => ({ ...common, rank, label: String(rank) })) },
  { title: 'Length', axis: 'tokens of an example', points: [64, 256, 1024, 2048].map(length => ({ ...common, base: 'bert-small-2048' as BaseName, length, label: String(length) })) },
  { title: 'Model', axis: 'layers × width', points: (['bert-mini', 'bert-small', 'bert-medium', 'bert-base'] as const).map(base => ({ ...common, base, label: `${BASES[base].config.num_hidden_layers} × ${BASES[base].config.hidden_size}` })) },
];

/** All steps are alike; there are more than any number of turns takes. */
const rowOf = ({ base, rank, length }: Point): Row => ({
  name: 'scaling', base, rank, lengths: Array<number>(8 * TOKENS / length).fill(length), batch: TOKENS / length, steps: 1e6, dropout: 0, target_modules: ['query', 'value'], padding: 'longest', unit: 'tokens/s',
});

/** Writes checkpoint, data and experiment of a point to a folder of its own, and returns it. */
async function preparePoint(point: Point): Promise<string> {
  const folder = mkdtempSync(join(ownFolder(), 'point-'));
  await linkBase(point.base, join(folder, point.base));
  writeExperiment(folder, rowOf(point));
  return folder;
}

/**
 * Measures the points of the series that `rows` names (default all) in `turns` turns, prints a table of each and, with `picture`, draws them. The count says
 * how the speed changes, not how fast the machine is: it begins at the first point, and each turn compares its points with its own first one.
 */
export async function measureScaling(turns: number, { rows, picture }: { rows?: string; picture?: string } = {}): Promise<void> {
  const result = [];
  for (const { title, axis, points } of named(SERIES, rows)) {
    const folders: string[] = [];
    for (const point of points) folders.push(await preparePoint(point));
    const steps = await stepsInTurns(folders.map(folder => join(folder, 'bench.lora.json')), turns);
    const measured = folders.map((folder, i) => ({ ...experimentOperations(folder), seconds: steps[i].map(median) }));
    const quiet = quietest(measured.map(({ seconds }) => seconds), QUIET);
    const [first] = measured;
    const speedOf = (seconds: readonly number[]): number => TOKENS / median(quiet.map(turn => seconds[turn]));
    console.log(`\n| ${axis} | tokens/s | by the count | measured ÷ counted | the same in all turns | million operations a token | needed of them |\n| --- | --- | --- | --- | --- | --- | --- |`);
    const lines = measured.map(({ issued, needed, seconds }, i) => {
      const ratios = besideCount(seconds, issued, first), quietRatios = quiet.map(turn => ratios[turn]);
      const speed = speedOf(seconds), counted = speedOf(first.seconds) * first.issued / issued;
      const beside = (of: number[]): string => (i === 0 ? '' : `${median(of).toFixed(3)} (${quantile(of, 0.25).toFixed(3)} to ${quantile(of, 0.75).toFixed(3)})`);
      console.log(`| ${points[i].label} | ${speed.toFixed(0)} | ${counted.toFixed(0)} | ${beside(quietRatios)} | ${beside(ratios)} | ${(issued / TOKENS / 1e6).toFixed(1)} | ${(100 * needed / issued).toFixed(1)} % |`);
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
