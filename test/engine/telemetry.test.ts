/** What is measured while a run goes on: figures, the GPU's tool, peaks for the summary, and what measuring costs. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, test } from 'node:test';
import { DrmUsage } from '../../src/engine/drmUsage';
import { Peaks, readGpu, Telemetry } from '../../src/engine/telemetry';
import type { TelemetrySample } from '../../src/protocol/metrics';
import { makeUpDrm } from '../support/drmFolders';
import { inTemporaryFolder } from '../support/faults';

const kept = { ...process.env };
after(() => { process.env = kept; });

/** A stand-in for nvidia-smi that writes its arguments and process id down and tells of two cards. */
function writeTool(folder: string): string {
  const file = join(folder, 'nvidia-smi');
  writeFileSync(file, `#!${process.execPath}
require('node:fs').writeFileSync(${JSON.stringify(join(folder, 'asked'))}, JSON.stringify([process.pid, ...process.argv.slice(2)]));
require('node:fs').appendFileSync(${JSON.stringify(join(folder, 'started'))}, process.pid + '\\n');
let n = 0;
setInterval(() => console.log('0, ' + (n += 100) + ', 8192, 97\\n1, 5, 8192, 0'), 100);
`);
  chmodSync(file, 0o755);
  return file;
}

test('a GPU is followed by one process of its tool, whose peaks both threads see, and which ends with the run', { skip: process.platform === 'win32' }, () => inTemporaryFolder(async folder => {
  process.env.LORA_LAB_NVIDIA_SMI = writeTool(folder);
  delete process.env.CUDA_VISIBLE_DEVICES;
  const samples: TelemetrySample[] = [];
  const peaks = new Peaks();
  const telemetry = new Telemetry(peaks, sample => samples.push(sample));
  telemetry.start();
  telemetry.follow('webgpu on NVIDIA L4 (onnxruntime 1.30.0)');
  while (!samples.at(-1)?.gpu) await sleep(50);
  const [pid, ...words] = JSON.parse(readFileSync(join(folder, 'asked'), 'utf8')) as [number, ...string[]];
  assert.deepEqual(words, ['--query-gpu=index,memory.used,memory.total,utilization.gpu', '--format=csv,noheader,nounits', '--loop-ms=2000']);
  const { gpu, memory_bytes, peak_memory_bytes, cpu_cores, cores } = samples.at(-1)!;
  assert.deepEqual([gpu!.memory_total_bytes, gpu!.utilization], [8192 * 2 ** 20, 0.97]);
  assert.ok(peak_memory_bytes >= memory_bytes * 0.99, JSON.stringify(samples));
  assert.ok(memory_bytes > 2e7 && cpu_cores >= 0 && cpu_cores <= cores + 0.5, JSON.stringify(samples));
  assert.deepEqual(new Peaks(peaks.memory).summary().peak_gpu_memory_bytes, gpu!.memory_bytes);
  telemetry.stop();
  for (let tries = 0; tries < 100; tries++) { try { process.kill(pid, 0); await sleep(20); } catch { return; } }
  assert.fail('the tool outlives the run');
}));

test('the members of a sweep, which all tell their device, are followed by one process of the tool', { skip: process.platform === 'win32' }, () => inTemporaryFolder(async folder => {
  process.env.LORA_LAB_NVIDIA_SMI = writeTool(folder);
  const telemetry = new Telemetry(new Peaks(), () => {});
  telemetry.start();
  for (let member = 0; member < 3; member++) telemetry.follow('cuda (onnxruntime 1.30.0)');
  while (!existsSync(join(folder, 'started'))) await sleep(20);
  await sleep(300);
  telemetry.stop();
  assert.equal(readFileSync(join(folder, 'started'), 'utf8').trim().split('\n').length, 1);
}));

test('a tool that ends in the middle of a run takes its figures with it', { skip: process.platform === 'win32' }, () => inTemporaryFolder(async folder => {
  const file = process.env.LORA_LAB_NVIDIA_SMI = join(folder, 'nvidia-smi');
  writeFileSync(file, `#!${process.execPath}\nconsole.log('0, 100, 8192, 97'); setTimeout(() => {}, 1200);\n`);
  chmodSync(file, 0o755);
  const seen: boolean[] = [];
  const telemetry = new Telemetry(new Peaks(), ({ gpu }) => seen.push(gpu !== undefined));
  telemetry.start();
  telemetry.follow('webgpu');
  while (!seen.includes(true)) await sleep(50);
  const { length } = seen;
  while (seen.length < length + 5 && seen.at(-1)) await sleep(50);
  telemetry.stop();
  assert.equal(seen.at(-1), false);
}));

