/** What a step and a run take of a GPU's memory: told by NVIDIA's tool or by the kernel, both made up here. */
import assert from 'node:assert/strict';
import { fork, spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter } from 'vscode-jsonrpc/node';
import { DrmUsage } from '../../src/engine/drmUsage';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { GpuMemory } from '../../src/engine/gpuMemory';
import { measureMemory } from '../../src/engine/measureMemory';
import { Peaks } from '../../src/engine/telemetry';
import type { Summary, TelemetrySample } from '../../src/protocol/metrics';
import { makeUpDrm } from '../support/drmFolders';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { copyCase } from '../support/runs';
import { openSoftwareGpu } from '../support/softwareGpu';
import { writeNvidiaSmi } from '../support/standInNvidiaSmi';

const kept = { ...process.env };
let held: CompiledProgram | undefined;
let reason: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) reason = found.reason; else held = found.device; });
beforeEach(() => { delete process.env.CUDA_VISIBLE_DEVICES; delete process.env.LORA_LAB_NVIDIA_SMI; });
after(async () => { await held?.dispose(); process.env = kept; });

const MiB = 2 ** 20;
const noDrm = (): undefined => undefined;
const skip = process.platform === 'win32' ? 'scripts and symbolic links need more there' : false;

test('of a card of NVIDIA\'s it is what is in use beyond what was before, if that is more; a missing tool tells nothing, and for the CPU nothing is asked', { skip }, () => inTemporaryFolder(async folder => {
  const card = writeNvidiaSmi(folder, 700);
  process.env.LORA_LAB_NVIDIA_SMI = card.program;
  const gpu = await GpuMemory.before('cuda', noDrm);
  assert.equal(gpu.before, 700 * MiB);
  card.use(1900);
  assert.equal(await gpu.taken(), 1200 * MiB);
  card.use(600);
  assert.equal(await gpu.taken(), null, 'another program has freed more than this one took');
  assert.equal(await (await GpuMemory.before('cpu', noDrm)).taken(), null);
  process.env.LORA_LAB_NVIDIA_SMI = join(folder, 'nowhere');
  assert.equal(await (await GpuMemory.before('webgpu', noDrm)).taken(), null);
}));

test('the kernel tells what the process itself has; beside a card of NVIDIA\'s only if that GPU has worked for it', { skip }, () => inTemporaryFolder(async folder => {
  const drm = makeUpDrm(join(folder, 'drm'));
  const client = (busy: number): void => drm.descriptor(20, 'renderD128', { driver: 'i915', 'client-id': 1, 'resident-system0': '300 MiB', 'engine-compute': `${busy} ns` });
  const open = (): DrmUsage | undefined => DrmUsage.open(drm.folders);
  const alone = await GpuMemory.before('webgpu', open);
  assert.deepEqual([alone.before, await alone.taken()], [null, null], 'nothing is open');
  client(0);
  assert.equal(await alone.taken(), null, 'Vulkan has opened it, and computes elsewhere, perhaps in software');
  client(10);
  assert.equal(await alone.taken(), 300 * MiB);
  client(0);
  const card = writeNvidiaSmi(folder, 100);
  process.env.LORA_LAB_NVIDIA_SMI = card.program;
  const both = await GpuMemory.before('webgpu', open);
  card.use(150);
  assert.equal(await both.taken(), 50 * MiB);
  client(1000);
  assert.equal(await both.taken(), 300 * MiB);
}));

test('an answer that came while the thread was busy counts, and a tool that does not answer is not waited for', { skip }, () => inTemporaryFolder(async folder => {
  process.env.LORA_LAB_NVIDIA_SMI = writeNvidiaSmi(folder, 700).program;
  const asked = GpuMemory.before('cuda', noDrm, 100);
  const until = Date.now() + 3000;
  while (Date.now() < until) { /* as loading a large model is */ }
  assert.equal((await asked).before, 700 * MiB);

  const silent = join(folder, 'silent');
  writeFileSync(silent, `#!${process.execPath}\nsetTimeout(() => {}, 60_000);\n`);
  chmodSync(silent, 0o755);
  process.env.LORA_LAB_NVIDIA_SMI = silent;
  assert.equal((await GpuMemory.before('cuda', noDrm, 100)).before, null);
}));

