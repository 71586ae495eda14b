/**
 * Speed and memory of the engine and, where LORA_LAB_PYTHON names a Python with torch, transformers and peft, of PEFT on the
 * same checkpoint, data and settings: one after the other in turns on the same machine, medians of the rounds.
 *
 *   npm run bench -- [--rows 1,2] [--rounds 3] [--without NAME,NAME] [--out table.md]      our side without these savings (src/protocol/savings.ts)
 *   npm run bench -- --savings [--rounds 1] [--steps 3] [--without NAME,NAME] [--out table.md]   each saving, or these, off in turn
 *   npm run bench -- --memory [--rows 1,2] [--out table.md]         computed need of memory beside the measured one
 *   npm run bench -- --start [--rounds 3] [--without NAME,NAME]     from the command to the first step, with and without files in the system's cache
 *   npm run bench -- --rounding [--rounds 3] [--precisions int8,int4] [--bases sample,bert-mini,bert-small]
 *                                                                   training loss with a rounded base beside fp32, and beside what chance does
 *   npm run bench -- --scaling [--rows 1,2] [--rounds 3] [--out picture.png]
 *                                                                   our speed against rank (1), length (2) and model size (3)
 *   npm run bench -- --gpu [--rows 1,2] [--rounds 3] [--devices webgpu,cuda,tensorflow] [--families bert,t5|none] [--portions 512,8192] [--shapes full|tiny] [--out table.md]
 *                                                                   on a GPU: every family's losses, speed beside PEFT on the same card, profile (gpu/gpu.ts)
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { measureGpu } from './gpu/gpu';
import { measureOurs, measurePeft, median, prepare, python, type Measurement } from './measure';
import { MEMORY_ROWS, measureMemoryRows } from './memory';
import { measureRounding } from './rounding';
import { named, ROWS, type Row } from './rows';
import { measureSavings, savingNames, withoutSavings } from './savings';
import { measureScaling } from './scaling';
import { measureStart } from './start';

const GB = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: {
    rows: { type: 'string' }, rounds: { type: 'string' }, without: { type: 'string' }, savings: { type: 'boolean' }, steps: { type: 'string', default: '3' }, out: { type: 'string' }, scaling: { type: 'boolean' }, memory: { type: 'boolean' }, start: { type: 'boolean' },
    rounding: { type: 'boolean' }, precisions: { type: 'string' }, bases: { type: 'string' },
    gpu: { type: 'boolean' }, devices: { type: 'string' }, families: { type: 'string' }, shapes: { type: 'string' }, portions: { type: 'string' },
  } });
  const rounds = Number(values.rounds ?? (values.savings ? 1 : 3));
  if (values.gpu) return measureGpu({ ...values, rounds: String(rounds) });
  if (values.rounding) return measureRounding({ ...values, rounds: String(rounds) });
  if (values.scaling) return measureScaling(rounds, { rows: values.rows, picture: values.out });
  const without = values.without === undefined ? [] : savingNames(values.without);
  if (values.start) return measureStart(rounds, without);
  if (values.savings) {
    const table = await measureSavings({ rounds, steps: Number(values.steps), ...(without.length ? { chosen: without } : {}) });
    if (values.out) writeFileSync(values.out, `${table.join('\n')}\n`);
    return;
  }
  const pick = (rows: Row[]): Row[] => named(rows, values.rows);
  if (values.memory) {
    const table = await measureMemoryRows(pick(MEMORY_ROWS));
    if (values.out) writeFileSync(values.out, `${table.join('\n')}\n`);
    return;
  }
  const chosen = pick(ROWS).map(row => withoutSavings(row, without));
  const table = [
    `${cpus()[0].model.trim()}, ${cpus().length} cores, ${new Date().toISOString().slice(0, 10)}, medians of ${rounds} rounds in turns${without.length ? `, ours without ${without.join(', ')}` : ''}`, '',
    '| | LoRA Lab | PEFT | ours ÷ PEFT | peak memory, ours / PEFT | start to first step, ours / PEFT |', '| --- | --- | --- | --- | --- | --- |',
  ];
  for (const row of chosen) {
    await prepare(row);
    const ours: Measurement[] = [], theirs: Measurement[] = [];
    for (let round = 0; round < rounds; round++) {
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
    // Steps are compared that see the same texts.
    if (theirs.length && row.dropout === 0 && row.packed_rows === undefined && row.padding !== 'grouped') {
      const gap = Math.max(...ours[0].losses.map((loss, i) => Math.abs(loss - theirs[0].losses[i]) / theirs[0].losses[i]));
      console.log(`  largest relative difference of the ${row.steps} losses: ${gap.toExponential(1)}`);
    }
  }
  console.log(`\n${table.join('\n')}`);
  if (values.out) writeFileSync(values.out, `${table.join('\n')}\n`);
  if (!python) console.log('\nSet LORA_LAB_PYTHON to a Python with torch, transformers and peft to compare with PEFT.');
}

void main().catch(error => { console.error(error); process.exit(1); });
