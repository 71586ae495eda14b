/**
 * Vulkan drivers in software: WebGPU for tests on machines without a GPU. SwiftShader ships with Chromium. Mesa's lavapipe (llvmpipe) has half
 * precision, which SwiftShader lacks, and is taken from where Debian's mesa-vulkan-drivers puts it or from the file that `LORA_LAB_LAVAPIPE` names.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as ort from 'onnxruntime-node';
import { CompiledExecutor } from '../../src/engine/executors/compiled';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { swiftShader } from './lostGpu';

type Opened = { device: CompiledProgram } | { reason: string };

/**
 * Points Vulkan at SwiftShader and opens a session on it, which keeps the device and its compiled shaders for the whole
 * process. Returns the reason instead where that cannot be done.
 */
export const openSoftwareGpu = (): Promise<Opened> => open('SwiftShader', useSwiftShader());

/** Points Vulkan at SwiftShader, for this process and those that it starts. Returns the reason instead where there is none. */
export const useSwiftShader = (): string | undefined => use('SwiftShader', swiftShader(), "Debian's chromium package has it");

/** The same with lavapipe. Mesa 22, as Debian 12 has it, is refused by Dawn; its backports have a newer one. */
export const openHalfGpu = (): Promise<Opened> =>
  open('lavapipe', use('lavapipe', process.env.LORA_LAB_LAVAPIPE ?? findLavapipe(), "Debian's mesa-vulkan-drivers has it, or LORA_LAB_LAVAPIPE names its lvp_icd.json"));

function findLavapipe(): string | undefined {
  const folder = '/usr/share/vulkan/icd.d';
  const name = existsSync(folder) ? readdirSync(folder).find(file => /^lvp_icd.*\.json$/.test(file)) : undefined;
  return name && join(folder, name);
}

function use(name: string, driver: string | undefined, source: string): string | undefined {
  if (!ort.listSupportedBackends().some(backend => backend.name === 'webgpu')) return 'ONNX Runtime has no WebGPU provider here';
  if (driver === undefined) return `there is no ${name} (${source})`;
  process.env.VK_ICD_FILENAMES = driver;
  return undefined;
}

async function open(name: string, reason: string | undefined): Promise<Opened> {
  if (reason !== undefined) return { reason };
  try {
    const device = await new CompiledExecutor({ provider: 'webgpu' }).compile({
      name: 'held', weights: new Map(), inputs: [{ name: 'x', dtype: 'float32', shape: [1] }], forward: ({ x }) => ({ y: tf.mul(x, 2) }),
    });
    return { device };
  } catch (error) {
    if (!/webgpu|adapter|vulkan/i.test(String(error))) throw error;
    return { reason: `${name} cannot be used: ${error instanceof Error ? error.message : String(error)} (libvulkan1 is needed)` };
  }
}
