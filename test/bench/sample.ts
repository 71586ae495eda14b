/**
 * The sample experiment with other seeds, and with base weights in few bits: accuracy before and after, and the mean of the training losses.
 *
 *   npm run bench -- --sample [--rounds 11] [--steps 200] [--precisions fp32,int8,int4] [--devices cpu]
 *
 * The first seed is the sample's own, 42, the others are 1, 2 and so on. Without `--steps` it trains its three epochs.
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Summary } from '../../src/protocol/metrics';
import { ROOT, built } from '../support/paths';
import { run } from './measure';
import { ownFolder } from './places';

const SAMPLE = join(ROOT, 'media/sample');

export interface SampleSettings { rounds: number; steps?: number; precisions?: string; devices?: string }

interface SampleRun { before: number; after: number; loss: number }

/** Prints a line for each seed, and the least and the most of each precision. */
export async function measureSample({ rounds, steps = -1, precisions = 'fp32', devices: device = 'cpu' }: SampleSettings): Promise<void> {
  const names = precisions.split(',');
  const runs: SampleRun[][] = names.map(() => []);
  const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
  console.log(`| ${steps === -1 ? 'the sample' : `${steps} steps of the sample`}: accuracy before and after, mean training loss | ${names.join(' | ')} |\n| --- |${' --- |'.repeat(names.length)}`);
  for (let round = 0; round < rounds; round++) {
    const seed = round || 42;
    for (const [i, precision] of names.entries()) runs[i].push(await train({ seed, steps, precision, device }));
    console.log(`| seed ${seed} | ${runs.map(list => { const { before, after, loss } = list.at(-1)!; return `${percent(before)}, ${percent(after)}, ${loss.toFixed(4)}`; }).join(' | ')} |`);
  }
  const range = (values: number[], text: (value: number) => string): string => `${text(Math.min(...values))} to ${text(Math.max(...values))}`;
  console.log(`| least to most | ${runs.map(list => `${range(list.map(r => r.before), percent)}, ${range(list.map(r => r.after), percent)}, ${range(list.map(r => r.loss), value => value.toFixed(4))}`).join(' | ')} |`);
}

/** Trains a copy of the sample as it is committed, but for these settings. */
async function train({ seed, steps, precision, device }: { seed: number; steps: number; precision: string; device: string }): Promise<SampleRun> {
  const folder = join(ownFolder(), 'sample'), file = join(folder, 'sentiment.lora.json');
  rmSync(folder, { recursive: true, force: true });
  // Runs of a person who tried the sample stay where they are.
  cpSync(SAMPLE, folder, { recursive: true, filter: path => ![join(SAMPLE, 'runs'), join(SAMPLE, '.lora')].includes(path) });
  const changed = [['"seed": 42', `"seed": ${seed}, "max_steps": ${steps}`], ['"device": "auto"', `"device": "${device}", "precision": "${precision}", "compare_precision": "off"`]]
    .reduce((text, [from, to]) => {
      if (!text.includes(from)) throw new Error(`${from} is not in ${file}`);
      return text.replace(from, to);
    }, readFileSync(file, 'utf8'));
  writeFileSync(file, changed);
  const { eval_before, eval: after, train_loss } = JSON.parse(await run(process.execPath, [built('engine/cli.js'), 'train', file])) as Summary;
  return { before: Number(eval_before!.accuracy), after: Number(after!.accuracy), loss: train_loss };
}
