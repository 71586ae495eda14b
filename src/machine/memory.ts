/** Memory of this machine, or of the container that this process is in, for the editor and the engine alike. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';

/** macOS counts as free only what nothing was ever read into; what it would give back at once is told by a tool of its own. */
const MAC_AGE_MS = 1000;
let mac = { bytes: 0, asked: -Infinity };

/** What a new process can have without others being pushed out. On macOS as it was when this was asked before; for who asks once there is `askAvailableMemory`. */
export function availableMemory(): number {
  if (process.platform === 'darwin') {
    if (performance.now() - mac.asked > MAC_AGE_MS) void askMac();
    // Before the first answer half of the machine is a better guess than pages that nothing was read into.
    return mac.bytes || totalmem() / 2;
  }
  return process.platform === 'linux' ? Math.min(freemem(), containerAvailable()) : freemem();
}

/** The same, as it is now. */
export async function askAvailableMemory(): Promise<number> {
  if (process.platform === 'darwin') await askMac();
  return availableMemory();
}

/** All memory that there is: the machine's, or as much of it as a container may have. */
export const totalMemory = (): number => Math.min(totalmem(), containerLimit() ?? Infinity);

/** Free pages, and those that hold nothing but what a file has or what was not used for long. `output` is that of `vm_stat`. */
export function readVmStat(output: string): number | undefined {
  const page = Number(/page size of (\d+) bytes/.exec(output)?.[1]);
  const pages = ['free', 'inactive', 'speculative', 'purgeable'].map(kind => Number(new RegExp(`^Pages ${kind}:\\s+(\\d+)`, 'm').exec(output)?.[1] ?? 0));
  return Number.isFinite(page) && pages[0] > 0 ? page * pages.reduce((sum, count) => sum + count, 0) : undefined;
}

function askMac(): Promise<void> {
  mac.asked = performance.now();
  return new Promise(resolve => execFile('vm_stat', { timeout: MAC_AGE_MS }, (error, output) => {
    mac.bytes = (error ? undefined : readVmStat(output)) ?? mac.bytes;
    resolve();
  }));
}

/** The limit of a container; undefined without one. */
function containerLimit(): number | undefined {
  const limit = process.constrainedMemory?.() ?? 0;
  return limit && limit < totalmem() ? limit : undefined;
}

/** Statistics of memory in the two versions of control groups, and what their lines begin with. */
const STATISTICS = [['/sys/fs/cgroup/memory.stat', ''], ['/sys/fs/cgroup/memory/memory.stat', 'total_']];

/** A container's limit less what is in use there; the files it has read are no use that lasts, but those that lie in memory alone. Infinite without a limit. */
function containerAvailable(): number {
  const limit = containerLimit();
  if (limit === undefined) return Infinity;
  for (const [file, prefix] of STATISTICS) {
    try {
      const read = [...readFileSync(file, 'utf8').matchAll(new RegExp(`^${prefix}(?:in)?active_file (\\d+)$`, 'gm'))];
      // Without a namespace of its own the file is the whole machine's, and tells more than there can be here.
      if (read.length) return Math.min(limit, read.reduce((sum, [, bytes]) => sum + Number(bytes), process.availableMemory()));
    } catch { /* the other version of control groups */ }
  }
  return Infinity;
}
