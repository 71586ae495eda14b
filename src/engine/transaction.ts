/**
 * Saving as a transaction: everything is written under a temporary name beside the target, forced to disk, then renamed.
 * After any error or crash the final name holds the old content, the new content or nothing; never a part of it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { basename, dirname, join, resolve } from 'node:path';
import { isAlive } from '../machine/folderOwner';
import { LabError } from './errors';
import { closeFile, forcePath, listFolder, lookUp, makeFolder, openFile, removeFile, renameFile, statFile, syncFile, withFile, writeAll } from './files';

/** Temporary names: `.tmp-` is being written, `.old-` was replaced and is about to be removed. `#` instead of the first `-` stands before a hash. */
const TEMPORARY = /^\.(tmp|old)([-#].+)-(\d+)-[0-9a-f]{12}$/;

/** A name beside `target` for what is written for it; what a dead process left under such a name, `recover` removes. */
export function temporaryName(kind: 'tmp' | 'old', target: string): string {
  return join(dirname(target), `.${kind}${shortName(target)}-${process.pid}-${randomBytes(6).toString('hex')}`);
}

/** `-` and the final name. Long names are hashed (`#` and the hash), so that the temporary name fits where the final one does. */
function shortName(target: string): string {
  const name = basename(target);
  return Buffer.byteLength(name) <= 200 ? `-${name}` : `#${createHash('sha256').update(name).digest('hex')}`;
}

/** Writes a file with the given content so that it appears whole or not at all. Replaces an existing file. */
export function writeFileAtomic(path: string, content: string | Uint8Array): void {
  const target = resolve(path);
  const temporary = temporaryName('tmp', target);
  try {
    writeFileToDisk(temporary, content);
    renameFile(temporary, target);
  } catch (error) {
    discard(temporary);
    throw underFinalName(error, temporary, target);
  }
  syncFolder(dirname(target));
}

/** Creates a new file inside a transaction, which forces it to disk with all others; an existing file is an error. */
export function writeFile(path: string, content: string | Uint8Array): void {
  withFile(path, 'wx', fd => writeAll(fd, bytesOf(content), path));
}

/** Creates a new file and forces it to disk; an existing file is an error. */
export function writeFileToDisk(path: string, content: string | Uint8Array): void {
  withFile(path, 'wx', fd => {
    writeAll(fd, bytesOf(content), path);
    syncFile(fd, path);
  });
}

const bytesOf = (content: string | Uint8Array): Uint8Array => (typeof content === 'string' ? Buffer.from(content, 'utf8') : content);

/**
 * Lets `write` fill a new folder and puts it in the place of `folder`, replacing what was there, unless `check`, which is called just before, throws.
 * On any error the old folder stays as it was and the temporary one is removed.
 */
export async function transaction<T>(folder: string, write: (temporary: string) => T | Promise<T>, check?: () => void): Promise<T> {
  const { result, durable } = await beginTransaction(folder, write, undefined, check);
  await durable;
  return result;
}

/**
 * The same, but answers as soon as everything is written: `durable` resolves once it is on the disk under its own name, and rejects where
 * `transaction` would. Until then other work can go on, as long as it leaves `folder` alone. What `alongside` begins, such as forcing
 * another file to disk, ends before the folder gets its name.
 */
export async function beginTransaction<T>(folder: string, write: (temporary: string) => T | Promise<T>, alongside: () => Promise<void> = async () => {}, check = (): void => {}): Promise<{ result: T; durable: Promise<void> }> {
  const target = resolve(folder);
  const parent = dirname(target);
  const temporary = temporaryName('tmp', target);
  const undone = (error: unknown): never => {
    discard(temporary);
    throw underFinalName(error, temporary, target);
  };
  try {
    makeFolder(parent);
    recover(parent, { target });
    makeFolder(temporary);
    const result = await write(temporary);
    const durable = forceAll([...treeOf(temporary), alongside]).then(() => { check(); return replace(temporary, target); }).catch(undone);
    // Whoever waits for it learns of an error; nobody need wait yet.
    durable.catch(() => {});
    return { result, durable };
  } catch (error) { return undone(error); }
}

/** A person knows the final name, not the temporary one. */
function underFinalName(error: unknown, temporary: string, target: string): unknown {
  if (!(error instanceof LabError) || !error.report.file?.startsWith(temporary)) return error;
  return new LabError({ ...error.report, file: target + error.report.file.slice(temporary.length) }, { cause: error.cause });
}

async function replace(temporary: string, target: string): Promise<void> {
  const parent = dirname(target);
  if (!lookUp(target, 'link')) {
    renameFile(temporary, target);
    return forceFolder(parent);
  }
  // A folder that is not empty cannot be renamed over: the old one steps aside and comes back if the second rename fails.
  const old = temporaryName('old', target);
  renameFile(target, old);
  try { renameFile(temporary, target); } catch (error) {
    renameFile(old, target);
    throw error;
  }
  await forceFolder(parent);
  discard(old);
}

/**
 * Clears away what writers that died left in `parent`: unfinished folders are removed, and an old folder whose
 * replacement never arrived gets its name back, a hashed one from the next writer of that name. With `target` only what was written
 * for it is looked at; temporaries of living processes stay unless `all` says that no other process can be writing here.
 */
export function recover(parent: string, { target, all = false }: { target?: string; all?: boolean } = {}): void {
  clearAway(parent, target, pid => all || !isAlive(pid));
}

/** Clears away what this process had written for `target` when it was interrupted, once nothing in it writes any more. Errors: `disk.*`. */
export function abandon(target: string): void {
  const parent = dirname(resolve(target));
  if (lookUp(parent)) clearAway(parent, resolve(target), pid => pid === process.pid);
}

function clearAway(parent: string, target: string | undefined, goes: (pid: number) => boolean): void {
  const entries = listFolder(parent);
  const taken = new Set(entries.map(shortName));
  for (const entry of entries) {
    const [, kind, short, pid] = TEMPORARY.exec(entry) ?? [];
    if (!kind || target !== undefined && short !== shortName(target) || !goes(Number(pid))) continue;
    if (kind === 'tmp' || taken.has(short)) { removeFile(join(parent, entry)); continue; }
    const name = short.startsWith('-') ? short.slice(1) : target && basename(target);
    if (name === undefined) continue;
    renameFile(join(parent, entry), join(parent, name));
    taken.add(short);
  }
}

/** Forces a folder's own entries to disk. Where the system cannot do that for folders (Windows), it is left out. */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openFile(folder, 'r');
  try { syncFile(fd, folder); } finally { closeFile(fd, folder); }
}

async function forceFolder(folder: string): Promise<void> {
  if (process.platform !== 'win32') await forcePath(folder, 'r');
}

/** What forces every file and folder below `folder`, and itself, to disk, each once: the disk takes some milliseconds for each, also where there is nothing new. */
function treeOf(folder: string): (() => Promise<void>)[] {
  const below = listFolder(folder).flatMap(entry => {
    const path = join(folder, entry);
    // Windows forces only files that are open for writing.
    return statFile(path, 'link').isDirectory ? treeOf(path) : [() => forcePath(path, 'a')];
  });
  return [...below, () => forceFolder(folder)];
}

/** Files that are forced at a time: the disk takes for many at once what it takes for one, and few are open. */
const AT_A_TIME = 16;

/** Does all of it side by side. After an error nothing more is begun, and what was begun has ended when this rejects. */
async function forceAll(work: (() => Promise<void>)[]): Promise<void> {
  let failed: { error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    for (let next = work.pop(); next && !failed; next = work.pop()) await next().catch((error: unknown) => { failed ??= { error }; });
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, lane));
  if (failed) throw failed.error;
}

/** Removes a temporary after an error; what cannot be removed now is cleared away by the next `recover`. */
function discard(path: string): void {
  try { removeFile(path); } catch { /* the error that led here is the one to report */ }
}
