/** SwiftShader, a Vulkan driver in software that ships with Chromium: WebGPU for tests on machines without a GPU. */
import { existsSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import * as ort from 'onnxruntime-node';
import { CompiledExecutor } from '../../src/engine/executors/compiled';
import type { CompiledProgram } from '../../src/engine/executors/executor';

const DRIVERS = ['chromium', 'chromium-browser', '../share/chromium'].map(folder => `/usr/lib/${folder}/vk_swiftshader_icd.json`);

/**
 * Points Vulkan at SwiftShader and opens a session on it, which keeps the device and its compiled shaders for the whole
 * process. Returns the reason instead where that cannot be done.
 */
export async function openSoftwareGpu(): Promise<{ device: CompiledProgram } | { reason: string }> {
  if (!ort.listSupportedBackends().some(backend => backend.name === 'webgpu')) return { reason: 'ONNX Runtime has no WebGPU provider here' };
  const driver = process.env.VK_ICD_FILENAMES ?? DRIVERS.find(existsSync);
  if (driver === undefined) return { reason: "there is no SwiftShader (Debian's chromium package has it)" };
  process.env.VK_ICD_FILENAMES = driver;
  try {
    const device = await new CompiledExecutor({ provider: 'webgpu' }).compile({
      name: 'held', weights: new Map(), inputs: [{ name: 'x', dtype: 'float32', shape: [1] }], forward: ({ x }) => ({ y: tf.mul(x, 2) }),
    });
    return { device };
  } catch (error) {
    if (!/webgpu|adapter|vulkan/i.test(String(error))) throw error;
    return { reason: `SwiftShader cannot be used: ${error instanceof Error ? error.message : String(error)} (libvulkan1 is needed)` };
  }
}
