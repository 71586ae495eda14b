/** Which process writes in a run folder: what its lock file says, and whether that process still lives. For the editor and the engine alike. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

export const LOCK_NAME = '.lock';

export interface Owner {
  pid: number;
  host: string;
  /** When the lock was taken. */
  time: string;
  /** What tells the owner from a later process with the same number; null where the system does not say. */
  started: string | null;
}

/** This process as an owner. */
export const thisProcess = (): Owner => ({ pid: process.pid, host: hostname(), time: new Date().toISOString(), started: startOf(process.pid) });

/** The owner that the content of a lock file names; undefined if it names none. */
export function parseOwner(content: string): Owner | undefined {
  try {
    const owner = JSON.parse(content) as Owner;
    return Number.isSafeInteger(owner.pid) && owner.pid > 0 && typeof owner.host === 'string' ? owner : undefined;
  } catch { return undefined; }
}

export const isOnThisMachine = ({ host }: Owner): boolean => host === hostname();

/** True only if the owner ran on this machine and certainly ended. */
export function hasEnded(owner: Owner): boolean {
  if (!isOnThisMachine(owner)) return false;
  if (!isAlive(owner.pid)) return true;
  const started = startOf(owner.pid);
  return started !== null && typeof owner.started === 'string' && started !== owner.started;
}

/** Whether there is a process of this number, of whatever person. */
export function isAlive(pid: number): boolean {
  try { return process.kill(pid, 0); } catch (error) { return (error as NodeJS.ErrnoException).code === 'EPERM'; }
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

/** The kernel's own files have no size, and are no part of anything that is saved. */
const readProc = (path: string): string => readFileSync(path, 'latin1');
