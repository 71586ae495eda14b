/** Memory that a new process on this machine can have without others being pushed out. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';

/** macOS counts as free only what nothing was ever read into; what it would give back at once is told by a tool of its own. */
const MAC_AGE_MS = 1000;
let mac = { bytes: 0, asked: -Infinity };

export function availableMemory(): number {
  if (process.platform === 'darwin') return macAvailable();
  return process.platform === 'linux' ? Math.min(freemem(), containerAvailable()) : freemem();
}

/** Free pages, and those that hold nothing but what a file has or what was not used for long. `output` is that of `vm_stat`. */
export function readVmStat(output: string): number | undefined {
  const page = Number(/page size of (\d+) bytes/.exec(output)?.[1]);
  const pages = ['free', 'inactive', 'speculative', 'purgeable'].map(kind => Number(new RegExp(`^Pages ${kind}:\\s+(\\d+)`, 'm').exec(output)?.[1] ?? 0));
  return Number.isFinite(page) && pages[0] > 0 ? page * pages.reduce((sum, count) => sum + count, 0) : undefined;
}

function macAvailable(): number {
  if (performance.now() - mac.asked > MAC_AGE_MS) {
    mac.asked = performance.now();
    execFile('vm_stat', { timeout: MAC_AGE_MS }, (error, output) => { mac.bytes = (error ? undefined : readVmStat(output)) ?? mac.bytes; });
  }
  // Before the first answer half of the machine is a better guess than pages that nothing was read into.
  return mac.bytes || totalmem() / 2;
}

/** A container's limit less what is in use there; the files it has read are no use that lasts. Infinite without a limit. */
function containerAvailable(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  if (!limit || limit >= totalmem()) return Infinity;
  for (const [file, key] of [['/sys/fs/cgroup/memory.stat', 'file'], ['/sys/fs/cgroup/memory/memory.stat', 'total_cache']]) {
    try {
      const cached = new RegExp(`^${key} (\\d+)$`, 'm').exec(readFileSync(file, 'utf8'));
      if (cached) return process.availableMemory() + Number(cached[1]);
    } catch { /* the other version of control groups */ }
  }
  return Infinity;
}
