/** A Hugging Face checkpoint folder: config.json and one or more safetensors files. Reads headers only. */
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { LabError } from '../errors';
import { listFolder, lookUp, readJsonObject, readRange } from '../files';
import type { Config } from './family';
import { readHeader, type TensorRef } from './safetensors';
import { INDEX_NAME, readIndex, readShards } from './shards';

export interface Checkpoint {
  /** Absolute path. */
  folder: string;
  config: Config;
  /** Every stored tensor by the name it is stored under. */
  tensors: Map<string, TensorRef>;
  /** Stored name → file name inside the folder. */
  files: Map<string, string>;
  /** In several files, with an index. */
  sharded: boolean;
  fingerprint: string;
}

const WEIGHTS_NAME = 'model.safetensors';
const CONFIG_LIMIT = 1 << 20;

/**
 * Opens a checkpoint folder.
 * Errors: `checkpoint.no-folder`, `.no-config`, `.bad-config`, `.pickle-only`, `.no-weights`, those of the index
 * (`shards.ts`) and of the safetensors headers.
 */
export function openCheckpoint(path: string): Checkpoint {
  const folder = resolve(path);
  const config = readConfig(folder);
  const sharded = isSharded(folder);
  const files = sharded ? readIndex(folder) : undefined;
  const tensors = files ? readShards(folder, files) : readHeader(join(folder, WEIGHTS_NAME)).tensors;
  return { folder, config, tensors, files: files ?? new Map([...tensors.keys()].map(name => [name, WEIGHTS_NAME])), sharded, fingerprint: fingerprint(tensors) };
}

/** The content of `config.json`, which must name a `model_type`. */
export function readConfig(folder: string): Config {
  const info = lookUp(folder);
  if (!info) throw new LabError({ code: 'checkpoint.no-folder', file: folder, cause: 'there is no such folder', action: 'give the folder of a checkpoint that is on this machine: nothing is downloaded, and base_model in an experiment is relative to its file' });
  if (!info.isDirectory) throw new LabError({ code: 'checkpoint.no-folder', file: folder, cause: 'it is a file, not a folder', action: 'give the folder that holds config.json and the weights' });
  const file = join(folder, 'config.json');
  if (!lookUp(file)) {
    const adapter = lookUp(join(folder, 'adapter_config.json'));
    throw new LabError({
      code: 'checkpoint.no-config', file: folder, cause: adapter ? 'the folder holds an adapter, not a base model: it has no config.json' : 'the folder has no config.json',
      action: adapter ? 'give the folder of the base model' : 'give the folder of a Hugging Face checkpoint (config.json and *.safetensors)',
    });
  }
  let config: Config;
  try { config = readJsonObject(file, CONFIG_LIMIT); } catch (error) {
    if (!(error instanceof LabError) || error.report.code.startsWith('disk.')) throw error;
    throw new LabError({ ...error.report, code: 'checkpoint.bad-config' }, { cause: error });
  }
  if (typeof config.model_type !== 'string') {
    throw new LabError({ code: 'checkpoint.bad-config', file, where: 'model_type', cause: 'is missing or not a text', action: 'use the config.json that belongs to the checkpoint' });
  }
  return config;
}

function isSharded(folder: string): boolean {
  if (lookUp(join(folder, WEIGHTS_NAME))) return false;
  if (lookUp(join(folder, INDEX_NAME))) return true;
  const names = listFolder(folder);
  const pickle = names.find(name => /^(pytorch_model.*\.bin|.*\.(pt|pth|ckpt))$/.test(name));
  if (pickle) {
    throw new LabError({
      code: 'checkpoint.pickle-only', file: join(folder, pickle), cause: 'the weights are stored as a Python pickle, which can run code when it is read, and is never opened here',
      action: `convert them once in Python: model.save_pretrained(dir, safe_serialization=True)`,
    });
  }
  const other = names.find(name => /\.(h5|msgpack|gguf|onnx|safetensors)$/.test(name));
  throw new LabError({
    code: 'checkpoint.no-weights', file: folder, cause: `the folder has neither ${WEIGHTS_NAME} nor ${INDEX_NAME}${other ? ` (only ${other})` : ''}`,
    action: 'download the safetensors weights of the model into it',
  });
}

/** Bytes hashed at the start, the middle and the end of every tensor. */
const SAMPLE = 4096;

/** Hash over names, types, shapes and samples of all tensors: the same however they are spread over files. */
function fingerprint(tensors: ReadonlyMap<string, TensorRef>): string {
  const hash = createHash('sha256');
  for (const [name, ref] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(JSON.stringify([name, ref.dtype, ref.shape]));
    const starts = ref.bytes <= 3 * SAMPLE ? [0] : [0, Math.floor((ref.bytes - SAMPLE) / 2), ref.bytes - SAMPLE];
    for (const start of starts) hash.update(readRange(ref.file, ref.offset + start, starts.length === 1 ? ref.bytes : SAMPLE));
  }
  return hash.digest('hex');
}
