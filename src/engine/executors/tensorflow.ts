/**
 * TensorFlow through `@tensorflow/tfjs-node-gpu` or `@tensorflow/tfjs-node`, neither of which is part of LoRA Lab: they are
 * looked for where a person would install them, and run the step eagerly.
 */
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { LabError } from '../errors';
import { lookUp, readJsonObject } from '../files';
import { EagerExecutor } from './eager';
import { findInstalled, firstMissing, runtimeFolder } from './install/installed';
import type { Executor } from './executor';

const PACKAGES = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'];
/** The name under which both register their backend. */
const BACKEND = 'tensorflow';
const INSTALL = 'install it with "LoRA Lab: Install GPU runtime…" ("lab -- install tensorflow"), or run "npm install @tensorflow/tfjs-node-gpu" (NVIDIA with CUDA 11 and cuDNN 8) or "npm install @tensorflow/tfjs-node" (CPU) in the workspace folder, or name the folder that has it in LORA_LAB_TFJS_NODE';

interface Package { name: string; path: string; version: string }

/** The package that would be used, the GPU's first; undefined if there is none. Nothing is loaded. */
export function findTensorFlow(): Package | undefined {
  const named = process.env.LORA_LAB_TFJS_NODE;
  for (const folder of named ? [resolve(named)] : [process.cwd(), __dirname, runtimeFolder('tensorflow')]) {
    const own = readPackage(folder);
    if (own && PACKAGES.includes(own.name)) return own;
    const from = createRequire(join(folder, 'package.json'));
    for (const name of PACKAGES) {
      try { return readPackage(dirname(from.resolve(`${name}/package.json`))); } catch { /* it is not installed there */ }
    }
  }
  return undefined;
}

function readPackage(folder: string): Package | undefined {
  const file = join(folder, 'package.json');
  if (!lookUp(file)) return undefined;
  const { name, version } = readJsonObject(file, 1 << 20);
  return { name: String(name), version: String(version), path: folder };
}

/** Loads TensorFlow into this process. Errors: LabError `device.missing` if it is not installed, not complete, or a GPU package that finds no GPU. */
export async function startTensorFlow(): Promise<Executor> {
  const found = findTensorFlow();
  const installed = findInstalled('tensorflow');
  const lost = installed && found?.path.startsWith(runtimeFolder('tensorflow')) ? firstMissing(installed) : undefined;
  if (lost) throw needs(`${lost} is missing: the installed TensorFlow is no longer whole`, 'install it again with "LoRA Lab: Install GPU runtime…" ("lab -- install tensorflow")');
  if (!found) throw needs(`no ${PACKAGES.join(' or ')} was found${process.env.LORA_LAB_TFJS_NODE ? ` in ${process.env.LORA_LAB_TFJS_NODE}` : ''}`, INSTALL);
  const load = createRequire(join(found.path, 'package.json'));
  restoreUtil(load('node:util') as Record<string, unknown>);
  const previous = tf.getBackend();
  try { load(found.path); } catch (error) {
    throw needs(`${found.name} ${found.version} in ${found.path} does not load: ${String((error as Error).message).trim().split('\n')[0]}`,
      `run "npm rebuild ${found.name} --build-addon-from-source" there, or install it again`);
  }
  const { isUsingGpuDevice: gpu = false } = tf.findBackend(BACKEND) as { isUsingGpuDevice?: boolean };
  if (found.name.endsWith('-gpu') && !gpu) {
    throw needs(`${found.name} ${found.version} finds no GPU`, 'it needs an NVIDIA driver, CUDA 11 and cuDNN 8 on the library path; for the CPU use @tensorflow/tfjs-node');
  }
  // Loading it makes it tfjs's backend, even in the middle of someone else's program.
  if (previous && previous !== BACKEND) await tf.setBackend(previous);
  return new EagerExecutor(`tensorflow ${gpu ? 'gpu' : 'cpu'} (${found.name.split('/')[1]} ${found.version})`, BACKEND);
}

/** Two functions that tfjs-node 4.22 calls and that newer versions of Node no longer have. */
function restoreUtil(util: Record<string, unknown>): void {
  util.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined;
  util.isArray ??= Array.isArray;
}

const needs = (cause: string, action: string): LabError => new LabError({ code: 'device.missing', where: 'engine.device', cause, action });
