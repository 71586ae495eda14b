/** A file system that fails on purpose, and temporary folders. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { nodeFileSystem, useFileSystem, type FileSystem } from '../../src/engine/files';

/** Runs `use` with a new empty folder, which is removed afterwards. */
export async function inTemporaryFolder<T>(use: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'lora-lab-'));
  try { return await use(folder); } finally { rmSync(folder, { recursive: true, force: true }); }
}

/** Every operation that changes something on the disk. */
const CHANGES = ['open', 'write', 'truncate', 'fsync', 'force', 'close', 'mkdir', 'rename', 'remove'] as const;

/**
 * Runs `use` while the n-th changing operation fails with `code`. With `dies` all later ones fail too, as after a crash
 * of the process. Answers whether the fault was reached.
 */
export async function withFault<T>(n: number, code: string, use: () => T | Promise<T>, dies = false): Promise<{ reached: boolean; error: unknown; result: T | undefined }> {
  let count = 0;
  let reached = false;
  const faulty: FileSystem = { ...nodeFileSystem };
  for (const operation of CHANGES) {
    const real = nodeFileSystem[operation] as (...args: unknown[]) => unknown;
    (faulty as unknown as Record<string, unknown>)[operation] = (...args: unknown[]) => {
      if (operation === 'open' && args[1] === 'r') return real(...args);
      count++;
      if (count === n || dies && count > n) {
        reached = true;
        // A descriptor whose close fails is closed all the same.
        if (operation === 'close') real(...args);
        throw Object.assign(new Error(`${code}: injected`), { code });
      }
      return real(...args);
    };
  }
  const restore = useFileSystem(faulty);
  try { return { result: await use(), error: undefined, reached }; } catch (error) { return { result: undefined, error, reached }; } finally { restore(); }
}

/** Runs `use` on a disk on which nothing can be written while it is full. */
export async function withDisk<T>(use: (disk: { full: boolean }) => Promise<T>): Promise<T> {
  const disk = { full: false };
  const restore = useFileSystem({
    ...nodeFileSystem, free: path => (disk.full ? 4096 : nodeFileSystem.free(path)),
    write: (...args) => { if (disk.full) throw Object.assign(new Error('ENOSPC: injected'), { code: 'ENOSPC' }); return nodeFileSystem.write(...args); },
  });
  try { return await use(disk); } finally { restore(); }
}

/**
 * Runs `use` on a disk that takes its time: while `held`, nothing that is forced to it beside other work arrives, and `waiting` are asked for.
 * With `failure` all that is forced fails with this error number instead.
 */
export async function withSlowDisk<T>(use: (disk: { held: boolean; failure: string | undefined; readonly waiting: number; release(): void }) => Promise<T>): Promise<T> {
  const arrivals: (() => void)[] = [];
  const disk = {
    held: false, failure: undefined as string | undefined,
    get waiting() { return arrivals.length; },
    release() { disk.held = false; for (const arrive of arrivals.splice(0)) arrive(); },
  };
  const restore = useFileSystem({
    ...nodeFileSystem,
    force: async fd => {
      if (disk.held) await new Promise<void>(resolve => arrivals.push(resolve));
      if (disk.failure) throw Object.assign(new Error(`${disk.failure}: injected`), { code: disk.failure });
      await nodeFileSystem.force(fd);
    },
  });
  try { return await use(disk); } finally { disk.release(); restore(); }
}

/** Path and content of every file below a folder: what a test compares to see that nothing changed. */
export function snapshot(folder: string, from = folder): Record<string, string> {
  const files: Record<string, string> = {};
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) Object.assign(files, { [`${relative(from, path)}/`]: '' }, snapshot(path, from));
    else files[relative(from, path)] = readFileSync(path).toString('base64');
  }
  return files;
}
