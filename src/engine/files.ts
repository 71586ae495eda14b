/**
 * Every file access of the engine goes through the one small interface below, so that tests can inject faults.
 * Calls are synchronous: they belong to the engine's worker thread, and their order is then the order in which they
 * reach the disk, which the crash safety of `transaction.ts` builds on. Only forcing to disk can be left to threads of the system's
 * pool (`force`), so that the disk's own time costs no training time.
 */
import * as fs from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { promisify } from 'node:util';
import { LabError } from './errors';

/** `modified` in milliseconds since 1970. */
export interface FileInfo { size: number; modified: number; isFile: boolean; isDirectory: boolean; isLink: boolean }

/** What the engine asks of the file system. Errors are Node's own, with a `code` such as `ENOSPC`. */
export interface FileSystem {
  /** `r` reads, `wx` creates and refuses an existing file, `a` appends. */
  open(path: string, flags: 'r' | 'wx' | 'a'): number;
  /** May read fewer bytes than asked; 0 at the end of the file. */
  read(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number;
  /** May write fewer bytes than asked. */
  write(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  truncate(fd: number, size: number): void;
  fsync(fd: number): void;
  /** As `fsync`, beside the work of this thread. The descriptor stays open until it is done. */
  force(fd: number): Promise<void>;
  close(fd: number): void;
  /** Follows symbolic links unless `link` is given. */
  stat(path: string, link?: 'link'): FileInfo;
  list(path: string): string[];
  /** Creates missing parents too. */
  mkdir(path: string): void;
  rename(from: string, to: string): void;
  /** Removes a file or a whole folder; it is no error if there is none. */
  remove(path: string): void;
  realpath(path: string): string;
  /** Bytes that this user may still write on the disk that holds `path`. */
  free(path: string): number;
}

export const nodeFileSystem: FileSystem = {
  open: (path, flags) => fs.openSync(path, flags, 0o666),
  read: (fd, buffer, offset, length, position) => fs.readSync(fd, buffer, offset, length, position),
  write: (fd, buffer, offset, length) => fs.writeSync(fd, buffer, offset, length),
  truncate: (fd, size) => fs.ftruncateSync(fd, size),
  fsync: fd => fs.fsyncSync(fd),
  force: promisify(fs.fsync),
  close: fd => fs.closeSync(fd),
  stat: (path, link) => {
    const info = link ? fs.lstatSync(path) : fs.statSync(path);
    return { size: info.size, modified: info.mtimeMs, isFile: info.isFile(), isDirectory: info.isDirectory(), isLink: info.isSymbolicLink() };
  },
  list: path => fs.readdirSync(path).sort(),
  mkdir: makeFolders,
  rename: (from, to) => fs.renameSync(from, to),
  remove: path => fs.rmSync(path, { recursive: true, force: true }),
  realpath: path => fs.realpathSync.native(path),
  free: path => { const info = fs.statfsSync(path); return info.bavail * info.bsize; },
};

/** As Node does with `recursive`, but for where a folder takes no other one, such as /proc: there Node tries again without end. */
function makeFolders(path: string): void {
  try { fs.mkdirSync(path); } catch (error) {
    const isFolder = (at: string): boolean => fs.statSync(at, { throwIfNoEntry: false })?.isDirectory() ?? false;
    if (errorNumber(error) !== 'ENOENT') {
      if (errorNumber(error) !== 'ENOTDIR' && isFolder(path)) return;
      throw error;
    }
    const parent = dirname(path);
    if (parent === path || isFolder(parent)) throw error;
    makeFolders(parent);
    makeFolders(path);
  }
}

let current = nodeFileSystem;

/** Puts another file system in place, e.g. one that fails on purpose; returns the function that puts the old one back. */
export function useFileSystem(replacement: FileSystem): () => void {
  const previous = current;
  current = replacement;
  return () => { current = previous; };
}

/** Causes and actions by error number. `{what}` is the operation, e.g. "write". */
const CAUSES: Record<string, [code: string, cause: string, action: string]> = {
  ENOSPC: ['disk.full', 'the disk is full', 'free some space and resume; nothing incomplete was left under the final name'],
  EDQUOT: ['disk.full', 'the disk quota is used up', 'free some space and resume; nothing incomplete was left under the final name'],
  EFBIG: ['disk.file-too-big', 'the file is larger than this system allows', 'raise the file size limit (ulimit -f) or choose another disk'],
  EACCES: ['disk.denied', 'permission denied', 'give this user access to it, or choose another folder'],
  EPERM: ['disk.denied', 'the operation is not permitted', 'give this user access to it, or choose another folder'],
  EROFS: ['disk.read-only', 'the disk is mounted read-only', 'choose a folder on a disk that can be written'],
  ENOENT: ['disk.not-found', 'there is no such file or folder', 'check the path'],
  ENOTDIR: ['disk.not-a-folder', 'a part of the path is a file, not a folder', 'check the path'],
  EISDIR: ['disk.not-a-file', 'it is a folder, not a file', 'check the path'],
  EEXIST: ['disk.exists', 'it exists already', 'choose another name or remove it'],
  EMFILE: ['disk.too-many-open', 'too many files are open', 'raise the limit of open files (ulimit -n)'],
  ENFILE: ['disk.too-many-open', 'too many files are open on this machine', 'close other programs and resume'],
  ENAMETOOLONG: ['disk.name-too-long', 'the name is too long for this disk', 'choose a shorter name'],
  ELOOP: ['disk.link-loop', 'symbolic links lead in a circle', 'remove the link'],
  EIO: ['disk.failed', 'the disk reports a read or write error', 'check the disk, or choose another one'],
};

/** The LabError for a failed file operation: names file and operation. A LabError passes through unchanged. */
export function fileError(error: unknown, operation: string, file: string): LabError {
  if (error instanceof LabError) return error;
  const number = errorNumber(error);
  const [code, cause, action] = CAUSES[number ?? ''] ?? ['disk.failed', error instanceof Error ? error.message : String(error), 'check the disk and the path'];
  return new LabError({ code, file, cause: `cannot ${operation}: ${cause}${number ? ` (${number})` : ''}`, action }, { cause: error });
}

/** Node's error number such as `ENOENT` behind an error, also behind a LabError made of it. */
export function errorNumber(error: unknown): string | undefined {
  const source = error instanceof LabError ? error.cause : error;
  return (source as NodeJS.ErrnoException | undefined)?.code;
}

function attempt<T>(operation: string, file: string, run: () => T): T {
  try { return run(); } catch (error) { throw fileError(error, operation, file); }
}

// The system's calls with errors that name file and operation.
export const openFile = (path: string, flags: 'r' | 'wx' | 'a'): number => attempt(flags === 'r' ? 'open' : 'create', path, () => current.open(path, flags));
export const closeFile = (fd: number, path: string): void => attempt('close', path, () => current.close(fd));
export const syncFile = (fd: number, path: string): void => attempt('write to disk', path, () => current.fsync(fd));
/** As `syncFile`, beside the work of this thread. */
export const forceFile = async (fd: number, path: string): Promise<void> => { try { await current.force(fd); } catch (error) { throw fileError(error, 'write to disk', path); } };
export const truncateFile = (fd: number, size: number, path: string): void => attempt('truncate', path, () => current.truncate(fd, size));
export const statFile = (path: string, link?: 'link'): FileInfo => attempt('look up', path, () => current.stat(path, link));
export const listFolder = (path: string): string[] => attempt('list', path, () => current.list(path));
/** Where a file stands in the way, its removal is not what is advised: it may be anything. */
export function makeFolder(path: string): void {
  try { current.mkdir(path); } catch (error) {
    if (errorNumber(error) !== 'EEXIST') throw fileError(error, 'create the folder', path);
    throw new LabError({ code: 'disk.exists', file: path, cause: 'cannot create the folder: there is a file of this name', action: 'choose another name for the folder' }, { cause: error });
  }
}
export const renameFile = (from: string, to: string): void => attempt(`rename to ${to}`, from, () => current.rename(from, to));
export const removeFile = (path: string): void => attempt('remove', path, () => current.remove(path));
export const realPath = (path: string): string => attempt('look up', path, () => current.realpath(path));
export const freeBytes = (path: string): number => attempt('ask for the free space', path, () => current.free(path));

/** What stands at `path`, or undefined if nothing does. Other errors are thrown. */
export function lookUp(path: string, link?: 'link'): FileInfo | undefined {
  try { return statFile(path, link); } catch (error) {
    if (errorNumber(error) === 'ENOENT' || errorNumber(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Some systems refuse reads and writes of 2 GiB and more. */
const CHUNK = 1 << 28;

/** Fills `buffer` from `position` on, over as many reads as it takes. Returns the bytes read: fewer only at the end of the file. */
export function readInto(fd: number, buffer: Uint8Array, position: number, path: string): number {
  let done = 0;
  while (done < buffer.length) {
    const read = attempt('read', path, () => current.read(fd, buffer, done, Math.min(CHUNK, buffer.length - done), position + done));
    if (read === 0) break;
    done += read;
  }
  return done;
}

/** Writes all of `bytes` at the descriptor's place. */
export function writeAll(fd: number, bytes: Uint8Array, path: string): void {
  for (let done = 0; done < bytes.length;) {
    const written = attempt('write', path, () => current.write(fd, bytes, done, Math.min(CHUNK, bytes.length - done)));
    if (written === 0) throw fileError(Object.assign(new Error('nothing was written'), { code: 'EIO' }), 'write', path);
    done += written;
  }
}

/** Whether a path is a folder or lies in it, symbolic links resolved. Neither need exist yet. */
export function liesIn(path: string, folder: string): boolean {
  const between = relative(realTarget(resolve(folder)), realTarget(resolve(path)));
  return between === '' || (between !== '..' && !between.startsWith(`..${sep}`) && !isAbsolute(between));
}

const realTarget = (path: string): string => (lookUp(path) || dirname(path) === path ? realPath(path) : join(realTarget(dirname(path)), basename(path)));

/** Runs `use` with the file open and closes it, also after an error. */
export function withFile<T>(path: string, flags: 'r' | 'wx' | 'a', use: (fd: number) => T): T {
  const fd = openFile(path, flags);
  let result: T;
  try { result = use(fd); } catch (error) {
    try { current.close(fd); } catch { /* the first error is the one to report */ }
    throw error;
  }
  closeFile(fd, path);
  return result;
}

/** Forces a file or folder to disk beside the work of this thread. */
export async function forcePath(path: string, flags: 'r' | 'a'): Promise<void> {
  const fd = openFile(path, flags);
  try { await forceFile(fd, path); } catch (error) {
    try { current.close(fd); } catch { /* the first error is the one to report */ }
    throw error;
  }
  closeFile(fd, path);
}

/** The bytes `[start, start + length)` of a file. Throws `disk.truncated` if the file ends before. */
export function readRange(path: string, start: number, length: number): Uint8Array {
  const buffer = new Uint8Array(length);
  const read = withFile(path, 'r', fd => readInto(fd, buffer, start, path));
  if (read < length) throw truncated(path, start + length, start + read);
  return buffer;
}

export const truncated = (file: string, expected: number, found: number): LabError => new LabError({
  code: 'disk.truncated', file, cause: `the file ends after ${found} bytes, ${expected} are needed`, action: 'it was cut off or changed while it was read: copy or download it again',
});

/**
 * The whole text of a UTF-8 file, without a byte order mark.
 * Errors: `text.too-large` above `limit` bytes, `text.not-utf8`, and those of the disk.
 */
export function readText(path: string, limit: number): string {
  const { size, isFile } = statFile(path);
  if (!isFile) throw new LabError({ code: 'disk.not-a-file', file: path, cause: 'it is not a regular file', action: 'check the path' });
  if (size > limit) throw new LabError({ code: 'text.too-large', file: path, cause: `the file has ${size} bytes; at most ${limit} are read`, action: 'check that it is the file you mean' });
  const bytes = readRange(path, 0, size);
  try { return new TextDecoder('utf-8', { fatal: true }).decode(bytes); } catch (error) {
    throw new LabError({ code: 'text.not-utf8', file: path, cause: 'the file is not UTF-8 text', action: 'save it as UTF-8' }, { cause: error });
  }
}

/** A file that holds one JSON object. Errors: `json.invalid` with the parser's place, and those of `readText`. */
export function readJsonObject(path: string, limit: number): Record<string, unknown> {
  const text = readText(path, limit);
  let value: unknown;
  try { value = JSON.parse(text); } catch (error) {
    throw new LabError({ code: 'json.invalid', file: path, cause: `is not valid JSON: ${(error as Error).message}`, action: 'correct the file or download it again' }, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LabError({ code: 'json.invalid', file: path, cause: 'does not hold a JSON object', action: 'correct the file or download it again' });
  }
  return value as Record<string, unknown>;
}
