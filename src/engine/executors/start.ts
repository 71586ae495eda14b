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

/** Starts the executor without asking whether the device works. Errors: LabError `device.missing` where something is not installed. */
export async function startExecutor(device: DeviceName | 'reference', savings?: Savings): Promise<Executor> {
  const profile = process.env.LORA_LAB_PROFILE;
  switch (device) {
    case 'cpu': case 'webgpu':
      return new CompiledExecutor({ provider: device, savings, profile });
    case 'cuda':
      findCudaProvider();
      return new CompiledExecutor({ provider: 'cuda', savings, profile });
    case 'tensorflow':
      return startTensorFlow();
    case 'reference':
      await import('@tensorflow/tfjs-backend-cpu');
      return new EagerExecutor('cpu (tfjs reference)', 'cpu');
  }
}
