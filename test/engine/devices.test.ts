/** Devices: what is probed and how, what `auto` takes, and what a person reads about a device that cannot be used. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { chooseDevice, createExecutor, hasHalf, listDevices } from '../../src/engine/executors/devices';
import { onlySoftware, ownMemoryFirst, readKernelGpus, readMacGpus, readNvidiaGpus, readWindowsGpus, toldByNvidia, windowsTool } from '../../src/engine/executors/hardware';
import { onnxError } from '../../src/engine/executors/onnxError';
import { knownProbe, probe, type ProbeResult } from '../../src/engine/executors/probe';
import type { Provider } from '../../src/engine/executors/trace/graph';
import type { DevicesReport } from '../../src/protocol/devices';
import { makeUpDrm } from '../support/drmFolders';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';

const folder = mkdtempSync(join(tmpdir(), 'lora-lab-devices-'));
beforeEach(() => {
  // No GPU, wherever the test runs.
  Object.assign(process.env, { LORA_LAB_CACHE: mkdtempSync(join(folder, 'cache-')), VK_ICD_FILENAMES: join(folder, 'no-driver.json'), LORA_LAB_TFJS_NODE: join(folder, 'nothing') });
  delete process.env.LORA_LAB_AUTO;
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Elsewhere WebGPU does not ask Vulkan, and may well find a GPU. */
const VULKAN = process.platform === 'linux' && process.arch === 'x64';

const script = (text: string): string => {
  const file = join(folder, `probe-${Math.random()}.js`);
  writeFileSync(file, text);
  return file;
};
const cause = (result: ProbeResult): string => (result.ok ? 'ok' : result.cause);
const GOOD: ProbeResult = { ok: true, runs: 'webgpu (onnxruntime 1.30.0)', software: false, driver: null };
const SOFTWARE: ProbeResult = { ...GOOD, software: true, driver: 'llvmpipe' };
const BROKEN: ProbeResult = { ok: false, cause: 'libcublas.so.12 was not found', action: 'install CUDA 12', missing: true };

test('auto takes CUDA, then WebGPU on a real GPU, then the CPU, and says why', async () => {
  const all = { gpu: true, cuda: true, webgpu: true };
  const choose = (cuda: ProbeResult, webgpu: ProbeResult, machine = all) => chooseDevice(async device => (device === 'cuda' ? cuda : webgpu), machine);
  assert.deepEqual(await choose(GOOD, GOOD), { device: 'cuda', why: 'a probe step ran on it' });
  assert.deepEqual(await choose(BROKEN, GOOD), { device: 'webgpu', why: 'a probe step ran on it' });
  assert.deepEqual(await choose(BROKEN, SOFTWARE), { device: 'cpu', why: 'cuda: libcublas.so.12 was not found; webgpu: llvmpipe computes in software' });
  assert.deepEqual(await choose(GOOD, GOOD, { ...all, cuda: false, webgpu: false }), { device: 'cpu', why: 'no GPU can be used by this version' });
});

test('the list of devices says which can compute in half precision, and why one cannot', async () => {
  const list = async (half: string) => (await listDevices(async device => (device === 'webgpu' ? { ...GOOD, half } : BROKEN))).devices.find(({ device }) => device === 'webgpu')!;
  assert.deepEqual([(await list('ready')).half_precision, (await list('ready')).detail], [true, 'webgpu (onnxruntime 1.30.0)']);
  const without = await list('its WebGPU adapter lacks shader-f16');
  assert.deepEqual([without.state, without.half_precision, without.detail], ['ready', false, 'webgpu (onnxruntime 1.30.0); fp16: its WebGPU adapter lacks shader-f16']);
});

test('a machine without a GPU is not probed', async () => {
  const asked: string[] = [];
  const found = await chooseDevice(async device => { asked.push(device); return GOOD; }, { gpu: false, cuda: true, webgpu: true });
  assert.deepEqual([found, asked], [{ device: 'cpu', why: 'no GPU was found' }, []]);
});

