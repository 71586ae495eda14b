/** The bench for machines with a GPU, packed as for one and run in its tiny form on a GPU in software: every table is there. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { peftArms, refusal } from '../bench/gpu/arms';
import { familyCases } from '../bench/gpu/families';
import { profileTable, readProfile } from '../bench/gpu/profile';
import { SHAPES } from '../bench/gpu/shapes';
import { familyTable, speedTable } from '../bench/gpu/tables';
import { inTemporaryFolder } from '../support/faults';
import { ROOT } from '../support/paths';
import { openSoftwareGpu } from '../support/softwareGpu';

const start = promisify(execFile);
let held: CompiledProgram | undefined;
let skip: string | undefined;
before(async () => {
  if (process.platform !== 'linux' || process.arch !== 'x64') skip = 'it is packed for Linux on x64';
  const found = await openSoftwareGpu();
  if ('reason' in found) skip ??= found.reason;
  else held = found.device;
});
after(async () => held?.dispose());

test('from a packed folder, with the Node in it, it checks families, measures and profiles', async t => {
  if (skip) return t.skip(skip);
  await inTemporaryFolder(async folder => {
    const packed = join(folder, 'packed'), out = join(folder, 'table.md');
    await start(process.execPath, [join(ROOT, 'test/bench/pack.mjs'), '--built', '--out', packed]);
    await start(join(packed, 'bench'), ['--shapes', 'tiny', '--rows', '1', '--rounds', '1', '--portions', '64', '--families', 't5', '--out', out], {
      env: { ...process.env, LORA_LAB_PYTHON: '', LORA_LAB_CACHE: join(folder, 'cache'), TMPDIR: folder, LORA_LAB_TFJS_NODE: join(folder, 'nothing') }, maxBuffer: 1 << 24,
    });
    const table = readFileSync(out, 'utf8');
    for (const part of [
      /^No GPU; \d{4}-\d\d-\d\d; onnxruntime 1\.30\.0 on Node \d+.*Medians of 1 rounds in turns, 2 steps after 1 of warm-up\.$/m,
      /^- webgpu: webgpu \(onnxruntime 1\.30\.0\), SwiftShader, in software$/m, /^- tensorflow: needs: no @tensorflow\/tfjs-node-gpu/m,
      /on webgpu against the CPU's, largest relative difference: 1 of 1 cases are within 0\.001\.$/m, /^\| t5 \| \d\.\de-\d+ \|$/m,
      /^\| BERT of 2 layers, query and value, 4 × 16 tokens \| LoRA Lab, webgpu, fp32, portions of 64 tokens \| \d+(\.\d)? \| {2}\| {2}\| not told \| 0\.\d\d GB \| \d+\.\d s \| {2}\|$/m,
      /^\| {2}\| LoRA Lab, webgpu, fp16, portions of 64 tokens \| (\d|not measured: .*fp16)/m,
      /^\*\*BERT of 2 layers.*Kernels on the device take \d+\.\d ms of a step.*Nodes that another provider ran: none\.$/m, /^\| MatMul \| \d+ \| \d+\.\d\d \| \d+\.\d % \|$/m,
    ]) assert.match(table, part);
  });
});

test('every family and task is a case of its own', () => {
  const cases = familyCases().map(({ family, task }) => `${family} ${task}`);
  for (const family of ['bert', 'roberta', 'distilbert', 'electra']) for (const task of ['SEQ_CLS', 'TOKEN_CLS']) assert.ok(cases.includes(`${family} ${task}`), `${family} ${task}`);
  for (const family of ['gpt2', 'llama', 'mistral', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'phi3']) for (const task of ['SEQ_CLS', 'CAUSAL_LM']) assert.ok(cases.includes(`${family} ${task}`), `${family} ${task}`);
  for (const family of ['t5', 'mt5']) assert.ok(cases.includes(`${family} SEQ_2_SEQ_LM`), family);
});

test('what is wrong, and what is refused, is told in its place', () => {
  const of = { name: 'a', family: 'bert', task: 'SEQ_CLS' };
  const table = familyTable('webgpu', [{ ...of, difference: 2e-2 }, { ...of, task: 'TOKEN_CLS', error: 'it is lost' }, { ...of, family: 'gpt2', difference: 1e-6 }]).join('\n');
  assert.match(table, /1 of 3 cases/);
  assert.match(table, /\| bert \| \*\*2\.0e-2\*\* \| \*\*failed\*\* \|\n\| gpt2 \| 1\.0e-6 \| {2}\|\n\na: it is lost$/);
  const measured = { tokens_per_second: 500, examples_per_second: 4, peak_memory_bytes: 3e9, first_step_seconds: 2, losses: [0.7], card_memory_bytes: 1e9 };
  const [fp32, bf16] = peftArms({ cuda: true, description: '' });
  assert.deepEqual([fp32.precision, bf16.precision, peftArms({ cuda: false, description: '' })[0].precision], ['tf32', 'bf16-base', 'fp32']);
  const ours = { ...fp32, name: 'ours', side: 'ours' as const };
  const lines = speedTable([{ row: SHAPES.full[0], arms: [{ arm: ours, measured: [{ ...measured, losses: [0.707] }] }, { arm: { ...ours, name: 'half' }, measured: [], error: 'no f16' }, { arm: fp32, measured: [measured] }, { arm: bf16, measured: [{ ...measured, tokens_per_second: 1000 }] }] }]);
  assert.deepEqual(lines.slice(2), [
    '| BERT-base, query and value, 16 × 128 tokens | ours | 500 | **1.00** | **0.50** | 1.00 GB | 3.00 GB | 2.0 s | 1.0e-2 |',
    '|  | half | not measured: no f16 |  |  |  |  |  |  |',
    '|  | PEFT, cuda, fp32 with TF32 | 500 |  | **0.50** | 1.00 GB | 3.00 GB | 2.0 s |  |',
    '|  | PEFT, cuda, bf16 base and autocast | 1000 | **2.00** |  | 1.00 GB | 3.00 GB | 2.0 s | 0.0e+0 |',
  ]);
  assert.equal(refusal(new Error('node ended with 2\nerror: x.json: line 3, engine.precision: is "fp16".\n  Give fp32|int8.\n    at main (x)\n')), 'x.json: line 3, engine.precision: is "fp16". Give fp32\\|int8.');
  assert.equal(refusal(new Error('python ended with 1\nTraceback\n  File "x"\ntorch.OutOfMemoryError: CUDA out of memory\n')), 'torch.OutOfMemoryError: CUDA out of memory');
});

test('a profile adds up kernels over sessions, leaves the first step out of host times, counts what is in a branch once, and names nodes elsewhere', () => inTemporaryFolder(async folder => {
  const node = (op: string, ts: number, provider: string) => ({ cat: 'Node', name: `${op}_1_kernel_time`, ts, dur: 1000, args: { op_name: op, provider } });
  const kernel = (name: string, dur: number) => ({ cat: 'Api', name, ts: 0, dur });
  const runs = [0, 10_000].map(ts => ({ cat: 'Session', name: 'model_run', ts, dur: 9_000 }));
  const files = [[node('Gemm', 100, 'W'), ...runs, node('If', 10_050, 'W'), node('Gemm', 10_100, 'W'), node('Cast', 10_200, 'CPUExecutionProvider'), kernel('Gemm_1&Gemm&GemmNaive', 6000), kernel('Gemm_1&Gemm&GemmNaive', 2000)], [kernel('Add_1&Add&Add', 4000)]]
    .map((events, i) => { const file = join(folder, `${i}.json`); writeFileSync(file, JSON.stringify(events)); return file; });
  const profile = readProfile(files, 2);
  assert.deepEqual(profile, { kernels: [{ op: 'Gemm (GemmNaive)', calls: 1, ms: 4 }, { op: 'Add', calls: 0.5, ms: 2 }], nodes: [{ op: 'Gemm', calls: 1, ms: 1 }, { op: 'Cast', calls: 1, ms: 1 }], elsewhere: ['Cast, CPUExecutionProvider'] });
  assert.match(profileTable(profile, 8, 1).join('\n'), /Kernels on the device take 6\.0 ms of a step that takes 8\.0 ms.*busy with nodes for 2\.0 ms.*Cast, CPUExecutionProvider\.\n[^]*\| Gemm \(GemmNaive\) \| 1 \| 4\.00 \| 66\.7 % \|\n\| 1 others \|/);
}));
