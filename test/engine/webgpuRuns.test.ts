/** Whole runs on the WebGPU provider that are not LoRA on exact weights: every parameter trained, and base weights in 4 bits. `LORA_LAB_EVERY_CASE=1` runs every case. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import type { Prediction } from '../../src/protocol/engine';
import { readHeader, readTensor } from '../../src/engine/model/safetensors';
import { assertClose } from '../support/close';
import { inTemporaryFolder } from '../support/faults';
import { built, fixture } from '../support/paths';
import { copyCase, startRun, trainRecords } from '../support/runs';
import { openSoftwareGpu } from '../support/softwareGpu';

let held: CompiledProgram | undefined;
let skip: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) skip = found.reason; else held = found.device; });
after(async () => held?.dispose());

/** Five steps of a case of full fine-tuning: its losses and norms, its evaluation, and what it wrote. */
async function trainWhole(folder: string, name: string, device: string): Promise<{ numbers: number[]; weights: Map<string, Float32Array>; device: string }> {
  const copy = join(folder, device);
  cpSync(fixture('full_references', name), copy, { recursive: true });
  const file = join(copy, 'case.lora.json');
  const experiment = JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>;
  writeFileSync(file, JSON.stringify({ ...experiment, engine: { device }, training: { ...experiment.training, max_steps: 5, eval_strategy: 'steps', eval_steps: 5, save_strategy: 'no' } }));
  const summary = await startRun(file).ended;
  const numbers = [...trainRecords(join(copy, 'run')).flatMap(({ loss, grad_norm }) => [Number(loss), Number(grad_norm)]), summary.eval!.loss];
  const weights = new Map([...readHeader(join(summary.adapter, 'model.safetensors')).tensors].map(([key, ref]) => [key, readTensor(ref)]));
  return { numbers, weights, device: summary.device };
}

for (const name of readdirSync(fixture('full_references')).filter(one => process.env.LORA_LAB_EVERY_CASE || ['bert', 'gpt2', 't5'].includes(one))) {
  test(`${name}: all parameters trained on WebGPU are the CPU's`, async t => {
    await opened;
    if (skip) return t.skip(skip);
    await inTemporaryFolder(async folder => {
      const [gpu, cpu] = [await trainWhole(folder, name, 'webgpu'), await trainWhole(folder, name, 'cpu')];
      assert.match(gpu.device, /^webgpu on .*, in software/);
      assert.equal(gpu.numbers.length, 11);
      cpu.numbers.forEach((value, i) => assert.ok(Math.abs(gpu.numbers[i] - value) <= 1e-3 * Math.abs(value), `loss or gradient norm ${i}: ${gpu.numbers[i]}, on the CPU ${value}`));
      assert.deepEqual([...gpu.weights.keys()], [...cpu.weights.keys()]);
      for (const [key, values] of cpu.weights) assertClose(gpu.weights.get(key)!, values, 1e-3, key);
    });
  });
}

test('lab predict computes on the device that is named, and says what another one lacks', async t => {
  await opened;
  if (skip) return t.skip(skip);
  const predict = (name: string, device: string): { status: number | null; stdout: string; stderr: string } => spawnSync(process.execPath, [
    built('engine/cli.js'), 'predict', '--base', fixture('references', name, 'model'), '--adapter', fixture('references', name, 'adapter_final'), '--input', fixture('references', name, 'eval.jsonl'), '--max_new_tokens=3', '--device', device,
  ].filter(argument => name === 'gpt2-text' || !argument.startsWith('--max')), { encoding: 'utf8' });
  const logits = (device: string): number[] => (JSON.parse(predict('linear', device).stdout) as Prediction[]).flatMap(one => one.logits);
  const [gpu, cpu] = [logits('webgpu'), logits('cpu')];
  assert.notDeepEqual(gpu, cpu);
  assertClose(gpu, cpu, 1e-3, 'logits');
  for (const name of ['linear', 'gpt2-text']) {
    const { status, stdout, stderr } = predict(name, 'tensorflow');
    assert.deepEqual([status, stdout], [2, ''], stderr);
    assert.match(stderr, /^error: --device: tensorflow cannot be used: no @tensorflow\/tfjs-node-gpu or @tensorflow\/tfjs-node was found/);
  }
  assert.match(predict('linear', 'gpu').stderr, /--device is one of auto, cpu, webgpu, cuda, tensorflow/);
});

// SwiftShader takes seconds for a step of 4-bit products.
test('a run with int4 on WebGPU gives the CPU\'s losses with int4, tells how far its first step is from fp32, and resumes exactly', async t => {
  await opened;
  if (skip) return t.skip(skip);
  await inTemporaryFolder(async folder => {
    const changes = (device: string) => ({ training: { max_steps: 3, save_strategy: 'steps', save_steps: 2, eval_strategy: 'no' }, engine: { device, precision: 'int4' } });
    const said: string[] = [];
    await startRun(copyCase(join(folder, 'cpu'), changes('cpu'))).ended;
    const file = copyCase(join(folder, 'webgpu'), changes('webgpu'));
    await startRun(file, { log: ({ message }) => said.push(message), onStep: ({ step }, control) => { if (step === 2) control.want('stop'); } }).ended;
    assert.match(said.join(), /first step in int4, and in fp32 on the same \d+ examples: loss/);
    const resumed = await startRun(file, { resume: true }).ended;
    assert.match(resumed.device, /^webgpu on .*, in software/);
    assert.ok(resumed.first_step);
    const losses = (device: string): number[] => trainRecords(join(folder, device, 'run')).map(({ loss }) => Number(loss));
    assert.equal(losses('webgpu').length, 3);
    losses('cpu').forEach((loss, i) => assert.ok(Math.abs(losses('webgpu')[i] - loss) <= 1e-3 * loss, `step ${i + 1}: ${losses('webgpu')[i]}, on the CPU ${loss}`));
  });
});
