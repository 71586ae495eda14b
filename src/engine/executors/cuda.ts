/**
 * ONNX Runtime's CUDA provider (Linux x64): two libraries that its npm package leaves out. They must lie beside the binding;
 * they are linked from where they were installed, or from the folder that `LORA_LAB_ORT_CUDA` names.
 */
import { createRequire } from 'node:module';
import { readlinkSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LabError } from '../errors';
import { lookUp, readJsonObject, realPath, removeFile } from '../files';
import { findInstalled, runtimeFolder } from './install/installed';

const LIBRARIES = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];

const onnxPackage = (): string => createRequire(__filename).resolve('onnxruntime-node/package.json');

/** Folder of ONNX Runtime's own library, beside which it looks for providers. */
const bindingFolder = (): string => join(realPath(dirname(onnxPackage())), `bin/napi-v6/${process.platform}/${process.arch}`);

/** True where the provider's libraries are; says nothing about CUDA itself. */
export function hasCudaProvider(): boolean {
  return process.platform === 'linux' && process.arch === 'x64' && missing(bindingFolder()).every(file => source(file) !== undefined);
}

/** Puts the provider's libraries where ONNX Runtime looks for them. Errors: LabError `device.missing` that names the files. */
export function findCudaProvider(): void {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw needs('ONNX Runtime has its CUDA provider for Linux on x64 only', 'set "device" to "webgpu" or "auto", which use the same GPU');
  }
  const folder = bindingFolder();
  for (const file of missing(folder)) {
    const from = source(file);
    if (from === undefined) {
      throw needs(`${file} is missing in ${process.env.LORA_LAB_ORT_CUDA || folder}`,
        `install it with "LoRA Lab: Install GPU runtime…" ("lab -- install cuda"), or take it from NuGet's Microsoft.ML.OnnxRuntime.Gpu.Linux of the same version (or npm rebuild onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12), and put it there or name its folder in LORA_LAB_ORT_CUDA`);
    }
    try {
      // A link to where the library no longer is would be in the way.
      if (lookUp(join(folder, file), 'link') && !lookUp(join(folder, file))) removeFile(join(folder, file));
      symlinkSync(realPath(from), join(folder, file));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw needs(`${file} cannot be linked into ${folder}: ${(error as Error).message}`, `copy it from ${from} to there`);
    }
  }
}

/** Takes away the links to an installed provider; one that was put there by hand stays. */
export function unlinkCudaProvider(): void {
  if (process.platform !== 'linux' || process.arch !== 'x64') return;
  for (const file of LIBRARIES) {
    const path = join(bindingFolder(), file);
    if (lookUp(path, 'link')?.isLink && dirname(readlinkSync(path)) === runtimeFolder('cuda')) removeFile(path);
  }
}

const missing = (folder: string): string[] => LIBRARIES.filter(file => !lookUp(join(folder, file)));

function source(file: string): string | undefined {
  const folder = process.env.LORA_LAB_ORT_CUDA || installedFolder();
  return folder !== undefined && lookUp(join(folder, file)) ? join(folder, file) : undefined;
}

/** Libraries of another version than the binding would crash it. */
function installedFolder(): string | undefined {
  const installed = findInstalled('cuda');
  return installed && installed.version === readJsonObject(onnxPackage(), 1 << 20).version ? runtimeFolder('cuda') : undefined;
}

const needs = (cause: string, action: string): LabError => new LabError({ code: 'device.missing', where: 'engine.device', cause, action });