test('a summary has what the run itself took: of the process as it is, of a card what was not in use before, and nothing if that is not known', () => {
  const of = (source: 'card' | 'process', before: number | null): number | undefined => {
    const peaks = new Peaks();
    peaks.reset();
    new Peaks(peaks.memory).cardBefore(before);
    for (const memory_bytes of [3e9, 5e9, 4e9]) peaks.take({ time: 0, memory_bytes: 1, peak_memory_bytes: 1, machine_memory_bytes: 2, cpu_cores: 1, cores: 2, gpu: { of: source, memory_bytes, memory_total_bytes: null, utilization: null } });
    assert.deepEqual([peaks.summary().peak_gpu_memory_bytes, peaks.summary().gpu_memory_of], [5e9, source]);
    return peaks.summary().own_gpu_memory_bytes;
  };
  assert.deepEqual([of('process', null), of('process', 1e9), of('card', 1e9), of('card', null)], [5e9, 5e9, 4e9, undefined]);
});

test('a measured step and a whole run on WebGPU tell what they took of the card', { skip }, async t => {
  await opened;
  if (reason) return t.skip(reason);
  await inTemporaryFolder(async folder => {
    process.env.LORA_LAB_NVIDIA_SMI = writeNvidiaSmi(folder, 700, 300).program;
    const file = copyCase(join(folder, 'case'), { engine: { device: 'webgpu' }, training: { max_steps: 100_000, eval_strategy: 'no', save_strategy: 'no' } });
    const { gpu_memory_bytes, device } = await measureMemory({ experiment_file: file });
    assert.match(device, /^webgpu/);
    assert.equal(gpu_memory_bytes, 300 * MiB);

    process.env.LORA_LAB_NVIDIA_SMI = writeNvidiaSmi(folder, 700, 400).program;
    const child = fork(built('engine/main.js'), [], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
    try {
      // A sample that is sent is in the summary.
      const sampled = new Promise<void>(resolve => connection.onNotification('telemetry', ({ gpu }: TelemetrySample) => { if (gpu) resolve(); }));
      connection.listen();
      const trained = connection.sendRequest<Summary>('train', { experiment_file: file, resume: false });
      await Promise.race([sampled, trained.then(() => assert.fail('it ended by itself'))]);
      await connection.sendRequest('stop', {});
      const { state, own_gpu_memory_bytes, peak_gpu_memory_bytes, gpu_memory_of } = await trained;
      assert.deepEqual([state, own_gpu_memory_bytes, peak_gpu_memory_bytes, gpu_memory_of], ['stopped', 400 * MiB, 1100 * MiB, 'card']);
    } finally {
      child.kill('SIGKILL');
      connection.dispose();
    }
  });
});

test('on the command line a run\'s result and its summary tell what it took of the card at most', { skip }, async t => {
  await opened;
  if (reason) return t.skip(reason);
  await inTemporaryFolder(async folder => {
    const card = writeNvidiaSmi(folder, 700, 400);
    const file = copyCase(join(folder, 'case'), { engine: { device: 'webgpu' }, training: { max_steps: 100_000, eval_strategy: 'no', save_strategy: 'no' } });
    const child = spawn(process.execPath, [built('engine/cli.js'), 'train', file], { env: { ...process.env, LORA_LAB_NVIDIA_SMI: card.program }, stdio: ['ignore', 'pipe', 'pipe'] });
    try {
      let out = '', err = '';
      child.stdout.on('data', data => { out += data; });
      child.stderr.on('data', data => { err += data; });
      const ended = new Promise<number | null>(resolve => child.once('close', resolve));
      // Samples are a second apart, and nothing is said of one where there is no terminal.
      const enough = async (): Promise<boolean> => { while (card.telling() < 2500) await sleep(20); return true; };
      assert.equal(await Promise.race([enough(), ended]), true, err);
      child.kill('SIGINT');
      assert.equal(await ended, 130, err);
      const summary = JSON.parse(out) as Summary;
      assert.deepEqual(JSON.parse(readFileSync(join(folder, 'case/run/summary.json'), 'utf8')), summary);
      const { own_gpu_memory_bytes, peak_gpu_memory_bytes, peak_gpu_utilization, gpu_memory_of } = summary;
      assert.deepEqual([own_gpu_memory_bytes, peak_gpu_memory_bytes, peak_gpu_utilization, gpu_memory_of], [400 * MiB, 1100 * MiB, 0.97, 'card']);
      assert.ok(existsSync(summary.adapter));
    } finally {
      child.kill('SIGKILL');
    }
  });
});