test('where the kernel tells, the figures are those of this process once a GPU has worked for it; beside a card of NVIDIA\'s too', { skip: process.platform === 'win32' }, () => inTemporaryFolder(async folder => {
  const drm = makeUpDrm(join(folder, 'drm'));
  const busy = (ns: number): void => drm.descriptor(20, 'renderD128', { driver: 'amdgpu', 'client-id': 1, 'resident-vram': '3 MiB', 'engine-compute': `${ns} ns` });
  const seen: TelemetrySample['gpu'][] = [];
  const peaks = new Peaks();
  const telemetry = new Telemetry(peaks, ({ gpu }) => seen.push(gpu), () => DrmUsage.open(drm.folders));
  const until = async (of: string | undefined): Promise<void> => { for (let tries = 0; tries < 100 && seen.at(-1)?.of !== of; tries++) await sleep(50); assert.equal(seen.at(-1)?.of, of, JSON.stringify(seen)); };
  delete process.env.CUDA_VISIBLE_DEVICES;
  busy(0);
  process.env.LORA_LAB_NVIDIA_SMI = join(folder, 'nowhere');
  telemetry.start();
  telemetry.follow('webgpu on AMD (onnxruntime 1.30.0)');
  while (seen.length < 2) await sleep(50);
  assert.deepEqual([seen.at(-1), peaks.summary().peak_gpu_memory_bytes], [undefined, undefined], 'a GPU that has not worked is not the one that computes');
  busy(10);
  await until('process');
  assert.deepEqual([peaks.summary().peak_gpu_memory_bytes, peaks.summary().gpu_memory_of], [3 * 2 ** 20, 'process']);
  process.env.LORA_LAB_NVIDIA_SMI = writeTool(folder);
  busy(0);
  telemetry.start();
  telemetry.follow('webgpu on NVIDIA L4 (onnxruntime 1.30.0)');
  await until('card');
  assert.equal(peaks.summary().gpu_memory_of, 'card');
  busy(1e9);
  await until('process');
  telemetry.stop();
}));

test('a run on the CPU asks no tool, and a tool that is missing is no fault', () => inTemporaryFolder(async folder => {
  process.env.LORA_LAB_NVIDIA_SMI = join(folder, 'nowhere');
  const peaks = new Peaks();
  const samples: TelemetrySample[] = [];
  const telemetry = new Telemetry(peaks, sample => samples.push(sample));
  telemetry.start();
  telemetry.follow('cpu (onnxruntime 1.30.0)');
  telemetry.follow('cuda (onnxruntime 1.30.0)');
  while (samples.length === 0) await sleep(50);
  telemetry.stop();
  assert.deepEqual([samples[0].gpu, peaks.summary().peak_gpu_memory_bytes], [undefined, undefined]);
}));

test('lines of the tool are read, other cards and unknown figures left out', () => {
  assert.deepEqual(readGpu('1, 512, 8192, 37', '1'), { of: 'card', memory_bytes: 512 * 2 ** 20, memory_total_bytes: 8192 * 2 ** 20, utilization: 0.37 });
  assert.deepEqual(readGpu('0, 512, [N/A], [N/A]', '0'), { of: 'card', memory_bytes: 512 * 2 ** 20, memory_total_bytes: null, utilization: null });
  assert.deepEqual([readGpu('1, 512, 8192, 37', '0'), readGpu('NVIDIA-SMI has failed', '0'), readGpu('0, [N/A], 1, 1', '0')], [undefined, undefined, undefined]);
});

test('a sample costs less than a thousandth of the second that it stands for', () => {
  const telemetry = new Telemetry(new Peaks(), () => {});
  const sample = (): void => (telemetry as unknown as { sample(): void }).sample();
  for (let i = 0; i < 50; i++) sample();
  const before = process.cpuUsage();
  for (let i = 0; i < 500; i++) sample();
  const { user, system } = process.cpuUsage(before);
  assert.ok((user + system) / 500 < 1000, `${(user + system) / 500} µs`);
});
