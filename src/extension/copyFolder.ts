/** Copies a folder so that it appears whole or not at all. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { ReportedError } from './reports';

/**
 * Copies the files of `from` (one level of sub-folders and all below), but for the names in `leaveOut`, to the new folder `to`.
 * Writes under a temporary name beside `to`, forces every file to disk, then renames. An empty folder `to` is replaced.
 * Throws a ReportedError if `to` holds anything, lies inside `from`, or cannot be written; nothing is left behind then.
 */
export async function copyFolderAtomic(from: string, to: string, leaveOut: readonly string[] = []): Promise<void> {
  const [source, target] = [path.resolve(from), path.resolve(to)];
  if (target === source || target.startsWith(source + path.sep)) {
    throw new ReportedError({ code: 'save.inside-source', file: target, cause: 'the target is the adapter folder itself or lies inside of it', action: 'choose another folder' });
  }
  const existing = await fs.readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw saveError(target, error);
  });
  if (existing?.length) throw new ReportedError({ code: 'save.not-empty', file: target, cause: 'the folder is not empty', action: 'choose a new or an empty folder' });
  const temporary = path.join(path.dirname(target), `.tmp-${path.basename(target)}-${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    await fs.mkdir(path.dirname(target), { recursive: true });
    await fs.cp(source, temporary, { recursive: true, errorOnExist: true, force: false, dereference: true, filter: file => !leaveOut.includes(path.basename(file)) });
    await syncTree(temporary);
    if (existing) await fs.rmdir(target);
    await fs.rename(temporary, target);
    await syncFolder(path.dirname(target));
  } catch (error) {
    await fs.rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw saveError(target, error as NodeJS.ErrnoException);
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    const child = path.join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(child);
    else {
      // The copy of a read-only file is the person's own. Windows forces no file to disk that it may not write.
      await fs.chmod(child, (await fs.stat(child)).mode | 0o200);
      const file = await fs.open(child, 'r+');
      await file.sync().finally(() => file.close());
    }
  }
  await syncFolder(folder);
}

/** Windows has no fsync for folders; there the rename alone must do. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await fs.open(folder, 'r');
  await handle.sync().catch(() => undefined).finally(() => handle.close());
}

function saveError(file: string, error: NodeJS.ErrnoException): ReportedError {
  const action = error.code === 'ENOSPC' ? 'free some disk space, or choose a folder on another disk'
    : error.code === 'EACCES' || error.code === 'EPERM' || error.code === 'EROFS' ? 'choose a folder that may be written' : 'choose another folder';
  return new ReportedError({ code: `save.${(error.code ?? 'failed').toLowerCase()}`, file, cause: error.message, action }, { cause: error });
}
