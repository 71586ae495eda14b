/**
 * V8 compiles a function when it is first called: for a run some thousands before its first step. What it made of a bundle
 * is kept (`createCachedData` of `vm.Script`), for later processes to begin with.
 */
import { createHash } from 'node:crypto';
import { createRequire, wrap } from 'node:module';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';
import { cacheFolder } from './cacheFolder';
import { makeFolder, readRange, readText, statFile } from './files';
import { writeFileAtomic } from './transaction';

/** More is no code of ours. */
const LARGEST = 1 << 26;
const HASH_BYTES = 32;
/** What Node writes before the first line of a module. */
const [HEAD] = wrap('\n').split('\n');

export interface Loaded<T> {
  exports: T;
  /** Keeps what has been compiled by now, unless code that was kept before is in use. Fails silently: without it a start takes longer, no more. */
  keep(): void;
}

/** Loads a CommonJS bundle as `require` does, with the code that `keep` of an earlier process left for it. Errors: those of the bundle. */
export function loadCached<T>(file: string, kept = join(cacheFolder(), 'code', `${process.versions.v8}-${process.arch}.bin`)): Loaded<T> {
  const source = readText(file, LARGEST);
  const cachedData = readKept(kept, source);
  const script = new Script(wrap(source), { filename: file, columnOffset: -HEAD.length, cachedData });
  const module = { exports: {} as T };
  const run = script.runInThisContext() as (exports: T, require: NodeJS.Require, module: { exports: T }, filename: string, dirname: string) => void;
  run.call(module.exports, module.exports, createRequire(file), module, file, dirname(file));
  return {
    exports: module.exports,
    keep() {
      if (cachedData && !script.cachedDataRejected) return;
      try {
        const code = script.createCachedData();
        makeFolder(dirname(kept));
        writeFileAtomic(kept, Buffer.concat([hashOf(source, code), code]));
      } catch { /* kept by the next process that can */ }
    },
  };
}

/** V8 itself compares versions and flags, but of a source only the length, and not whether the code is as it was written. */
function readKept(kept: string, source: string): Buffer | undefined {
  try {
    const bytes = Buffer.from(readRange(kept, 0, Math.min(LARGEST, statFile(kept).size)).buffer);
    const code = bytes.subarray(HASH_BYTES);
    return hashOf(source, code).equals(bytes.subarray(0, HASH_BYTES)) ? code : undefined;
  } catch { return undefined; }
}

const hashOf = (source: string, code: Uint8Array): Buffer => createHash('sha256').update(source).update(code).digest();
