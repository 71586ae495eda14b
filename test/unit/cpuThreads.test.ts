/** How many threads compute, on machines made up of the kernel's files. */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { checkThreads, coreThreads } from '../../src/engine/executors/cpuThreads';

type Files = Record<string, string>;
const status = (allowed: string): Files => ({ '/proc/self/status': `Name:\tnode\nCpus_allowed:\tff\nCpus_allowed_list:\t${allowed}\nMems_allowed_list:\t0` });
/** CPUs that share a core, by the numbers of each: `[[0, 4], [1, 5]]`. */
const topology = (cores: number[][], file = 'core_cpus_list'): Files =>
  Object.fromEntries(cores.flatMap(core => core.map(cpu => [`/sys/devices/system/cpu/cpu${cpu}/topology/${file}`, core.join(',')])));
const alone = (count: number): number[][] => Array.from({ length: count }, (_, cpu) => [cpu]);
const machine = (...files: Files[]) => ({ platform: 'linux' as const, read: (path: string) => (Object.assign({}, ...files) as Files)[path] ?? '', parallelism: 6 });
const threads = (...files: Files[]): number | undefined => coreThreads(machine(...files));

const PAIRS = [[0, 4], [1, 5], [2, 6], [3, 7]];

test('hardware threads of one core count once, also as older kernels tell them', () => {
  assert.equal(threads(status('0-7'), topology(PAIRS)), 4);
  assert.equal(threads(status('0-7'), topology(PAIRS, 'thread_siblings_list')), 4);
  assert.equal(threads(status('0-11'), topology([[0, 1], [2, 3], ...[4, 5, 6, 7, 8, 9, 10, 11].map(cpu => [cpu])])), 10, 'cores with and without');
});

test('a virtual machine with two CPUs of one core each has two, whatever its processor says of itself', () => {
  assert.equal(threads(status('0-1'), topology(alone(2)), { '/proc/self/cgroup': '1:cpu:/\n0::/', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000' }), 2);
});

test('only CPUs that the process may run on count', () => {
  assert.equal(threads(status('3'), topology(PAIRS)), 1);
  assert.equal(threads(status('0,4'), topology(PAIRS)), 1);
  assert.equal(threads(status('0-2,6'), topology(PAIRS)), 3);
});

test('where the cores are not told every CPU is one, and where no CPUs are told the system is asked', () => {
  assert.equal(threads(status('0-7')), 8);
  assert.equal(threads(topology(PAIRS)), 6);
  assert.equal(threads(), 6);
  assert.equal(threads({ '/proc/self/status': 'Cpus_allowed_list:\t(none)' }), 6);
});

test('a control group with a limit gets no more than that, rounded up', () => {
  const host = [status('0-63'), topology(alone(64))];
  const second = (path: string, max: Files): number | undefined => threads(...host, { '/proc/self/cgroup': `0::${path}` }, max);
  assert.equal(second('/', { '/sys/fs/cgroup/cpu.max': '150000 100000' }), 2);
  assert.equal(second('/', { '/sys/fs/cgroup/cpu.max': '20000 100000' }), 1);
  assert.equal(second('/', { '/sys/fs/cgroup/cpu.max': 'max 100000' }), 64);
  assert.equal(second('/user.slice/run.scope', { '/sys/fs/cgroup/user.slice/cpu.max': '400000 100000', '/sys/fs/cgroup/user.slice/run.scope/cpu.max': 'max 100000' }), 4, 'that of a group around it');
  assert.equal(second('/user.slice/run.scope', { '/sys/fs/cgroup/user.slice/cpu.max': '400000 100000', '/sys/fs/cgroup/user.slice/run.scope/cpu.max': '300000 100000' }), 3);
  assert.equal(second('/../other', { '/sys/fs/cgroup/cpu.max': '200000 100000' }), 2);
  assert.equal(threads(status('0-1'), topology(alone(2)), { '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': '6400000 100000' }), 2, 'a limit above what there is');
});

test('so does one of the first version, also where its path is the host\'s', () => {
  const limited = (cgroup: string, folder: string): number | undefined => threads(status('0-63'), topology(alone(64)), { '/proc/self/cgroup': cgroup, [`${folder}/cpu.cfs_quota_us`]: '250000', [`${folder}/cpu.cfs_period_us`]: '100000' });
  assert.equal(limited('5:memory:/docker/f00\n4:cpu,cpuacct:/docker/f00\n1:name=systemd:/docker/f00', '/sys/fs/cgroup/cpu'), 3);
  assert.equal(limited('4:cpuacct,cpu:/jobs/7', '/sys/fs/cgroup/cpu/jobs/7'), 3);
  assert.equal(limited('3:cpuset:/jobs/7', '/sys/fs/cgroup/cpu/jobs/7'), 64, 'a group of another controller');
});

test('Windows and macOS tell ONNX Runtime their cores', () => {
  for (const platform of ['win32', 'darwin'] as const) assert.equal(coreThreads({ ...machine(status('0-7'), topology(PAIRS)), platform }), undefined);
});

test('on this machine there is at least one, and no more than there are CPUs', () => {
  const here = coreThreads();
  if (process.platform !== 'linux') assert.equal(here, undefined);
  else assert.ok(Number.isInteger(here) && here! >= 1 && here! <= availableParallelism(), String(here));
});

test('more threads than CPUs are refused, with the number that there are; one for each hardware thread is not', () => {
  const host = machine(status('0-7'), topology(PAIRS));
  for (const fine of [undefined, null, 1, 4, 8]) checkThreads(fine, host);
  const refused = (count: number, of = host): string => { try { checkThreads(count, of); } catch (error) { assert.ok(error instanceof LabError); return `${error.report.where} ${error.report.cause}`; } return assert.fail(String(count)); };
  assert.equal(refused(9), 'engine.threads is 9, and there are 8 CPUs that this process may use');
  assert.equal(refused(2, machine(status('5'))), 'engine.threads is 2, and there is 1 CPU that this process may use');
  assert.match(refused(7, machine()), /there are 6 CPUs/);
});
