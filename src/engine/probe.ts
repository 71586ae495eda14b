/**
 * Child process that runs one probe step on a device and writes what it found as one line of JSON to standard output.
 * Drivers crash and hang: here they can take nothing else with them. Started by executors/probe.ts.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { Executor } from './executors/executor';
import { startExecutor } from './executors/start';
import { LabError } from './errors';
import { compareHalf, compareSteps } from './training/probeStep';
import { GPU_FILES, onlySoftware } from './executors/hardware';
import type { ProbeResult } from './executors/probe';
import { sendNothing } from './executors/usageData';
import type { DeviceName } from '../protocol/devices';

/** Drivers in software, by the library that holds them. */
const SOFTWARE: Record<string, string> = { vk_swiftshader: 'SwiftShader', vulkan_lvp: 'llvmpipe' };

async function probe(device: DeviceName): Promise<ProbeResult> {
  try {
    const executor = await startExecutor(device);
    const wrong = await compareSteps(executor, await startExecutor('cpu'));
    if (wrong) return { ok: false, cause: `it computes wrong numbers: ${wrong}`, action: 'update its driver', missing: false };
    if (device !== 'webgpu') return { ok: true, runs: executor.device, software: false, driver: null };
    return { ok: true, runs: executor.device, ...await driverOf(), half: await halfPrecision(executor) };
  } catch (error) {
    if (error instanceof LabError) return { ok: false, cause: error.report.cause, action: error.report.action, missing: error.report.code === 'device.missing' };
    return { ok: false, cause: error instanceof Error ? error.message : String(error), action: 'set "device" to "cpu"', missing: false };
  }
}

/** `ready`, or why not: an adapter without shader-f16 refuses the first shader that needs it. */
async function halfPrecision(executor: Executor): Promise<string> {
  try {
    const wrong = await compareHalf(executor);
    return wrong ? `it computes wrong numbers: ${wrong}` : 'ready';
  } catch (error) {
    const message = error instanceof LabError ? error.report.cause : String(error);
    return /requires f16|shader-f16/i.test(message) ? 'its WebGPU adapter lacks shader-f16' : message;
  }
}

/**
 * On Linux a real GPU shows in the device files that its driver holds open, a software driver in the libraries that are loaded. On Windows without a
 * real GPU, Direct3D gives its own software (WARP) to whoever asks for an adapter.
 */
async function driverOf(): Promise<{ software: boolean; driver: string | null }> {
  if (process.platform === 'win32') return await onlySoftware() ? { software: true, driver: 'Direct3D' } : { software: false, driver: null };
  if (process.platform !== 'linux') return { software: false, driver: null };
  const open = readdirSync('/proc/self/fd').some(fd => { try { return GPU_FILES.test(readlinkSync(`/proc/self/fd/${fd}`)); } catch { return false; } });
  const libraries = new Set(readFileSync('/proc/self/maps', 'utf8').split('\n').map(line => basename(line.split(/\s+/)[5] ?? '')));
  const found = Object.entries(SOFTWARE).find(([name]) => [...libraries].some(library => library.startsWith(`lib${name}`)));
  return { software: !open, driver: open ? null : found?.[1] ?? null };
}

sendNothing();
void probe(process.argv[2] as DeviceName).then(result => process.stdout.write(`\n${JSON.stringify(result)}\n`, () => process.exit(0)));