test('a probe that crashes, hangs or says nothing is a failed device and nothing more', async () => {
  assert.match(cause(await probe('webgpu', { script: script('console.error("vkQueueSubmit failed"); process.kill(process.pid, "SIGSEGV");') })), /ended the process with signal SIGSEGV; its last words: vkQueueSubmit failed/);
  assert.match(cause(await probe('webgpu', { script: script('for (;;);'), limit_ms: 500 })), /did not end within 0\.5 s/);
  assert.match(cause(await probe('webgpu', { script: script('process.exit(3)') })), /exit code 3/);
});

test('a driver that crashes after its answer has answered', async () => {
  const crash = `process.stdout.write(${JSON.stringify(`\n${JSON.stringify(GOOD)}\n`)}, () => process.kill(process.pid, 'SIGSEGV'));`;
  assert.deepEqual(await probe('webgpu', { script: script(crash) }), GOOD);
});

test('libraries that a device lacks are named by file', async () => {
  const answer = JSON.stringify({ ok: false, cause: 'a library was not found', action: 'install it', missing: false });
  const result = await probe('cuda', { script: script(`
    console.error('FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared object file: No such file or directory');
    console.log(${JSON.stringify(answer)});
  `) });
  assert.deepEqual(result, { ok: false, cause: 'a library was not found (not found: libcublasLt.so.12)', action: 'install it', missing: true });
});

test('an answer is remembered for this driver and this version, and asked again when it is old', async () => {
  const good = script(`console.log(${JSON.stringify(JSON.stringify(GOOD))})`);
  await probe('webgpu', { script: good });
  assert.deepEqual(await knownProbe('webgpu'), GOOD);
  const [file] = readdirSync(process.env.LORA_LAB_CACHE!);
  writeFileSync(join(process.env.LORA_LAB_CACHE!, file), JSON.stringify({ time: Date.now() - 8 * 86_400_000, result: GOOD }));
  if (VULKAN) assert.match(cause(await knownProbe('webgpu')), /no GPU driver for WebGPU was found/);
});

test('whether a run\'s device has half precision is what its probe has found, and never a guess', async () => {
  const found = async (result: object): Promise<boolean> => {
    await probe('webgpu', { script: script(`console.log(${JSON.stringify(JSON.stringify(result))})`) });
    return hasHalf('webgpu on NVIDIA L4 (onnxruntime 1.30.0)');
  };
  assert.equal(hasHalf('webgpu (onnxruntime 1.30.0)'), false, 'nobody has asked');
  assert.equal(await found({ ...GOOD, half: 'ready' }), true);
  assert.equal(hasHalf('cpu (onnxruntime 1.30.0)'), false, 'another device than the one that was asked');
  assert.equal(await found({ ...GOOD, half: 'its WebGPU adapter lacks shader-f16' }), false);
  assert.equal(await found(BROKEN), false);
});

test('a named device that cannot be used is an error that says what is missing, never a run on the CPU', async () => {
  if (VULKAN) await assert.rejects(createExecutor('webgpu'), /webgpu cannot be used: no GPU driver for WebGPU was found.*set "device" to "auto" or "cpu"/);
  await assert.rejects(createExecutor('cuda'), process.platform === 'linux' && process.arch === 'x64' ? /cuda cannot be used: libonnxruntime_providers_shared\.so is missing in .*LORA_LAB_ORT_CUDA/ : /Linux on x64 only/);
  await assert.rejects(createExecutor('abacus'), /"abacus" is no device\. Choose one of auto, cpu/);
  assert.match((await createExecutor('cpu')).device, process.platform === 'linux' ? /^cpu \(onnxruntime [\d.]+, \d+ threads?\)$/ : /^cpu \(onnxruntime [\d.]+\)$/);
});

