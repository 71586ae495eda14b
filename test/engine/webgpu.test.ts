/** The compiled step on the WebGPU provider, driven by a Vulkan driver in software: everything on the device, and the CPU's numbers. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, test } from 'node:test';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { assertSame, trainReference } from '../support/references';
import { openSoftwareGpu } from '../support/softwareGpu';

let held: CompiledProgram | undefined;
let skip: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) skip = found.reason; else held = found.device; });
after(async () => held?.dispose());

for (const name of readdirSync(fixture('references'))) {
  test(`${name}: losses, gradient norms and updates on WebGPU are the CPU's`, async t => {
    await opened;
    if (skip) return t.skip(skip);
    await inTemporaryFolder(async folder => {
      const gpu = await trainReference(folder, name, 'webgpu', 3);
      assert.match(gpu.device, /^webgpu on SwiftShader, in software \(onnxruntime/);
      assertSame(gpu, await trainReference(folder, name, 'cpu', 3), 1e-3);
    });
  });
}
