/**
 * How many threads compute on the CPU. ONNX Runtime's own number is the cores that it finds by the processor's identification: in some virtual machines it
 * takes several for one, and in a container it takes all of the host's and asks for each by its number, whatever the container may use.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path/posix';
import { LabError } from '../errors';
import { readPseudoFile } from '../pseudoFiles';

type Read = (path: string) => string;

/** What is asked of the system. Tests make machines up. */
export interface Processors {
  platform?: NodeJS.Platform;
  /** The content of a file of the kernel's, empty if it tells nothing. */
  read?: Read;
  /** CPUs that this process may use, where no file tells. */
  parallelism?: number;
}

/**
 * One thread for each core that this process may run on, but no more than its control group has time for. Hardware threads of one core share what
 * computes products, so they count once. Undefined where ONNX Runtime knows better: Windows and macOS tell it their cores.
 */
export function coreThreads({ platform = process.platform, read = readPseudoFile, parallelism = availableParallelism() }: Processors = {}): number | undefined {
  if (platform !== 'linux') return undefined;
  const cores = new Set(allowedCpus(read).map(cpu => siblings(cpu, read))).size || parallelism;
  return Math.max(1, Math.min(cores, Math.ceil(quota(read))));
}

/** `2 threads`. */
export const formatThreads = (threads: number): string => `${threads} ${threads === 1 ? 'thread' : 'threads'}`;

/** Error `device.threads` for more threads than there are CPUs, hardware threads counted, that this process may run on. */
export function checkThreads(threads: number | null | undefined, { read = readPseudoFile, parallelism = availableParallelism() }: Processors = {}): void {
  const most = allowedCpus(read).length || parallelism;
  if (!threads || threads <= most) return;
  throw new LabError({
    code: 'device.threads', where: 'engine.threads', cause: `is ${threads}, and there ${most === 1 ? 'is 1 CPU' : `are ${most} CPUs`} that this process may use`,
    action: 'remove it for one thread for each core, or lower it',
  });
}

/** Numbers of the CPUs that this process may run on: its affinity, cut to its cpuset. Empty if nothing tells. */
const allowedCpus = (read: Read): number[] => cpuList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(read('/proc/self/status'))?.[1] ?? '');

/** `0-2,8` as 0, 1, 2, 8. */
function cpuList(text: string): number[] {
  return text.split(',').filter(part => /^\d+(-\d+)?$/.test(part)).flatMap(part => {
    const [first, last = first] = part.split('-').map(Number);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
  });
}

/** The hardware threads of a CPU's core, the same text for each of them: without knowledge it is alone. Kernels before 5.3 have the second file only. */
function siblings(cpu: number, read: Read): string {
  const folder = `/sys/devices/system/cpu/cpu${cpu}/topology`;
  return read(`${folder}/core_cpus_list`) || read(`${folder}/thread_siblings_list`) || String(cpu);
}

/** CPUs whose time this process may take by its control groups and all those around them; Infinity without a limit. */
function quota(read: Read): number {
  const limits = read('/proc/self/cgroup').split('\n').flatMap(line => {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === '') return around('/sys/fs/cgroup', path).map(folder => share(...pair(read(`${folder}/cpu.max`))));
    if (!controllers.split(',').includes('cpu')) return [];
    return around('/sys/fs/cgroup/cpu', path).map(folder => share(read(`${folder}/cpu.cfs_quota_us`), read(`${folder}/cpu.cfs_period_us`)));
  });
  return Math.min(Infinity, ...limits);
}

/**
 * The folders of a control group and of all around it. In a container the path may be that on the host, of which nothing lies below `mount`: then
 * `mount` itself is the container's group.
 */
function around(mount: string, path: string): string[] {
  const parts = path.split('/').filter(part => part !== '' && part !== '..');
  return Array.from({ length: parts.length + 1 }, (_, length) => join(mount, ...parts.slice(0, length)));
}

const pair = (text: string): [string, string] => text.split(/\s+/) as [string, string];

/** A limit is positive: `max`, -1 and what is not there are none. */
function share(time: string, period: string): number {
  const cpus = Number(time) / Number(period);
  return Number(time) > 0 && cpus > 0 ? cpus : Infinity;
}
