/**
 * The compiled step on the WebGPU provider, driven by a Vulkan driver in software: everything on the device, and the CPU's
 * numbers. One case of each architecture, and DoRA; `LORA_LAB_EVERY_CASE=1` runs every reference case.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { assertSame, trainReference } from '../support/references';
import { openSoftwareGpu } from '../support/softwareGpu';

const architecture = (name: string): string => (JSON.parse(readFileSync(fixture('references', name, 'model/config.json'), 'utf8')) as { model_type: string }).model_type;
const ALL = readdirSync(fixture('references'));
const CASES = process.env.LORA_LAB_EVERY_CASE ? ALL : ALL.filter((name, i) => ['dora', 'embeddings', 't5-embeddings'].includes(name) || i === ALL.findIndex(other => architecture(other) === architecture(name)));

let held: CompiledProgram | undefined;
let skip: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) skip = found.reason; else held = found.device; });
after(async () => held?.dispose());

for (const name of CASES) {
  test(`${name}: losses, gradient norms and updates on WebGPU are the CPU's`, async t => {
    await opened;
    if (skip) return t.skip(skip);
    await inTemporaryFolder(async folder => {
      const gpu = await trainReference(folder, name, 'webgpu', 2);
      assert.match(gpu.device, /^webgpu on SwiftShader, in software \(onnxruntime/);
      assertSame(gpu, await trainReference(folder, name, 'cpu', 2), 1e-3);
    });
  });
}
