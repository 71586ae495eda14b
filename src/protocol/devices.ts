/** What `lab -- devices` says about a machine, and what `device: auto` would take. Plain JSON. */

export type DeviceName = 'cpu' | 'webgpu' | 'cuda' | 'tensorflow';

export interface DeviceReport {
  device: DeviceName;
  /** `ready`: a probe step gave the right numbers. `needs`: something is not installed. `failed`: it is there and does not work. */
  state: 'ready' | 'needs' | 'failed';
  /** Hardware, e.g. `NVIDIA GeForce RTX 4090`. */
  name: string | null;
  memory_bytes: number | null;
  /** Driver or adapter, e.g. `nvidia 550.54`, `SwiftShader`. */
  driver: string | null;
  /** True for a GPU that is computed on the CPU; `auto` never takes one. */
  software: boolean;
  /** Whether it can compute `engine.precision` `fp16`. */
  half_precision: boolean;
  /** What runs the step; or what is missing and what to do, or why it failed. */
  detail: string;
}

export interface DevicesReport {
  auto: { device: DeviceName; why: string };
  devices: DeviceReport[];
}