test("ONNX Runtime's messages become causes and actions", () => {
  const say = (message: string, provider: Provider = 'webgpu'): string => (onnxError(new Error(message), provider, 'start') as Error).message;
  assert.match(say('OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library', 'cuda'), /a library that the CUDA provider needs was not found.*CUDA 12 and cuDNN 9/);
  assert.match(say('Buffer size (3185049600) exceeds the max buffer size limit (1073741824).'), /3185049600 bytes does not fit .* 1073741824/);
  assert.match((onnxError(new Error('Device is lost'), 'webgpu', 'run') as Error).message, /webgpu stopped working: the GPU was lost.*Resume from the last checkpoint/);
  const fault = new Error('a fault of our own');
  assert.equal(onnxError(fault, 'cpu', 'run'), fault);
});

test("the systems' lists of GPUs are read", () => {
  assert.deepEqual(readNvidiaGpus('NVIDIA L4, 23034, 550.54.15\nNVIDIA-SMI has failed\n'), [{ name: 'NVIDIA L4', memory_bytes: 23034 * 2 ** 20, driver: 'nvidia 550.54.15' }]);
  const windows = '[{"Name":"Microsoft Basic Render Driver"},{"Name":"AMD Radeon(TM) 780M","AdapterRAM":536870912,"DriverVersion":"31.0.24"},{"Name":"NVIDIA GeForce GTX 1050","AdapterRAM":2147483648,"DriverVersion":"32.0.15"}]';
  assert.deepEqual(ownMemoryFirst(readWindowsGpus(windows)), [
    { name: 'NVIDIA GeForce GTX 1050', memory_bytes: 2147483648, driver: '32.0.15' },
    // What it may use of the machine's memory, Windows does not tell here.
    { name: 'AMD Radeon(TM) 780M', memory_bytes: null, driver: '31.0.24' },
  ]);
  assert.equal(readMacGpus('{"SPDisplaysDataType":[{"sppci_model":"Apple M2"}]}')[0].name, 'Apple M2');
  assert.deepEqual([readMacGpus(''), readWindowsGpus('')], [[], []]);
});

test('on Windows the tool of NVIDIA\'s driver is found in the system folder, and knows of memory that the list cannot hold', () => inTemporaryFolder(root => {
  assert.equal(windowsTool(root), undefined);
  mkdirSync(join(root, 'System32'));
  writeFileSync(join(root, 'System32/nvidia-smi.exe'), '');
  assert.equal(windowsTool(root), join(root, 'System32', 'nvidia-smi.exe'));
  const listed = readWindowsGpus('[{"Name":"Intel(R) UHD Graphics","AdapterRAM":1073741824,"DriverVersion":"31"},{"Name":"NVIDIA GeForce RTX 4070","AdapterRAM":4293918720,"DriverVersion":"32.0.15"}]');
  const told = readNvidiaGpus('NVIDIA GeForce RTX 4070, 12282, 572.16');
  const gpus = (cards: typeof told): unknown[] => ownMemoryFirst(toldByNvidia(cards, listed)).map(({ name, memory_bytes }) => [name, memory_bytes]);
  assert.deepEqual(gpus(told), [['NVIDIA GeForce RTX 4070', 12282 * 2 ** 20], ['Intel(R) UHD Graphics', null]]);
  assert.deepEqual(gpus([]), [['NVIDIA GeForce RTX 4070', null], ['Intel(R) UHD Graphics', null]]);
}));

test('a Windows machine that lists only adapters without a GPU computes in software; one that lists nothing is not said to', async () => {
  const listing = (...names: string[]): Promise<boolean> => onlySoftware(async () => JSON.stringify(names.map(Name => ({ Name }))));
  assert.deepEqual(await Promise.all([listing('Microsoft Hyper-V Video'), onlySoftware(async () => '{"Name":"Microsoft Basic Display Adapter"}'), listing('Microsoft Remote Display Adapter', 'Intel(R) UHD Graphics'), listing(), onlySoftware(async () => '')]),
    [true, true, false, false, false]);
});

