/**
 * Speed and memory of the engine and, where LORA_LAB_PYTHON names a Python with torch, transformers and peft, of PEFT on the
 * same checkpoint, data and settings: one after the other in turns on the same machine, medians of the rounds.
 *
 *   npm run bench -- [--rows 1,2] [--rounds 3] [--out table.md]
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT, built } from '../support/paths';
import type { Summary, TrainRecord } from '../../src/protocol/metrics';
import { BASES, makeBase } from './bases';
import { writeExperiment } from './experiment';
import { ROWS, type Row } from './rows';

interface Measurement { tokens_per_second: number; examples_per_second: number; peak_memory_bytes: number; first_step_seconds: number; losses: number[] }

const folder = join(tmpdir(), 'lora-lab-bench');
const python = process.env.LORA_LAB_PYTHON;

/** Runs a program to its end and returns what it printed. `line` is called with each line of its standard output. */
function run(command: string, args: string[], line: (text: string) => void = () => {}): Promise<string> {
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

async function measureOurs(row: Row): Promise<Measurement> {
  const output = join(folder, 'run');
  rmSync(output, { recursive: true, force: true });
  const begun = performance.now();
  const metrics = join(output, 'metrics.jsonl');
  let first = 0;
  const watch = setInterval(() => { if (!first && existsSync(metrics) && readFileSync(metrics, 'utf8').includes('\n')) first = (performance.now() - begun) / 1000; }, 20);
  const summary = JSON.parse(await run(process.execPath, [built('engine/cli.js'), 'train', join(folder, 'bench.lora.json')])) as Summary;
  clearInterval(watch);
  const records = readFileSync(metrics, 'utf8').trim().split('\n').map(line => JSON.parse(line) as TrainRecord);
  const seconds = records.at(-1)!.time - records[0].time;
  return {
    tokens_per_second: (records.at(-1)!.tokens - records[0].tokens) / seconds, examples_per_second: ((row.steps - 1) * row.batch) / seconds,
    peak_memory_bytes: summary.peak_memory_bytes, first_step_seconds: first, losses: records.map(record => Number(record.loss)),
  };
}

async function measurePeft(row: Row): Promise<Measurement> {
  const begun = performance.now();
  let first = 0;
  const out = await run(python!, [join(ROOT, 'test/bench/peft_bench.py'), folder, row.padding], line => { if (line === 'first step') first = (performance.now() - begun) / 1000; });
  return { ...JSON.parse(out.trim().split('\n').at(-1)!) as Measurement, first_step_seconds: first };
}

const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const GB = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { rows: { type: 'string' }, rounds: { type: 'string', default: '3' }, out: { type: 'string' } } });
  const chosen = values.rows ? values.rows.split(',').map(number => ROWS[Number(number) - 1]) : ROWS;
  mkdirSync(folder, { recursive: true });
  const table = [
    `${cpus()[0].model.trim()}, ${cpus().length} cores, ${new Date().toISOString().slice(0, 10)}, medians of ${values.rounds} rounds in turns`, '',
    '| | LoRA Lab | PEFT | ours ÷ PEFT | peak memory, ours / PEFT | start to first step, ours / PEFT |', '| --- | --- | --- | --- | --- | --- |',
  ];
  for (const row of chosen) {
    await makeBase(join(folder, row.base), BASES[row.base]);
    writeExperiment(folder, row);
    const ours: Measurement[] = [], theirs: Measurement[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      ours.push(await measureOurs(row));
      if (python) theirs.push(await measurePeft(row));
    }
    const speed = (list: Measurement[]): number => median(list.map(m => (row.unit === 'tokens/s' ? m.tokens_per_second : m.examples_per_second)));
    const of = (list: Measurement[], key: 'peak_memory_bytes' | 'first_step_seconds'): number => median(list.map(m => m[key]));
    const number = (value: number): string => value.toFixed(value < 100 ? 1 : 0);
    table.push(theirs.length
      ? `| ${row.name} | ${number(speed(ours))} ${row.unit} | ${number(speed(theirs))} | **${(speed(ours) / speed(theirs)).toFixed(2)}** | ${GB(of(ours, 'peak_memory_bytes'))} / ${GB(of(theirs, 'peak_memory_bytes'))} | ${of(ours, 'first_step_seconds').toFixed(1)} s / ${of(theirs, 'first_step_seconds').toFixed(1)} s |`
      : `| ${row.name} | ${number(speed(ours))} ${row.unit} | not measured | | ${GB(of(ours, 'peak_memory_bytes'))} | ${of(ours, 'first_step_seconds').toFixed(1)} s |`);
    console.log(table.at(-1));
    if (theirs.length && row.dropout === 0) {
      const gap = Math.max(...ours[0].losses.map((loss, i) => Math.abs(loss - theirs[0].losses[i]) / theirs[0].losses[i]));
      console.log(`  largest relative difference of the ${row.steps} losses: ${gap.toExponential(1)}`);
    }
  }
  console.log(`\n${table.join('\n')}`);
  if (values.out) writeFileSync(values.out, `${table.join('\n')}\n`);
  if (!python) console.log('\nSet LORA_LAB_PYTHON to a Python with torch, transformers and peft to compare with PEFT.');
}

void main().catch(error => { console.error(error); process.exit(1); });
