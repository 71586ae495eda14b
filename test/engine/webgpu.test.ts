/** The compiled step on the WebGPU provider, driven by a Vulkan driver in software: everything on the device, and the CPU's numbers. */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readAdapter } from '../../src/engine/model/adapter';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { startRun, trainRecords } from '../support/runs';
import { openSoftwareGpu } from '../support/softwareGpu';

const STEPS = 3;
let held: CompiledProgram | undefined;
let skip: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) skip = found.reason; else held = found.device; });
after(async () => held?.dispose());

interface Outcome { losses: number[]; norms: number[]; device: string; adapter: Map<string, Float32Array> }

async function train(folder: string, name: string, device: string): Promise<Outcome> {
  const copy = join(folder, device);
  cpSync(fixture('references', name), copy, { recursive: true });
  const file = join(copy, 'case.lora.json');
  const experiment = JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>;
  writeFileSync(file, JSON.stringify({
    ...experiment, engine: { device }, training: { ...experiment.training, max_steps: STEPS, eval_strategy: 'no', save_strategy: 'no' },
  }));
  const summary = await startRun(file).ended;
  const records = trainRecords(join(copy, 'run'));
  const adapter = new Map([...readAdapter(summary.adapter).tensors].map(([key, { data }]) => [key, data]));
  return { losses: records.map(r => Number(r.loss)), norms: records.map(r => Number(r.grad_norm)), device: summary.device, adapter };
}

const assertNear = (found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void => {
  const largest = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  for (let i = 0; i < expected.length; i++) assert.ok(Math.abs(found[i] - expected[i]) <= 1e-3 * largest, `${what}[${i}]: ${found[i]}, on the CPU ${expected[i]}`);
};

for (const name of readdirSync(fixture('references'))) {
  test(`${name}: losses, gradient norms and updates on WebGPU are the CPU's`, async t => {
    await opened;
    if (skip) return t.skip(skip);
    await inTemporaryFolder(async folder => {
      const [cpu, gpu] = [await train(folder, name, 'cpu'), await train(folder, name, 'webgpu')];
      assert.match(gpu.device, /^webgpu/);
      assert.equal(gpu.losses.length, STEPS);
      for (let i = 0; i < STEPS; i++) {
        assertNear([gpu.losses[i]], [cpu.losses[i]], `loss of step ${i + 1}`);
        assertNear([gpu.norms[i]], [cpu.norms[i]], `gradient norm of step ${i + 1}`);
      }
      assert.deepEqual([...gpu.adapter.keys()], [...cpu.adapter.keys()]);
      for (const [key, values] of cpu.adapter) assertNear(gpu.adapter.get(key)!, values, key);
    });
  });
}
