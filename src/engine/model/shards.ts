/** Checkpoints in several files: `model.safetensors.index.json` says which tensor stands in which. The index is not trusted. */
import { basename, dirname, join, relative, sep } from 'node:path';
import { LabError } from '../errors';
import { lookUp, readJsonObject, realPath } from '../files';
import { readHeader, type TensorRef } from './safetensors';

export const INDEX_NAME = 'model.safetensors.index.json';
const INDEX_LIMIT = 128 << 20;
const MAX_SHARDS = 10_000;

/** Tensor name → file name, as the index gives it, checked to stay inside the folder. */
export function readIndex(folder: string): Map<string, string> {
  const file = join(folder, INDEX_NAME);
  const { weight_map: entries } = readJsonObject(file, INDEX_LIMIT);
  if (typeof entries !== 'object' || entries === null || Array.isArray(entries)) {
    throw new LabError({ code: 'checkpoint.bad-index', file, where: 'weight_map', cause: 'is not an object of tensor names and files', action: 'download the index again' });
  }
  const map = new Map<string, string>();
  for (const [name, shard] of Object.entries(entries)) {
    if (typeof shard !== 'string') throw new LabError({ code: 'checkpoint.bad-index', file, where: `weight_map: "${name}"`, cause: 'is not a file name', action: 'download the index again' });
    checkName(shard, file, name);
    map.set(name, shard);
  }
  const count = new Set(map.values()).size;
  if (count === 0 || count > MAX_SHARDS) throw new LabError({ code: 'checkpoint.bad-index', file, where: 'weight_map', cause: `names ${count} files; 1 to ${MAX_SHARDS} are possible`, action: 'download the index again' });
  return map;
}

/** Every tensor that the index names, from the file that the index names for it. Errors: `checkpoint.bad-index`, `.shard-outside`, `.shard-missing`, `.tensor-not-in-shard`. */
export function readShards(folder: string, index: ReadonlyMap<string, string>): Map<string, TensorRef> {
  const shards = new Map<string, Map<string, TensorRef>>();
  for (const shard of new Set(index.values())) {
    const path = join(folder, shard);
    if (!lookUp(path)) {
      throw new LabError({ code: 'checkpoint.shard-missing', file: path, cause: `the file is missing, and ${INDEX_NAME} names it`, action: 'download the missing file' });
    }
    checkTarget(folder, shard);
    shards.set(shard, readHeader(path).tensors);
  }
  const tensors = new Map<string, TensorRef>();
  for (const [name, shard] of index) {
    const ref = shards.get(shard)!.get(name);
    if (!ref) {
      throw new LabError({ code: 'checkpoint.tensor-not-in-shard', file: join(folder, shard), where: `tensor "${name}"`, cause: `${INDEX_NAME} says that it is in this file, but it is not`, action: 'download the file and the index again: they do not belong together' });
    }
    tensors.set(name, ref);
  }
  return tensors;
}

/** A shard is a plain file name or a path below the folder, spelt the same on every system. */
function checkName(shard: string, file: string, name: string): void {
  const parts = shard.split('/');
  const plain = !shard.includes('\\') && !shard.includes('\0') && !shard.includes(':') && parts.every(part => part !== '' && part !== '.' && part !== '..');
  if (plain && shard.endsWith('.safetensors')) return;
  const cause = plain ? `names "${shard}", which is not a .safetensors file` : `names "${shard.slice(0, 200)}", which may lie outside the checkpoint's folder`;
  throw new LabError({ code: 'checkpoint.shard-outside', file, where: `weight_map: "${name}"`, cause, action: 'use only checkpoints whose files all lie in their folder' });
}

/** Symbolic links may not leave the folder, except in the layout of the Hugging Face cache: snapshots/<commit>/x → ../../blobs/<hash>. */
function checkTarget(folder: string, shard: string): void {
  const root = realPath(folder);
  const target = realPath(join(folder, shard));
  const inside = relative(root, target);
  if (inside !== '..' && !inside.startsWith(`..${sep}`) && inside !== target) return;
  const snapshots = dirname(root);
  const isCache = basename(snapshots) === 'snapshots' && dirname(target) === join(dirname(snapshots), 'blobs') && /^[0-9a-f]{40,64}$/.test(basename(target));
  if (isCache) return;
  throw new LabError({ code: 'checkpoint.shard-outside', file: join(folder, shard), cause: `the file is a link to ${target}, outside the checkpoint's folder`, action: 'copy the file into the folder' });
}
