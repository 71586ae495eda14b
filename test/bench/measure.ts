/** Runs one row in our engine or in PEFT, in a process of its own. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, built } from '../support/paths';
import type { Summary, SweepSummary, TrainRecord } from '../../src/protocol/metrics';
import { parseSweep, type Changes } from '../../src/protocol/sweep';
import { writeExperiment } from './experiment';
import { ownBase, ownFolder, started } from './places';
import type { Row } from './rows';

export interface Measurement { tokens_per_second: number; examples_per_second: number; peak_memory_bytes: number; first_step_seconds: number; losses: number[] }

/** A Python with torch, transformers and peft. */
export const python = process.env.LORA_LAB_PYTHON;

/** Runs a program to its end and returns what it printed. `line` is called with each line of its standard output. */
export function run(command: string, args: string[], line: (text: string) => void = () => {}, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  started.add(child);
  let out = '', err = '', rest = '';
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
    const lines = (rest + data.toString()).split('\n');
    rest = lines.pop()!;
    lines.forEach(line);
  });
  child.stderr.on('data', data => { err += data; });
  return new Promise((resolve, reject) => child.once('close', code => {
    started.delete(child);
    if (code === 0) resolve(out); else reject(new Error(`${command} ended with ${code}\n${err}`));
  }));
}

/** Trains the row that `prepare` wrote. `env` is for the engine's process. */
export async function measureOurs(row: Row, env: NodeJS.ProcessEnv = {}): Promise<Measurement> {
  if (row.sweep) return measureOurSweep(row);
  const output = join(ownFolder(), 'run');
  rmSync(output, { recursive: true, force: true });
  const begun = performance.now();
  const metrics = join(output, 'metrics.jsonl');
  let first = 0;
  const watch = setInterval(() => { if (!first && existsSync(metrics) && readFileSync(metrics, 'utf8').includes('\n')) first = (performance.now() - begun) / 1000; }, 20);
  const summary = JSON.parse(await run(process.execPath, [built('engine/cli.js'), 'train', join(ownFolder(), 'bench.lora.json')], undefined, env).finally(() => clearInterval(watch))) as Summary;
  const records = readFileSync(metrics, 'utf8').trim().split('\n').map(line => JSON.parse(line) as TrainRecord);
  const last = records.at(-1)!;
  const before = row.counts_first ? { time: 0, tokens: 0, step: 0 } : records[(row.warm_up ?? 1) - 1];
  const seconds = last.time - before.time;
  return {
    tokens_per_second: (last.tokens - before.tokens) / seconds, examples_per_second: ((last.step - before.step) * row.batch) / seconds,
    peak_memory_bytes: summary.peak_memory_bytes, first_step_seconds: first, losses: records.map(record => Number(record.loss)),
  };
}

/** All members in one process. Their time is that of training and evaluating, as for a single run, not that of the start. */
async function measureOurSweep(row: Row): Promise<Measurement> {
  rmSync(join(ownFolder(), 'run'), { recursive: true, force: true });
  const sweep = JSON.parse(await run(process.execPath, [built('engine/cli.js'), 'sweep', join(ownFolder(), 'bench.lora.json')])) as SweepSummary;
  const read = (name: string, file: string): string => readFileSync(join(sweep.folder, name, file), 'utf8');
  const seconds = sweep.members.reduce((sum, { name }) => sum + (JSON.parse(read(name, 'summary.json')) as Summary).seconds, 0);
  const [first] = sweep.members.map(({ name }) => name).sort();
  const records = read(first, 'metrics.jsonl').trim().split('\n').map(line => JSON.parse(line) as TrainRecord).filter(({ loss }) => loss !== undefined);
  return {
    ...speedOf(row, sweep.members.length, seconds), peak_memory_bytes: sweep.peak_memory_bytes,
    first_step_seconds: sweep.seconds - seconds + records[0].time, losses: records.map(({ loss }) => Number(loss)),
  };
}

/** One process after the other. */
async function measurePeftSweep(row: Row, members: readonly Changes[]): Promise<Measurement> {
  const measured: Measurement[] = [];
  for (const member of members) {
    writeExperiment(ownFolder(), row, member);
    measured.push(await measurePeft({ ...row, sweep: undefined }));
  }
  writeExperiment(ownFolder(), row);
  const seconds = measured.reduce((sum, m) => sum + (row.steps * row.batch) / m.examples_per_second, 0);
  return { ...speedOf(row, members.length, seconds), peak_memory_bytes: Math.max(...measured.map(m => m.peak_memory_bytes)), first_step_seconds: measured[0].first_step_seconds, losses: measured[0].losses };
}

/** Of so many experiments, all examples being of one length. */
function speedOf({ steps, batch, lengths }: Row, experiments: number, seconds: number): Pick<Measurement, 'tokens_per_second' | 'examples_per_second'> {
  const examples_per_second = (experiments * steps * batch) / seconds;
  return { examples_per_second, tokens_per_second: examples_per_second * lengths[0] };
}

/** The same in PEFT: on the CPU in fp32, or as `settings` say. */
export async function measurePeft(row: Row, { device = 'cpu', precision = 'fp32' }: { device?: string; precision?: string } = {}): Promise<Measurement> {
  const sweep = row.sweep && parseSweep({ sweep: row.sweep }).sweep;
  if (sweep) return measurePeftSweep(row, sweep.members);
  const begun = performance.now();
  let first = 0;
  const out = await run(python!, [join(ROOT, 'test/bench/peft_bench.py'), ownFolder(), row.padding, '--batch', String(row.batch), '--warm-up', String(row.counts_first ? 0 : row.warm_up ?? 1), '--device', device, '--precision', precision], line => { if (line === 'first step') first = (performance.now() - begun) / 1000; });
  return { ...JSON.parse(out.trim().split('\n').at(-1)!) as Measurement, first_step_seconds: first };
}

/** Writes base, data and experiment of a row. */
export async function prepare(row: Row): Promise<void> {
  await ownBase(row.base);
  writeExperiment(ownFolder(), row);
}

/** Of an even number of values the mean of the middle two. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