test('graphics in a processor of AMD\'s have the machine\'s memory beside their own, and come after a card', { skip: process.platform === 'win32' }, () => inTemporaryFolder(place => {
  const drm = makeUpDrm(place);
  const GiB = 2 ** 30;
  drm.card(0, { vendor: '0x1002', device: '0x15bf', gpu_busy_percent: 0, mem_info_vram_total: GiB / 2, mem_info_gtt_total: 16 * GiB });
  drm.card(1, { vendor: '0x1002', device: '0x744c', gpu_busy_percent: 0, mem_busy_percent: 0, mem_info_vram_total: 8 * GiB, mem_info_gtt_total: 16 * GiB });
  drm.card(2, { vendor: '0x1002', device: '0x687f', gpu_busy_percent: 0, pcie_bw: '0 0 256', mem_info_vram_total: 4 * GiB, mem_info_gtt_total: 16 * GiB });
  drm.card(3, { vendor: '0x8086', device: '0x7d55' });
  assert.deepEqual(ownMemoryFirst(readKernelGpus(drm.folders.cards)).map(({ name, memory_bytes }) => [name, memory_bytes]), [
    ['AMD 0x744c', 8 * GiB], ['AMD 0x687f', 4 * GiB], ['Intel 0x7d55', null], ['AMD 0x15bf', 16.5 * GiB],
  ]);
}));

test('lab -- devices prints every device with its state', () => {
  const { stdout, status } = spawnSync(process.execPath, [built('engine/cli.js'), 'devices'], { encoding: 'utf8' });
  assert.equal(status, 0);
  const { devices } = JSON.parse(stdout) as DevicesReport;
  assert.deepEqual(devices.map(({ device, state }) => `${device} ${state}`), ['cpu ready', 'cuda needs', `webgpu ${VULKAN ? 'needs' : devices[2].state}`, 'tensorflow needs']);
  assert.ok(devices[0].memory_bytes! > 2 ** 28 && devices[0].name);
  assert.match(devices[3].detail, /npm install @tensorflow\/tfjs-node-gpu/);
});

test('what a device is, and a TensorFlow of Python that could be linked with, are told', async () => {
  const missing: ProbeResult = { ok: false, cause: 'no tfjs-node was found', action: 'install it', missing: true };
  const { devices, auto } = await listDevices(async device => (device === 'webgpu' ? SOFTWARE : device === 'tensorflow' ? missing : BROKEN), async () => undefined);
  const [cpu, cuda, webgpu, tensorflow] = devices;
  assert.deepEqual([webgpu.name, webgpu.driver, webgpu.state, webgpu.software, webgpu.memory_bytes], ['llvmpipe, in software', 'llvmpipe', 'ready', true, cpu.memory_bytes]);
  assert.deepEqual([cuda.state, cuda.detail, tensorflow.state, tensorflow.detail, auto.device], ['needs', 'libcublas.so.12 was not found; install CUDA 12', 'needs', 'no tfjs-node was found; install it', 'cpu']);
});

test('lab -- devices offers the TensorFlow of a Python environment', { skip: process.platform === 'win32' }, () => {
  const environment = join(folder, 'environment'), place = join(environment, 'lib/tensorflow');
  for (const path of ['bin', 'lib/tensorflow-2.18.0.dist-info', 'lib/tensorflow/include/tensorflow/c/eager']) mkdirSync(join(environment, path), { recursive: true });
  for (const name of ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2', 'include/tensorflow/c/c_api.h', 'include/tensorflow/c/eager/c_api.h']) writeFileSync(join(place, name), '');
  writeFileSync(join(environment, 'bin/python'), `#!/bin/sh\necho ${place}\n`, { mode: 0o755 });
  const { stdout } = spawnSync(process.execPath, [built('engine/cli.js'), 'devices'], { encoding: 'utf8', env: { ...process.env, LORA_LAB_PYTHON: '', VIRTUAL_ENV: environment } });
  const { devices } = JSON.parse(stdout) as DevicesReport;
  assert.ok(devices[3].detail.endsWith(`; TensorFlow 2.18.0 of Python is in ${place}: "lab -- install tensorflow --link ${place}" uses it, with the CUDA that it was made for`), devices[3].detail);
});
