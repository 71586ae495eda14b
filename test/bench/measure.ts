/** Runs one row in our engine or in PEFT, in a process of its own. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, built } from '../support/paths';
import type { Summary, TrainRecord } from '../../src/protocol/metrics';
import { BASES, makeBase } from './bases';
import { writeExperiment } from './experiment';
import type { Row } from './rows';

export interface Measurement { tokens_per_second: number; examples_per_second: number; peak_memory_bytes: number; first_step_seconds: number; losses: number[] }

/** Where checkpoints, data and runs are written. */
export const folder = join(tmpdir(), 'lora-lab-bench');
/** A Python with torch, transformers and peft. */
export const python = process.env.LORA_LAB_PYTHON;

/** Runs a program to its end and returns what it printed. `line` is called with each line of its standard output. */
export function run(command: string, args: string[], line: (text: string) => void = () => {}): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '', err = '', rest = '';
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
    const lines = (rest + data.toString()).split('\n');
    rest = lines.pop()!;
    lines.forEach(line);
  });
  child.stderr.on('data', data => { err += data; });
  return new Promise((resolve, reject) => child.once('close', code => (code === 0 ? resolve(out) : reject(new Error(`${command} ended with ${code}\n${err}`)))));
}

/** Trains the row that `prepare` wrote. */
export async function measureOurs(row: Row): Promise<Measurement> {
  const output = join(folder, 'run');
  rmSync(output, { recursive: true, force: true });
  const begun = performance.now();
  const metrics = join(output, 'metrics.jsonl');
  let first = 0;
  const watch = setInterval(() => { if (!first && existsSync(metrics) && readFileSync(metrics, 'utf8').includes('\n')) first = (performance.now() - begun) / 1000; }, 20);
  const summary = JSON.parse(await run(process.execPath, [built('engine/cli.js'), 'train', join(folder, 'bench.lora.json')])) as Summary;
  clearInterval(watch);
  const records = readFileSync(metrics, 'utf8').trim().split('\n').map(line => JSON.parse(line) as TrainRecord);
  const last = records.at(-1)!;
  const before = row.counts_first ? { time: 0, tokens: 0, step: 0 } : records[0];
  const seconds = last.time - before.time;
  return {
    tokens_per_second: (last.tokens - before.tokens) / seconds, examples_per_second: ((last.step - before.step) * row.batch) / seconds,
    peak_memory_bytes: summary.peak_memory_bytes, first_step_seconds: first, losses: records.map(record => Number(record.loss)),
  };
}

/** The same in PEFT. */
export async function measurePeft(row: Row): Promise<Measurement> {
  const begun = performance.now();
  let first = 0;
  const out = await run(python!, [join(ROOT, 'test/bench/peft_bench.py'), folder, row.padding, ...(row.counts_first ? ['counts_first'] : [])], line => { if (line === 'first step') first = (performance.now() - begun) / 1000; });
  return { ...JSON.parse(out.trim().split('\n').at(-1)!) as Measurement, first_step_seconds: first };
}

/** Writes base, data and experiment of a row. */
export async function prepare(row: Row): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await makeBase(join(folder, row.base), BASES[row.base]);
  writeExperiment(folder, row);
}

export const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
