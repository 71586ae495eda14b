/** The one switch from the name of a device to an executor. */
import * as ort from 'onnxruntime-node';
import { LabError } from '../errors';
import { CompiledExecutor } from './compiled';
import { EagerExecutor } from './eager';
import type { Executor } from './executor';

export interface DeviceInfo { name: string; state: 'ready' | 'missing' | 'untested'; detail: string }

/** What this machine could train on, without starting anything on it. */
export function listDevices(): DeviceInfo[] {
  const built = new Map(ort.listSupportedBackends().map(backend => [backend.name, backend]));
  const version = ort.env.versions.node ?? ort.env.versions.common;
  return [
    { name: 'cpu', state: 'ready', detail: `onnxruntime ${version}` },
    { name: 'webgpu', state: built.has('webgpu') ? 'untested' : 'missing', detail: 'not supported by this version' },
    { name: 'cuda', state: 'missing', detail: 'not supported by this version' },
    { name: 'tensorflow', state: 'missing', detail: 'not supported by this version' },
  ];
}

/** Starts the executor for `device`. A device that cannot be used is an error, never a silent run on the CPU. */
export async function createExecutor(device: string): Promise<Executor> {
  switch (device) {
    case 'auto':
    case 'cpu':
      return new CompiledExecutor({ provider: 'cpu', profile: process.env.LORA_LAB_PROFILE });
    case 'reference':
      await import('@tensorflow/tfjs-backend-cpu');
      return new EagerExecutor('cpu (tfjs reference)', 'cpu');
    default:
      throw new LabError({
        code: 'device.unavailable', where: 'engine.device', cause: `the device "${device}" cannot be used by this version`,
        action: 'set "device" to "auto" or "cpu"',
      });
  }
}
