/** One run, one folder: a lock file with the owner's process, so that a dead owner's lock can be told from a living one's. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { LabError } from './errors';
import { errorNumber, lookUp, readText, removeFile, renameFile } from './files';
import { isAlive, writeFileToDisk } from './transaction';

export const LOCK_NAME = '.lock';

/** The kernel's own files have no size, and are no part of anything that is saved. */
const readProc = (path: string): string => readFileSync(path, 'latin1');

interface Owner {
  pid: number;
  host: string;
  /** When the lock was taken. */
  time: string;
  /** What tells the owner from a later process with the same number; null where the system does not say. */
  started: string | null;
}

export interface Lock { release(): void }

/** Locks that this process holds: one of its own that is not among them could not be removed at the end of its run. */
const held = new Set<string>();

/** Takes the lock of a folder. Error `run.in-use` if a living process holds it; a dead one's lock is taken over. */
export function lockFolder(folder: string): Lock {
  const path = join(folder, LOCK_NAME);
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), time: new Date().toISOString(), started: startOf(process.pid), token: randomBytes(8).toString('hex') });
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
    const owner = parse(content);
    if (owner && !isDead(owner) && !isLeftover(owner, content)) throw inUse(folder, path, owner);
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

function parse(content: string): Owner | undefined {
  try {
    const owner = JSON.parse(content) as Owner;
    return Number.isSafeInteger(owner.pid) && owner.pid > 0 && typeof owner.host === 'string' ? owner : undefined;
  } catch { return undefined; }
}

/** True for a lock that this process took and could not remove. */
const isLeftover = (owner: Owner, content: string): boolean => owner.host === hostname() && owner.pid === process.pid && !held.has(content);

/** True only if the owner ran on this machine and certainly ended. */
function isDead(owner: Owner): boolean {
  if (owner.host !== hostname()) return false;
  if (!isAlive(owner.pid)) return true;
  const started = startOf(owner.pid);
  return started !== null && typeof owner.started === 'string' && started !== owner.started;
}

/** Boot and start time of a process on Linux, which together never repeat; null elsewhere. A zombie counts as ended. */
function startOf(pid: number): string | null {
  if (process.platform !== 'linux') return null;
  try {
    const stat = readProc(`/proc/${pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'ended' : `${readProc('/proc/sys/kernel/random/boot_id').trim()}:${fields[19]}`;
  } catch { return null; }
}

function inUse(folder: string, path: string, owner: Owner | undefined): LabError {
  const who = owner ? `process ${owner.pid}${owner.host === hostname() ? '' : ` on ${owner.host}`} (since ${owner.time})` : 'another process';
  return new LabError({
    code: 'run.in-use', file: folder, cause: `the folder is in use by ${who}`,
    action: owner && owner.host !== hostname() ? `choose another output_dir, or delete ${path} if that run has ended` : 'wait for that run or stop it, or choose another output_dir',
  });
}
