/**
 * Speed and memory of the engine and, where LORA_LAB_PYTHON names a Python with torch, transformers and peft, of PEFT on the
 * same checkpoint, data and settings: one after the other in turns on the same machine, medians of the rounds.
 *
 *   npm run bench -- [--rows 1,2] [--rounds 3] [--peft-dtype bf16|bf16-base] [--precision int8|int4] [--strict] [--without NAME,NAME] [--out table.md]
 *                                                                   the README's table; peft-dtype: PEFT under bf16 autocast, too, with frozen weights in fp32 or bf16;
 *                                                                   precision: our base weights in that on every row, of which nothing is asked then;
 *                                                                   strict: exit status 1 where a row is slower than is asked of it; without: our side without these
 *                                                                   savings (src/protocol/savings.ts)
 *   npm run bench -- --savings [--rounds 1] [--steps 3] [--without NAME,NAME] [--out table.md]   each saving, or these, off in turn
 *   npm run bench -- --memory [--rows 1,2] [--out table.md]         computed need of memory beside the measured one
 *   npm run bench -- --memory --devices webgpu                      the same by how much it grows on SwiftShader, whose device memory is the process's
 *   npm run bench -- --start [--rounds 3] [--without NAME,NAME]     from the command to the first step, with files in the system's cache, and as the first start has it
 *   npm run bench -- --products [--rounds 3]                        GFLOP/s of BERT-base's products alone, in ONNX Runtime and in torch
 *   npm run bench -- --rounding [--rounds 3] [--precisions int8,int4] [--bases sample,bert-mini,bert-small]
 *                                                                   training loss with a rounded base beside fp32, and beside what chance does
 *   npm run bench -- --sample [--rounds 11] [--steps 200] [--precisions fp32,int8,int4] [--devices cpu]
 *                                                                   the sample with other seeds: accuracy before and after, mean training loss
 *   npm run bench -- --scaling [--rows 1,2] [--rounds 3] [--out picture.png]
 *                                                                   our speed against rank (1), length (2) and model size (3)
 *   npm run bench -- --gpu [--rows 1,2] [--rounds 3] [--devices webgpu,cuda,tensorflow] [--families bert,t5|none] [--portions 512,8192] [--shapes full|tiny] [--out table.md]
 *                                                                   on a GPU: every family's losses, speed beside PEFT on the same card, profile (gpu/gpu.ts)
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { sendNothing } from '../../src/engine/executors/usageData';
import { measureGpu } from './gpu/gpu';
import { python } from './measure';
import { MEMORY_ROWS, measureGpuMemory, measureMemoryRows } from './memory';
import { measureProducts } from './products';
import { measureRounding } from './rounding';
import { measureSample } from './sample';
import { inOrder, named, rounded, ROWS, type Row } from './rows';
import { measureSavings, savingNames, withoutSavings } from './savings';
import { measureScaling } from './scaling';
import { measureRows } from './speed';
import { measureStart } from './start';
import { BF16, type Bf16 } from './table';

async function main(): Promise<void> {
  const { values } = parseArgs({ options: {
    rows: { type: 'string' }, rounds: { type: 'string' }, without: { type: 'string' }, savings: { type: 'boolean' }, steps: { type: 'string' }, out: { type: 'string' }, scaling: { type: 'boolean' }, memory: { type: 'boolean' }, start: { type: 'boolean' }, products: { type: 'boolean' },
    'peft-dtype': { type: 'string' }, precision: { type: 'string' }, strict: { type: 'boolean' }, rounding: { type: 'boolean' }, sample: { type: 'boolean' }, precisions: { type: 'string' }, bases: { type: 'string' },
    gpu: { type: 'boolean' }, devices: { type: 'string' }, families: { type: 'string' }, shapes: { type: 'string' }, portions: { type: 'string' },
  } });
  const rounds = Number(values.rounds ?? (values.savings ? 1 : 3));
  if (values.gpu) return measureGpu({ ...values, rounds: String(rounds) });
  if (values.products) return measureProducts(rounds);
  if (values.rounding) return measureRounding({ ...values, rounds: String(rounds) });
  if (values.sample) return measureSample({ ...values, rounds, steps: values.steps === undefined ? undefined : Number(values.steps) });
  if (values.scaling) return measureScaling(rounds, { rows: values.rows, picture: values.out });
  const without = values.without === undefined ? [] : savingNames(values.without);
  if (values.start) return measureStart(rounds, without);
  if (values.savings) {
    const table = await measureSavings({ rounds, steps: Number(values.steps ?? 3), ...(without.length ? { chosen: without } : {}) });
    if (values.out) writeFileSync(values.out, `${table.join('\n')}\n`);
    return;
  }
  const pick = (rows: Row[]): Row[] => named(rows, values.rows);
  if (values.memory) {
    if (values.devices) return measureGpuMemory(values.devices);
    const table = await measureMemoryRows(pick(MEMORY_ROWS));
    if (values.out) writeFileSync(values.out, `${table.join('\n')}\n`);
    return;
  }
  const dtype = values['peft-dtype'];
  if (dtype !== undefined && !(dtype in BF16)) throw new Error(`--peft-dtype is one of ${Object.keys(BF16).join(', ')}`);
  const chosen = inOrder(pick(ROWS)).map(row => withoutSavings(rounded(row, values.precision), without));
  const { table, below } = await measureRows(chosen, { rounds, bf16: dtype as Bf16 | undefined, note: without.length ? `, ours without ${without.join(', ')}` : '' });
  console.log(`\n${table.join('\n')}`);
  if (values.out) writeFileSync(values.out, `${table.join('\n')}\n`);
  if (!python) console.log('\nSet LORA_LAB_PYTHON to a Python with torch, transformers and peft to compare with PEFT.');
  for (const name of below) console.log(`slower than is asked for: ${name}`);
  if (values.strict && below.length) process.exitCode = 1;
}

sendNothing();
void main().catch(error => { console.error(error); process.exit(1); });
