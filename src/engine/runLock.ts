/** One run, one folder: a lock file with the owner's process, so that a dead owner's lock can be told from a living one's. */
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { LabError } from './errors';
import { errorNumber, lookUp, readText, removeFile, renameFile } from './files';
import { writeFileToDisk } from './transaction';
import { hasEnded, isOnThisMachine, LOCK_NAME, parseOwner, thisProcess, type Owner } from '../machine/folderOwner';

export { LOCK_NAME };

export interface Lock { release(): void }

/** Locks that this process holds: one of its own that is not among them could not be removed at the end of its run. */
const held = new Set<string>();

/** Takes the lock of a folder. Error `run.in-use` if a living process holds it; a dead one's lock is taken over. */
export function lockFolder(folder: string): Lock {
  const path = join(folder, LOCK_NAME);
  const mine = JSON.stringify({ ...thisProcess(), token: randomBytes(8).toString('hex') });
  for (let tries = 0; tries < 20; tries++) {
    try {
      writeFileToDisk(path, mine);
      held.add(mine);
      return { release: () => release(path, mine) };
    } catch (error) {
      if (errorNumber(error) !== 'EEXIST') { release(path, mine); throw error; }
    }
    const content = read(path);
    if (content === undefined) continue;
    const owner = parseOwner(content);
    if (owner && !hasEnded(owner) && !isLeftover(owner, content)) throw inUse(folder, path, owner);
    // A lock that was only just created may not have its content yet.
    if (!owner && tries < 10) { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10); continue; }
    setAside(path, content);
  }
  throw inUse(folder, path, undefined);
}

function release(path: string, mine: string): void {
  held.delete(mine);
  if (read(path) === mine) removeFile(path);
}

/** Removes a dead owner's lock, unless another process has replaced it with its own in the meantime. */
function setAside(path: string, content: string): void {
  const aside = join(dirname(path), `.tmp-lock-${process.pid}-${randomBytes(6).toString('hex')}`);
  try { renameFile(path, aside); } catch (error) {
    if (errorNumber(error) === 'ENOENT') return;
    throw error;
  }
  if (read(aside) !== content && !lookUp(path)) renameFile(aside, path);
  else removeFile(aside);
}

function read(path: string): string | undefined {
  try { return readText(path, 1 << 16); } catch (error) {
    if (errorNumber(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** True for a lock that this process took and could not remove. */
const isLeftover = (owner: Owner, content: string): boolean => isOnThisMachine(owner) && owner.pid === process.pid && !held.has(content);

function inUse(folder: string, path: string, owner: Owner | undefined): LabError {
  const who = owner ? `process ${owner.pid}${isOnThisMachine(owner) ? '' : ` on ${owner.host}`} (since ${owner.time})` : 'another process';
  return new LabError({
    code: 'run.in-use', file: folder, cause: `the folder is in use by ${who}`,
    action: owner && !isOnThisMachine(owner) ? `choose another output_dir, or delete ${path} if that run has ended` : 'wait for that run or stop it, or choose another output_dir',
  });
}
