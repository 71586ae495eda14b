/**
 * Saving as a transaction: everything is written under a temporary name beside the target, forced to disk, then renamed.
 * After any error or crash the final name holds the old content, the new content or nothing; never a part of it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { basename, dirname, join, resolve } from 'node:path';
import { LabError } from './errors';
import { closeFile, errorNumber, listFolder, lookUp, makeFolder, openFile, removeFile, renameFile, statFile, syncFile, withFile, writeAll } from './files';

/** Temporary names: `.tmp-` is being written, `.old-` was replaced and is about to be removed. */
const TEMPORARY = /^\.(tmp|old)-(.+)-(\d+)-[0-9a-f]{12}$/;

/** A name beside `target` for what is written for it; what a dead process left under such a name, `recover` removes. */
export function temporaryName(kind: 'tmp' | 'old', target: string): string {
  return join(dirname(target), `.${kind}-${shortName(target)}-${process.pid}-${randomBytes(6).toString('hex')}`);
}

/** Long names are hashed, so that the temporary name fits where the final one does. */
function shortName(target: string): string {
  const name = basename(target);
  return Buffer.byteLength(name) <= 200 ? name : createHash('sha256').update(name).digest('hex');
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
 * Lets `write` fill a new folder and puts it in the place of `folder`, replacing what was there.
 * On any error the old folder stays as it was and the temporary one is removed.
 */
export async function transaction<T>(folder: string, write: (temporary: string) => T | Promise<T>): Promise<T> {
  const target = resolve(folder);
  const parent = dirname(target);
  makeFolder(parent);
  recover(parent, name => name === shortName(target));
  const temporary = temporaryName('tmp', target);
  try {
    makeFolder(temporary);
    const result = await write(temporary);
    syncTree(temporary);
    replace(temporary, target);
    return result;
  } catch (error) {
    discard(temporary);
    throw underFinalName(error, temporary, target);
  }
}

/** A person knows the final name, not the temporary one. */
function underFinalName(error: unknown, temporary: string, target: string): unknown {
  if (!(error instanceof LabError) || !error.report.file?.startsWith(temporary)) return error;
  return new LabError({ ...error.report, file: target + error.report.file.slice(temporary.length) }, { cause: error.cause });
}

function replace(temporary: string, target: string): void {
  if (!lookUp(target, 'link')) {
    renameFile(temporary, target);
    syncFolder(dirname(target));
    return;
  }
  // A folder that is not empty cannot be renamed over: the old one steps aside and comes back if the second rename fails.
  const old = temporaryName('old', target);
  renameFile(target, old);
  try { renameFile(temporary, target); } catch (error) {
    renameFile(old, target);
    throw error;
  }
  syncFolder(dirname(target));
  discard(old);
}

/**
 * Clears away what writers that died left in `parent`: unfinished folders are removed, and an old folder whose
 * replacement never arrived gets its name back. `concerns` chooses by final name; temporaries of living processes stay
 * unless `all` says that no other process can be writing here.
 */
export function recover(parent: string, concerns: (name: string) => boolean = () => true, all = false): void {
  clearAway(parent, (name, pid) => concerns(name) && (all || !isAlive(pid)));
}

/** Clears away what this process had written for `target` when it was interrupted, once nothing in it writes any more. */
export function abandon(target: string): void {
  const parent = dirname(resolve(target));
  if (lookUp(parent)) clearAway(parent, (name, pid) => name === shortName(target) && pid === process.pid);
}

function clearAway(parent: string, goes: (name: string, pid: number) => boolean): void {
  for (const entry of listFolder(parent)) {
    const [, kind, name, pid] = TEMPORARY.exec(entry) ?? [];
    if (!kind || !goes(name, Number(pid))) continue;
    if (kind === 'old' && !lookUp(join(parent, name), 'link')) renameFile(join(parent, entry), join(parent, name));
    else removeFile(join(parent, entry));
  }
}

/** Whether a process with this number runs on this machine. */
export function isAlive(pid: number): boolean {
  try { process.kill(pid, 0); return true; } catch (error) { return errorNumber(error) === 'EPERM'; }
}

/** Forces a folder's own entries to disk. Where the system cannot do that for folders (Windows), it is left out. */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openFile(folder, 'r');
  try { syncFile(fd, folder); } finally { closeFile(fd, folder); }
}

/** Forces every file and folder below `folder` to disk, each once: the disk takes some milliseconds for each, also where there is nothing new. */
function syncTree(folder: string): void {
  for (const entry of listFolder(folder)) {
    const path = join(folder, entry);
    if (statFile(path, 'link').isDirectory) syncTree(path);
    else withFile(path, 'a', fd => syncFile(fd, path)); // Windows syncs only files that are open for writing
  }
  syncFolder(folder);
}

/** Removes a temporary after an error; what cannot be removed now is cleared away by the next `recover`. */
function discard(path: string): void {
  try { removeFile(path); } catch { /* the error that led here is the one to report */ }
}
