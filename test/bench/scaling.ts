/** Speed against rank, length of the examples and size of the model, beside what the count of floating-point operations predicts. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../support/paths';
import { besideCount, median, quantile } from './arithmetic';
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
/**
 * The share of a point's steps that are faster than what the table takes for its speed. Whatever else the machine and its host do makes steps longer and none
 * shorter, and those of long texts, which need the caches, more than others.
 */
const UNDISTURBED = 0.1;
/** In so many parts of the turns the same is computed once more, to see how far it can be trusted. */
const PARTS = 4;
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

const undisturbed = (turns: readonly (readonly number[])[]): number => quantile(turns.flat(), UNDISTURBED);

/**
 * Measures the points of the series that `rows` names (default all) in `turns` turns, prints a table of each and, with `picture`, draws them. The count says
 * how the speed changes, not how fast the machine is: it begins at the first point.
 */
export async function measureScaling(turns: number, { rows, picture }: { rows?: string; picture?: string } = {}): Promise<void> {
  const result = [];
  for (const { title, axis, points } of named(SERIES, rows)) {
    const folders: string[] = [];
    for (const point of points) folders.push(await preparePoint(point));
    const steps = await stepsInTurns(folders.map(folder => join(folder, 'bench.lora.json')), turns);
    const measured = folders.map((folder, i) => ({ ...experimentOperations(folder), turns: steps[i] }));
    const [first] = measured;
    console.log(`\n| ${axis} | tokens/s | by the count | measured ÷ counted | all steps, in the middle | million operations a token | needed of them |\n| --- | --- | --- | --- | --- | --- | --- |`);
    const lines = measured.map(point => {
      const speed = TOKENS / undisturbed(point.turns), counted = TOKENS / undisturbed(first.turns) * first.issued / point.issued;
      const part = Math.ceil(turns / PARTS);
      const parts = Array.from({ length: Math.ceil(turns / part) }, (_, i) => besideCount(point, first, of => undisturbed(of.slice(i * part, (i + 1) * part))));
      const columns = point === first ? ' | ' : `${besideCount(point, first, undisturbed).toFixed(3)} (${Math.min(...parts).toFixed(3)} to ${Math.max(...parts).toFixed(3)}) | ${besideCount(point, first, of => median(of.flat())).toFixed(3)}`;
      console.log(`| ${points[measured.indexOf(point)].label} | ${speed.toFixed(0)} | ${counted.toFixed(0)} | ${columns} | ${(point.issued / TOKENS / 1e6).toFixed(1)} | ${(100 * point.needed / point.issued).toFixed(1)} % |`);
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
