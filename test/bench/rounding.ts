/**
 * What rounding the base costs in training loss, beside what chance does to it:
 *
 *   npm run bench -- --rounding [--rounds 3] [--precisions int8,int4] [--bases sample,bert-mini,bert-small]
 *
 * 200 steps of the sample, and of random BERTs on a made-up task that they can learn. Every run is compared with the fp32 run of its seed:
 * the rounded ones, fp32 with a learning rate that is larger by a millionth, which a number of other rounding errors would do too, and
 * fp32 with another seed, which draws other start values and another order.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, built } from '../support/paths';
import type { TrainRecord } from '../../src/protocol/metrics';
import { random } from '../../src/engine/random';
import { word, type BaseName } from './bases';
import { run } from './measure';
import { linkBase, ownFolder } from './places';

const STEPS = 200, LAST = 50;
/** Words that tell the class, so many of each, and words that tell nothing. */
const TELLING = 20, OTHERS = 400;

interface Losses { all: number; last: number }

/** Prints a table of relative differences of the mean loss, of all steps and of the last 50, and their means over the seeds. */
export async function measureRounding({ rounds, precisions = 'int8', bases = 'sample,bert-mini,bert-small' }: { rounds: string; precisions?: string; bases?: string }): Promise<void> {
  const variants = [...precisions.split(',').map(precision => ({ name: precision, precision, rate: 1, seed: 0 })), { name: 'fp32, rate + 1e-6', precision: 'fp32', rate: 1 + 1e-6, seed: 0 }, { name: 'fp32, another seed', precision: 'fp32', rate: 1, seed: 1000 }];
  console.log(`| mean loss of ${STEPS} steps, and of the last ${LAST} | fp32 | ${variants.map(({ name }) => name).join(' | ')} |\n| --- |${' --- |'.repeat(variants.length + 1)}`);
  for (const base of bases.split(',')) {
    const differences: Losses[][] = variants.map(() => []);
    await prepareTask(base);
    for (let seed = 1; seed <= Number(rounds); seed++) {
      const exact = await train(base, { precision: 'fp32', rate: 1, seed });
      for (const [i, variant] of variants.entries()) {
        const found = await train(base, { ...variant, seed: variant.seed + seed });
        differences[i].push({ all: found.all / exact.all - 1, last: found.last / exact.last - 1 });
      }
      console.log(`| ${base}, seed ${seed} | ${exact.all.toFixed(4)}, ${exact.last.toFixed(4)} | ${differences.map(list => shares(list.at(-1)!)).join(' | ')} |`);
    }
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    console.log(`| ${base}, mean of the seeds | | ${differences.map(list => shares({ all: mean(list.map(d => d.all)), last: mean(list.map(d => d.last)) })).join(' | ')} |`);
  }
}

const share = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(100 * value).toFixed(2)} %`;
const shares = ({ all, last }: Losses): string => `${share(all)}, ${share(last)}`;
const place = (base: string): string => join(ownFolder(), `rounding-${base}`);

/** A folder with `model` and `train.jsonl`. */
async function prepareTask(base: string): Promise<void> {
  rmSync(place(base), { recursive: true, force: true });
  mkdirSync(place(base), { recursive: true });
  if (base === 'sample') return cpSync(join(ROOT, 'media/sample'), place(base), { recursive: true });
  await linkBase(base as BaseName, join(place(base), 'model'));
  const stream = random(3, 'rounding-words');
  const below = (n: number): number => Math.floor(stream.next() * n);
  // Two to five words of the text tell its class, one in four texts also has a word of the other.
  const lines = Array.from({ length: STEPS * 16 }, (_, i) => {
    const words = Array.from({ length: 8 + below(16) }, () => word(2 * TELLING + below(OTHERS)));
    for (let n = 2 + below(4); n > 0; n--) words.splice(below(words.length), 0, word((i % 2) * TELLING + below(TELLING)));
    if (below(4) === 0) words.splice(below(words.length), 0, word(((i + 1) % 2) * TELLING + below(TELLING)));
    return JSON.stringify({ text: words.join(' '), label: i % 2 });
  });
  writeFileSync(join(place(base), 'train.jsonl'), `${lines.join('\n')}\n`);
}

async function train(base: string, { precision, rate, seed }: { precision: string; rate: number; seed: number }): Promise<Losses> {
  const at = place(base), file = join(at, 'rounding.lora.json');
  rmSync(join(at, 'run'), { recursive: true, force: true });
  writeFileSync(file, JSON.stringify({
    base_model: 'model', task: 'SEQ_CLS', dataset: { train: 'train.jsonl' }, lora: { r: 8, lora_alpha: 16, target_modules: ['query', 'value'] },
    training: { per_device_train_batch_size: 16, max_steps: STEPS, learning_rate: (base === 'sample' ? 3e-3 : 1e-3) * rate, warmup_steps: 20, max_length: 64, seed, eval_strategy: 'no', save_strategy: 'no' },
    engine: { device: 'cpu', precision, compare_precision: 'off' }, output_dir: 'run',
  }));
  await run(process.execPath, [built('engine/cli.js'), 'train', file]);
  const losses = readFileSync(join(at, 'run/metrics.jsonl'), 'utf8').trim().split('\n').map(line => Number((JSON.parse(line) as TrainRecord).loss));
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  return { all: mean(losses), last: mean(losses.slice(-LAST)) };
}
