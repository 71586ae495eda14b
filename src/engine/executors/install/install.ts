/** Installing a GPU runtime: as a whole or not at all, and never over one that works before the new one is complete. */
import * as ort from 'onnxruntime-node';
import { resolve } from 'node:path';
import { LabError } from '../../errors';
import { lookUp, makeFolder } from '../../files';
import { transaction } from '../../transaction';
import type { InstallReport, InstallRequest, Progress, RuntimeName, RuntimeState } from '../../../protocol/engine';
import { offeredTensorFlow } from './compile';
import { isUrl, type Fetching } from './download';
import { findInstalled, firstMissing, requirePlatform, runtimeFolder, runtimesFolder, writeInstalled } from './installed';
import { makeCuda, makeTensorFlow, type Recipe } from './recipes';
import { cudaSources, tensorflowSources, type CudaSources, type TensorFlowSources } from './sources';
import { hasNvidia } from '../hardware';
import type { ProbeResult } from '../probe';

export interface Installing {
  signal: AbortSignal;
  progress(progress: Progress): void;
  /** Runs a step on the device, to say whether the new runtime works. */
  probe(runtime: RuntimeName): Promise<ProbeResult>;
  /** Other sources than the published ones, for tests. */
  sources?: { tensorflow?: TensorFlowSources; cuda?: CudaSources };
}

/** Progress is told this often at most. */
const TELL_MS = 100;

const onnxVersion = (): string => ort.env.versions.node ?? ort.env.versions.common;

/**
 * Fetches, checks and unpacks a runtime below `runtimesFolder()`, replacing an earlier one, and tries it.
 * Errors: `runtime.*`, `disk.*`; whatever happens, the folder holds the old runtime, the new one or nothing.
 */
export async function installRuntime({ runtime, variant = hasNvidia() ? 'gpu' : 'cpu', from = null, link = null, proxy }: InstallRequest, { signal, progress, probe, sources = {} }: Installing): Promise<InstallReport> {
  requirePlatform();
  if (link !== null && runtime !== 'tensorflow') throw new LabError({ code: 'runtime.link', where: 'link', cause: 'only TensorFlow can be linked with that of Python', action: 'leave it out' });
  const { mirror, file } = readFrom(from);
  const begun = performance.now();
  const target = runtimeFolder(runtime);
  makeFolder(runtimesFolder());
  let told = 0;
  const made = await transaction(target, async folder => {
    const fetching: Fetching = { folder, mirror, proxy, signal, progress: (message, fraction) => {
      if (fraction !== null && fraction < 1 && performance.now() - told < TELL_MS) return;
      told = performance.now();
      progress({ message, fraction });
    } };
    const recipe: Recipe = { file, fetching };
    const result = runtime === 'cuda' ? await makeCuda(folder, sources.cuda ?? cudaSources(onnxVersion()), recipe)
      : await makeTensorFlow(folder, sources.tensorflow ?? tensorflowSources(variant), link, recipe);
    progress({ message: 'Writing to disk', fraction: null });
    return { ...result, ...writeInstalled(folder, { runtime, version: result.version, variant: runtime === 'cuda' ? 'gpu' : variant, outside: result.outside }) };
  });
  progress({ message: 'Trying it', fraction: null });
  const result = await probe(runtime);
  return {
    runtime, folder: target, version: made.version, variant: made.variant, bytes: Object.values(made.files).reduce((sum, size) => sum + size, 0),
    seconds: (performance.now() - begun) / 1000, checked: made.checked, works: result.ok, detail: result.ok ? result.runs : `${result.cause}; ${result.action}`,
  };
}

function readFrom(from: string | null): { mirror: string | null; file: string | null } {
  if (from === null || from === '') return { mirror: null, file: null };
  if (isUrl(from)) return { mirror: from, file: null };
  const path = resolve(from);
  const info = lookUp(path);
  if (!info) throw new LabError({ code: 'runtime.not-found', file: path, cause: 'there is no such file or folder', action: 'give an archive, a folder of downloads, or the address of a mirror (http:// or https://)' });
  return info.isDirectory ? { mirror: path, file: null } : { mirror: null, file: path };
}

/** Every address that an installation fetches, with its checksum. */
export function listSources(runtime: RuntimeName, variant: 'gpu' | 'cpu' = hasNvidia() ? 'gpu' : 'cpu'): { url: string; integrity: string | null }[] {
  if (runtime === 'cuda') return [{ url: cudaSources(onnxVersion()).url, integrity: null }];
  const { packages, library } = tensorflowSources(variant);
  return [...packages, library].map(({ url, integrity }) => ({ url, integrity }));
}

/** What is installed and whether it is whole, and a TensorFlow of Python that could be linked with. */
export async function runtimeStates(): Promise<{ runtimes: RuntimeState[]; python: { folder: string; version: string } | null; nvidia: boolean }> {
  const runtimes = (['tensorflow', 'cuda'] as const).map((runtime): RuntimeState => {
    const installed = findInstalled(runtime);
    const missing = installed && firstMissing(installed);
    return { runtime, version: installed?.version ?? null, missing: missing ?? null };
  });
  const python = await offeredTensorFlow();
  return { runtimes, python: python ? { folder: python.folder, version: python.version } : null, nvidia: hasNvidia() };
}

