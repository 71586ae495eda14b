/** The one switch from the name of a device to an executor on it. */
import * as ort from 'onnxruntime-node';
import type { DeviceName } from '../../protocol/devices';
import type { Savings } from '../../protocol/savings';
import { CompiledExecutor } from './compiled';
import { findCudaProvider } from './cuda';
import { EagerExecutor } from './eager';
import type { Executor } from './executor';
import { startTensorFlow } from './tensorflow';

export const onnxVersion = (): string => ort.env.versions.node ?? ort.env.versions.common;

export interface ExecutorOptions {
  /** Default: all. */
  savings?: Savings;
  /** Threads that compute on the CPU; default and null: one for each core. TensorFlow chooses its own. */
  threads?: number | null;
}

/** Starts the executor without asking whether the device works. Errors: LabError `device.missing` where something is not installed. */
export async function startExecutor(device: DeviceName | 'reference', { savings, threads }: ExecutorOptions = {}): Promise<Executor> {
  const settings = { savings, threads: threads ?? undefined, profile: process.env.LORA_LAB_PROFILE };
  switch (device) {
    case 'cpu': case 'webgpu':
      return new CompiledExecutor({ provider: device, ...settings });
    case 'cuda':
      findCudaProvider();
      return new CompiledExecutor({ provider: 'cuda', ...settings });
    case 'tensorflow':
      return startTensorFlow();
    case 'reference':
      await import('@tensorflow/tfjs-backend-cpu');
      return new EagerExecutor('cpu (tfjs reference)', 'cpu');
  }
}
