/** A device that is lost in the middle of a run: the run ends with its last checkpoint, and a fresh engine goes on from it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { RunControl } from '../../src/engine/control';
import { LabError } from '../../src/engine/errors';
import { onnxError } from '../../src/engine/executors/onnxError';
import { SILENT } from '../../src/engine/reporter';
import { runSweep } from '../../src/engine/sweep';
import type { Summary } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, startRun } from '../support/runs';
import { WORKING, writeStandIn } from '../support/standInTensorFlow';

const kept = { ...process.env };
after(() => { process.env = kept; });

/** TensorFlow that stops working while `LAB_TEST_LOST` is set, so that no product of matrices comes back from it, and that releases nothing while `LAB_TEST_STUCK` is. */
const LOST = `${WORKING}
const product = tf.getKernel('BatchMatMul', 'tensorflow');
tf.unregisterKernel('BatchMatMul', 'tensorflow');
tf.registerKernel({ ...product, kernelFunc: options => {
  if (process.env.LAB_TEST_LOST) throw new Error('Invalid TF_Status: 13\\nMessage: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure');
  return product.kernelFunc(options);
} });
const dispose = MathBackendCPU.prototype.disposeData;
MathBackendCPU.prototype.disposeData = function (...args) {
  if (process.env.LAB_TEST_STUCK) throw new Error('Invalid TF_Status: 13\\nMessage: the device cannot be released');
  return dispose.apply(this, args);
};
`;

test('TensorFlow that fails in mid-run ends it by name, and the run goes on from its checkpoint with the same losses', () => inTemporaryFolder(async folder => {
  Object.assign(process.env, { LORA_LAB_CACHE: join(folder, 'cache'), LORA_LAB_TFJS_NODE: writeStandIn(join(folder, 'package'), { main: LOST }) });
  const settings = { engine: { device: 'tensorflow' }, training: { save_strategy: 'steps', save_steps: 2, max_steps: 6, eval_strategy: 'no' } };
  const run = (name: string, resume = false): Promise<Summary> => startRun(resume ? join(folder, name, 'case.lora.json') : copyCase(join(folder, name), settings), { resume }).ended;
  const straight = await run('a');
  const { ended } = startRun(copyCase(join(folder, 'b'), settings), { onStep: ({ step }) => { process.env.LAB_TEST_LOST = step < 3 ? '' : '1'; } });
  const error = await ended.then(() => assert.fail('it trained on a lost device'), (reason: unknown) => reason);
  assert.ok(error instanceof LabError, String(error));
  assert.deepEqual([error.report.code, error.report.cause], ['device.lost', 'tensorflow stopped working: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure']);
  assert.match(error.report.action, /resume from the last checkpoint/);
  assert.equal(error.report.lastGoodCheckpoint, join(folder, 'b/run/checkpoint-2'));
  assert.ok(!existsSync(join(folder, 'b/run/summary.json')));
  // Lost again before a checkpoint of its own, the run still names the one that it went on from.
  process.env.LAB_TEST_LOST = '1';
  await assert.rejects(run('b', true), (again: unknown) => again instanceof LabError && again.report.code === 'device.lost' && again.report.lastGoodCheckpoint === join(folder, 'b/run/checkpoint-2'));
  delete process.env.LAB_TEST_LOST;
  const resumed = await run('b', true);
  assert.deepEqual([resumed.state, resumed.steps, resumed.train_loss], ['finished', 6, straight.train_loss]);
}));

test('a sweep whose device is lost, and cannot even be released, ends by that name and gives its folder free', () => inTemporaryFolder(async folder => {
  Object.assign(process.env, { LORA_LAB_CACHE: join(folder, 'cache'), LORA_LAB_TFJS_NODE: writeStandIn(join(folder, 'package'), { main: LOST }) });
  const file = copyCase(join(folder, 'c'), { engine: { device: 'tensorflow' }, training: { max_steps: 6, eval_strategy: 'no', save_strategy: 'no' }, top: { sweep: { 'training.learning_rate': [1e-3, 5e-3] } } });
  const warnings: string[] = [];
  const ended = runSweep({ experiment_file: file, resume: false, cwd: folder, control: new RunControl(), report: {
    ...SILENT, metrics: ({ records }) => { if (records.some(({ step }) => step >= 3)) process.env.LAB_TEST_LOST = process.env.LAB_TEST_STUCK = '1'; }, log: ({ level, message }) => { if (level === 'warn') warnings.push(message); },
  } });
  await assert.rejects(ended, (error: unknown) => error instanceof LabError && error.report.code === 'device.lost').finally(() => { delete process.env.LAB_TEST_LOST; delete process.env.LAB_TEST_STUCK; });
  assert.deepEqual(warnings.filter(message => message.includes('could not be released')).length, 1, warnings.join());
  assert.equal(existsSync(join(folder, 'c/run/.lock')), false);
}));

test('what a lost GPU says is told as such; memory that is used up is not taken for it', () => {
  const code = (message: string, provider: 'webgpu' | 'tensorflow'): string | undefined => {
    const error = onnxError(new Error(message), provider, 'run');
    return error instanceof LabError ? error.report.code : undefined;
  };
  // As ONNX Runtime with Dawn says it when Vulkan has lost its device: while it runs, and while it starts.
  assert.equal(code('/onnxruntime_src/onnxruntime/core/providers/webgpu/buffer_manager.cc:641 void onnxruntime::webgpu::BufferManager::Download(WGPUBuffer, void*, size_t) const map_async_result.status == wgpu::MapAsyncStatus::Success was false. Failed to download data from buffer. wgpu::MapAsyncStatus value: 4, message: [Device] is lost.\n', 'webgpu'), 'device.lost');
  assert.equal(code('Failed to get a WebGPU device: vkCreateDevice failed with VK_ERROR_DEVICE_LOST', 'webgpu'), 'device.lost');
  assert.equal(code('WebGPU device lost (2): A valid external Instance reference no longer exists.', 'webgpu'), 'device.lost');
  assert.equal(code('Invalid TF_Status: 8\nMessage: OOM when allocating tensor with shape[64,512]', 'tensorflow'), 'device.memory');
});
