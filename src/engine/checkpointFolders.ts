/** Checkpoints of a run: `checkpoint-<step>/` with a manifest of sizes and hashes, written as a transaction and read only after it was verified. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { LabError } from './errors';
import { closeFile, listFolder, lookUp, openFile, readInto, readJsonObject, statFile } from './files';
import { beginTransaction, writeFile } from './transaction';

export const MANIFEST_NAME = 'manifest.json';
const FORMAT_VERSION = 1;

interface Manifest {
  format_version: number;
  step: number;
  files: Record<string, { size: number; sha256: string }>;
}

export interface FoundCheckpoint {
  folder: string;
  step: number;
  /** Newer checkpoints that were passed over, and why. */
  warnings: string[];
}

/** A checkpoint whose files are written: `durable` resolves once it is on the disk under its own name, and rejects if that fails. */
export interface Written { folder: string; durable: Promise<void> }

/**
 * Lets `write` fill `checkpoint-<step>`; the manifest comes last, and everything is read back before the folder gets its name.
 * `alongside` is forced to disk with it.
 */
export async function writeCheckpointFolder(parent: string, step: number, write: (folder: string) => void | Promise<void>, alongside?: () => Promise<void>): Promise<Written> {
  const folder = join(parent, `checkpoint-${step}`);
  const { durable } = await beginTransaction(folder, async temporary => {
    await write(temporary);
    const files: Manifest['files'] = {};
    for (const name of filesBelow(temporary)) {
      const path = join(temporary, name);
      const { size } = statFile(path);
      files[name] = { size, sha256: hashFile(path, size) };
    }
    const manifest: Manifest = { format_version: FORMAT_VERSION, step, files };
    writeFile(join(temporary, MANIFEST_NAME), `${JSON.stringify(manifest, null, 2)}\n`);
    verifyCheckpoint(temporary, step);
  }, alongside);
  return { folder, durable };
}

/** Checks every file against the manifest. Error `checkpoint.damaged`. */
export function verifyCheckpoint(folder: string, step: number): void {
  const damaged = (cause: string, name = MANIFEST_NAME): LabError => new LabError({ code: 'checkpoint.damaged', file: join(folder, name), cause, action: 'resume from an earlier checkpoint' });
  if (!lookUp(join(folder, MANIFEST_NAME))) throw damaged('the file is missing: the checkpoint was not finished');
  const manifest = readJsonObject(join(folder, MANIFEST_NAME), 16 << 20) as unknown as Manifest;
  if (manifest.format_version !== FORMAT_VERSION) throw damaged(`the format version is ${JSON.stringify(manifest.format_version)}, this program reads ${FORMAT_VERSION}`);
  if (manifest.step !== step) throw damaged(`it belongs to step ${JSON.stringify(manifest.step)}`);
  if (typeof manifest.files !== 'object' || manifest.files === null) throw damaged('it lists no files');
  const present = filesBelow(folder);
  for (const [name, { size, sha256 }] of Object.entries(manifest.files)) {
    if (!present.includes(name)) throw damaged('the file is missing', name);
    const found = statFile(join(folder, name)).size;
    if (found !== size) throw damaged(`the file has ${found} bytes instead of ${size}`, name);
    if (hashFile(join(folder, name), size) !== sha256) throw damaged('the content has changed since it was written', name);
  }
}

/** The newest checkpoint that verifies, or null if there is none. */
export function findCheckpoint(parent: string): (FoundCheckpoint | { folder: null; step: 0; warnings: string[] }) {
  const warnings: string[] = [];
  for (const step of checkpointSteps(parent).reverse()) {
    const folder = join(parent, `checkpoint-${step}`);
    try { verifyCheckpoint(folder, step); return { folder, step, warnings }; } catch (error) {
      if (!(error instanceof LabError)) throw error;
      warnings.push(`checkpoint-${step} is passed over: ${error.report.file}: ${error.report.cause}`);
    }
  }
  return { folder: null, step: 0, warnings };
}

/** Steps that have a checkpoint folder, in rising order. */
const checkpointSteps = (parent: string): number[] =>
  listFolder(parent).map(name => /^checkpoint-(\d+)$/.exec(name)?.[1]).filter(step => step !== undefined).map(Number).sort((a, b) => a - b);

/** Names of all files below a folder, with `/` between the parts, except the manifest itself. */
function filesBelow(folder: string, prefix = ''): string[] {
  return listFolder(join(folder, prefix)).flatMap(name => {
    const path = prefix + name;
    if (path === MANIFEST_NAME) return [];
    return statFile(join(folder, path), 'link').isDirectory ? filesBelow(folder, `${path}/`) : [path];
  });
}

/** SHA-256 of a file that should have `size` bytes: most are small, and clearing a large buffer takes longer than to read them. */
function hashFile(path: string, size: number): string {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(Math.min(1 << 20, size + 1));
  const fd = openFile(path, 'r');
  try {
    for (let position = 0, read = buffer.length; read === buffer.length; position += read) {
      read = readInto(fd, buffer, position, path);
      hash.update(buffer.subarray(0, read));
    }
  } finally { closeFile(fd, path); }
  return hash.digest('hex');
}
