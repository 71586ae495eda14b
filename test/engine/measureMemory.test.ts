/** The memory of one step, measured before a run. */
import assert from 'node:assert/strict';
import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { measureMemory } from '../../src/engine/measureMemory';
import { prepare } from '../../src/engine/prepare';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { SILENT } from '../../src/engine/reporter';
import { tokensOf } from '../../src/engine/training/step.types';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

test('one step on the longest examples tells the peak of its process and leaves nothing behind', () => inTemporaryFolder(async folder => {
  cpSync(fixture('references', 'mixed-lengths'), folder, { recursive: true });
  const file = join(folder, 'case.lora.json');
  const { train } = prepare(readExperimentFile(file), null, SILENT);
  const before = readdirSync(folder, { recursive: true });
  const { peak_memory_bytes, device, longest, device_memory_bytes } = await measureMemory({ experiment_file: file });
  assert.equal(longest, Math.max(...Array.from({ length: train.length }, (_, i) => tokensOf(train.get(i)))));
  assert.ok(peak_memory_bytes >= process.memoryUsage.rss() * 0.9 && peak_memory_bytes < 8e9, `${peak_memory_bytes}`);
  assert.match(device, /^cpu \(onnxruntime/);
  assert.equal(device_memory_bytes, null);
  assert.deepEqual(readdirSync(folder, { recursive: true }), before);
}));
