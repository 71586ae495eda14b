/**
 * ONNX Runtime's CUDA provider (Linux x64): two libraries that its npm package leaves out. They must lie beside the binding;
 * `LORA_LAB_ORT_CUDA` names a folder that holds them, from which they are linked.
 */
import { createRequire } from 'node:module';
import { symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LabError } from '../errors';
import { lookUp, realPath, removeFile } from '../files';

const LIBRARIES = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];

/** Folder of ONNX Runtime's own library, beside which it looks for providers. */
const bindingFolder = (): string => join(realPath(dirname(createRequire(__filename).resolve('onnxruntime-node/package.json'))), `bin/napi-v6/${process.platform}/${process.arch}`);

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
      throw needs(`${file} is missing in ${process.env.LORA_LAB_ORT_CUDA ?? folder}`,
        `take it from NuGet's Microsoft.ML.OnnxRuntime.Gpu.Linux of the same version (or npm rebuild onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12), and put it there or name its folder in LORA_LAB_ORT_CUDA`);
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

const missing = (folder: string): string[] => LIBRARIES.filter(file => !lookUp(join(folder, file)));

function source(file: string): string | undefined {
  const folder = process.env.LORA_LAB_ORT_CUDA;
  return folder && lookUp(join(folder, file)) ? join(folder, file) : undefined;
}

const needs = (cause: string, action: string): LabError => new LabError({ code: 'device.missing', where: 'engine.device', cause, action });
