/** Runs one row in our engine or in PEFT, in a process of its own. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, built } from '../support/paths';
import { isEvalRecord, type MetricRecord, type Summary, type SweepSummary, type TrainRecord } from '../../src/protocol/metrics';
import { parseSweep, type Changes } from '../../src/protocol/sweep';
import { speedAfterWarmUp, sweepSpeed, warmUp, type Speed } from './arithmetic';
import { writeExperiment } from './experiment';
import { ownBase, ownFolder, started } from './places';
import type { Row } from './rows';

export interface Measurement extends Speed { peak_memory_bytes: number; first_step_seconds: number; losses: number[] }

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

/** Node, and the engine's command line. */
export interface Program { node: string; cli: string }
const HERE = (): Program => ({ node: process.execPath, cli: built('engine/cli.js') });

/** Trains the row that `prepare` wrote. `env` is for the engine's process. */
export async function measureOurs(row: Row, env: NodeJS.ProcessEnv = {}, program = HERE()): Promise<Measurement> {
  const output = join(ownFolder(), 'run');
  rmSync(output, { recursive: true, force: true });
  if (row.sweep) return measureOurSweep(row, output, program);
  const metrics = join(output, 'metrics.jsonl');
  const { out, seen } = await timed(program, 'train', env, { first: () => existsSync(metrics) && readFileSync(metrics, 'utf8').includes('\n') });
  const summary = JSON.parse(out) as Summary;
  const records = readRecords(metrics);
  return { ...speedAfterWarmUp(row, records), peak_memory_bytes: summary.peak_memory_bytes, first_step_seconds: seen.first!, losses: records.map(record => Number(record.loss)) };
}

/**
 * All members in one process. Their time is that of training and evaluating, as for a single run, not that of the start: each member's own, and before
 * the first of them the evaluation that all share, which is made as soon as the sweep has its folder.
 */
async function measureOurSweep(row: Row, output: string, program: Program): Promise<Measurement> {
  const firstMember = (): string | undefined => readdirSync(output).map(name => join(output, name, 'metrics.jsonl')).find(file => existsSync(file) && readFileSync(file, 'utf8').includes('"loss":'));
  const { out, seen } = await timed(program, 'sweep', {}, { folder: () => existsSync(output), first: () => existsSync(output) && firstMember() !== undefined });
  const sweep = JSON.parse(out) as SweepSummary;
  // They are listed by rank; their names tell in which order they began.
  const members = sweep.members.map(({ name }) => name).sort().map(name => ({ records: readRecords(join(sweep.folder, name, 'metrics.jsonl')), seconds: (JSON.parse(readFileSync(join(sweep.folder, name, 'summary.json'), 'utf8')) as Summary).seconds }));
  const [{ records }] = members;
  const before = Math.max(0, seen.first! - seen.folder! - records[0].time);
  const seconds = before + members.reduce((sum, member) => sum + member.seconds, 0);
  return { ...sweepSpeed(row, members.length, seconds), peak_memory_bytes: sweep.peak_memory_bytes, first_step_seconds: seen.first!, losses: records.map(({ loss }) => Number(loss)) };
}

/** Runs the engine's command on the experiment and returns what it printed and, by their names, the seconds since its start after which something was so. */
async function timed({ node, cli }: Program, command: 'train' | 'sweep', env: NodeJS.ProcessEnv, moments: Record<string, () => boolean>): Promise<{ out: string; seen: Record<string, number | undefined> }> {
  const begun = performance.now();
  const seen: Record<string, number | undefined> = {};
  const watch = setInterval(() => {
    for (const [name, isSo] of Object.entries(moments)) if (seen[name] === undefined && isSo()) seen[name] = (performance.now() - begun) / 1000;
  }, 20);
  const out = await run(node, [cli, command, join(ownFolder(), 'bench.lora.json')], undefined, env).finally(() => clearInterval(watch));
  return { out, seen };
}

/** Those of the steps; the evaluations' are left out. */
const readRecords = (metrics: string): TrainRecord[] => readFileSync(metrics, 'utf8').trim().split('\n').map(line => JSON.parse(line) as MetricRecord).filter((record): record is TrainRecord => !isEvalRecord(record));

/** One process after the other. */
async function measurePeftSweep(row: Row, members: readonly Changes[], settings: PeftSettings): Promise<Measurement> {
  const measured: Measurement[] = [];
  for (const member of members) {
    writeExperiment(ownFolder(), row, member);
    measured.push(await measurePeft({ ...row, sweep: undefined }, settings));
  }
  writeExperiment(ownFolder(), row);
  const seconds = measured.reduce((sum, m) => sum + (row.steps * row.batch) / m.examples_per_second, 0);
  return { ...sweepSpeed(row, members.length, seconds), peak_memory_bytes: Math.max(...measured.map(m => m.peak_memory_bytes)), first_step_seconds: measured[0].first_step_seconds, losses: measured[0].losses };
}

/** `precision` is one of peft_bench.py's. */
export interface PeftSettings { device?: string; precision?: string }

/** The same in PEFT: on the CPU in fp32, or as `settings` say. */
export async function measurePeft(row: Row, settings: PeftSettings = {}): Promise<Measurement> {
  const sweep = row.sweep && parseSweep({ sweep: row.sweep }).sweep;
  if (sweep) return measurePeftSweep(row, sweep.members, settings);
  const { device = 'cpu', precision = 'fp32' } = settings;
  const begun = performance.now();
  let first = 0;
  const out = await run(python!, [join(ROOT, 'test/bench/peft_bench.py'), ownFolder(), row.padding, '--batch', String(row.batch), '--warm-up', String(warmUp(row)), '--device', device, '--precision', precision], line => { if (line === 'first step') first = (performance.now() - begun) / 1000; });
  return { ...JSON.parse(out.trim().split('\n').at(-1)!) as Measurement, first_step_seconds: first };
}

/** Writes base, data and experiment of a row. */
export async function prepare(row: Row): Promise<void> {
  await ownBase(row.base);
  writeExperiment(ownFolder(), row);
}
