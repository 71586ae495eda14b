/** What the Linux kernel tells of AMD's and Intel's GPUs: the clients of this process, and amdgpu's cards. No such GPU is needed. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { DrmUsage, readDrmClient } from '../../src/engine/drmUsage';
import { inTemporaryFolder } from '../support/faults';
import { makeUpDrm } from '../support/drmFolders';

const [KiB, MiB, S] = [2 ** 10, 2 ** 20, 1e9];
const skip = process.platform === 'win32' ? 'symbolic links need a privilege there' : false;
const AMD = { driver: 'amdgpu', 'client-id': 7, pdev: '0000:01:00.0' };

test('an AMD card: memory and time of this process, each client once however many descriptors it has, and the card\'s own memory', { skip }, () => inTemporaryFolder(folder => {
  const drm = makeUpDrm(folder);
  drm.card(1, { mem_info_vram_total: 8 * 2 ** 30, mem_info_vram_used: 5 * 2 ** 30, gpu_busy_percent: 100 });
  const tell = (gfx: number, compute: number): void => {
    const client = { ...AMD, 'memory-vram': '100 KiB', 'total-vram': '3 MiB', 'resident-vram': '2 MiB', 'shared-vram': '1 MiB', 'resident-gtt': '64 KiB', 'memory-cpu': 512, 'engine-gfx': `${gfx} ns`, 'engine-compute': `${compute} ns` };
    drm.descriptor(20, 'renderD129', client);
    drm.descriptor(21, 'renderD129', client);
    drm.descriptor(22, 'card1', { ...AMD, 'client-id': 8, 'resident-vram': '1 MiB', 'engine-compute': '0 ns' });
  };
  drm.descriptor(3, '/somewhere/model.safetensors', { ...AMD, 'client-id': 99, 'resident-vram': '999 MiB' });
  const usage = DrmUsage.open(drm.folders)!;
  tell(0, 1 * S);
  const memory_bytes = 3 * MiB + 64 * KiB + 512;
  assert.deepEqual(usage.read(10 * S), { of: 'process', memory_bytes, memory_total_bytes: 8 * 2 ** 30, utilization: null });
  tell(0.1 * S, 1.75 * S);
  assert.deepEqual(usage.read(11 * S), { of: 'process', memory_bytes, memory_total_bytes: 8 * 2 ** 30, utilization: 0.75 });
  // A driver may step back; what it catches up with is not counted twice.
  tell(0.1 * S, 1.5 * S);
  assert.equal(usage.read(12 * S)?.utilization, 0);
  tell(0.1 * S, 2 * S);
  assert.equal(usage.read(13 * S)?.utilization, 0.25);
  assert.equal(usage.taken(null), memory_bytes);
  drm.card(1, { mem_info_vram_total: 2 * MiB });
  assert.deepEqual([usage.read()?.memory_bytes, usage.read()?.memory_total_bytes], [memory_bytes, null], 'more than the card is said to have');
}));

test('an Intel GPU of xe counts cycles, several engines of a kind together; i915 counts nanoseconds and shares the memory of the machine', { skip }, () => inTemporaryFolder(folder => {
  const drm = makeUpDrm(folder);
  drm.card(0);
  const xe = (ccs: number, total: number): void => drm.descriptor(20, 'renderD128', {
    driver: 'xe', 'client-id': 3, pdev: '0000:00:00.0', 'total-system': 0, 'resident-system': 0, 'resident-vram0': '23992 KiB', 'total-vram0': '23992 KiB', 'resident-gtt': '192 KiB',
    'cycles-rcs': 10, 'total-cycles-rcs': total, 'cycles-ccs': ccs, 'total-cycles-ccs': total, 'engine-capacity-ccs': 4,
  });
  const usage = DrmUsage.open(drm.folders)!;
  xe(1000, 50_000);
  usage.read(0);
  xe(41_000, 70_000);
  assert.deepEqual(usage.read(1), { of: 'process', memory_bytes: 24_184 * KiB, memory_total_bytes: null, utilization: 0.5 });
  drm.descriptor(20, 'renderD128', { driver: 'i915', 'client-id': 5, 'resident-system0': '80 MiB', 'resident-stolen-system0': 4096, 'engine-render': '7340012345 ns', 'engine-capacity-video': 2, 'engine-video': '0 ns' });
  assert.deepEqual(usage.read(2), { of: 'process', memory_bytes: 80 * MiB + 4096, memory_total_bytes: null, utilization: null });
}));

test('of several GPUs the one that this process has most memory of is told; an older amdgpu tells of the whole card', { skip }, () => inTemporaryFolder(folder => {
  const drm = makeUpDrm(folder);
  drm.card(0);
  drm.card(1, { mem_info_vram_total: 8e9, mem_info_vram_used: 3e9, gpu_busy_percent: 40 });
  const usage = DrmUsage.open(drm.folders)!;
  assert.equal(usage.read(), undefined, 'none is open');
  drm.descriptor(20, 'renderD129', 'pdev:\t0000:01:00.0\nvram mem:\t1024 kB\n');
  assert.deepEqual(usage.read(), { of: 'card', memory_bytes: 3e9, memory_total_bytes: 8e9, utilization: 0.4 });
  assert.deepEqual([usage.cardMemory(), usage.taken(1e9), usage.taken(null)], [3e9, 2e9, null]);
  drm.descriptor(20, 'renderD129', { ...AMD, 'resident-vram': '1 MiB' });
  drm.descriptor(21, 'renderD128', { driver: 'i915', 'client-id': 1, 'resident-system0': '300 MiB' });
  assert.equal(usage.read()?.memory_bytes, 300 * MiB);
}));

test('graphics in a processor: the limit is its own memory and what it may use of the machine\'s, and a card comes before it', { skip }, () => inTemporaryFolder(folder => {
  const drm = makeUpDrm(folder);
  const apu = { mem_info_vram_total: 512 * MiB, mem_info_vram_used: 400 * MiB, mem_info_gtt_total: 8192 * MiB, mem_info_gtt_used: 1000 * MiB, gpu_busy_percent: 10 };
  drm.card(0, apu);
  const usage = DrmUsage.open(drm.folders)!;
  assert.equal(usage.cardMemory(), 1400 * MiB);
  drm.descriptor(20, 'renderD128', 'pdev:\t0000:00:00.0\n');
  assert.deepEqual(usage.read(), { of: 'card', memory_bytes: 1400 * MiB, memory_total_bytes: 8704 * MiB, utilization: 0.1 });
  drm.descriptor(20, 'renderD128', { ...AMD, 'resident-vram': '300 MiB', 'resident-gtt': '2000 MiB' });
  assert.deepEqual([usage.read()?.memory_bytes, usage.read()?.memory_total_bytes], [2300 * MiB, 8704 * MiB]);
  drm.card(1, { ...apu, mem_info_vram_total: 4096 * MiB, mem_info_vram_used: 3000 * MiB, mem_busy_percent: 5 });
  assert.equal(usage.cardMemory(), 3000 * MiB, 'a card does not count what it has of the machine\'s');
}));

test('what is not as documented is left out, and nothing of it is an error', { skip }, () => inTemporaryFolder(folder => {
  assert.equal(readDrmClient('pos:\t0\nflags:\t02\n'), undefined);
  assert.equal(readDrmClient('drm-driver:\tamdgpu\n'), undefined, 'a client without a number');
  assert.equal(readDrmClient('drm-driver:\tamdgpu\ndrm-client-id:\t-1\n'), undefined);
  const read = (lines: string) => readDrmClient(`drm-driver:\tamdgpu\ndrm-client-id:\t1\n${lines}`)!;
  assert.equal(read('drm-resident-vram:\t12 TiB\ndrm-resident-gtt:\tlots\ndrm-total-vram\t5\ndrm-resident-vram0: -3 KiB\n').memory_bytes, null);
  assert.deepEqual([...read('drm-engine-gfx:\t12 ticks\ndrm-engine-capacity-gfx:\t2\ndrm-cycles-ccs:\t5\ndrm-total-cycles-rcs:\t9\ndrm-engine-dec:\t99999999999999999999 ns\n').engines], []);
  assert.deepEqual([...read('drm-engine-gfx:\t12 ns\ndrm-engine-capacity-gfx:\t0\n').engines], [['gfx', { busy: 12, cycles: null, capacity: 1 }]]);
  const drm = makeUpDrm(folder);
  drm.descriptor(20, 'renderD130', { ...AMD, 'engine-gfx': '5 ns' });
  const usage = DrmUsage.open(drm.folders)!;
  assert.deepEqual([usage.read(), usage.cardMemory(), usage.taken(5)], [undefined, null, null]);
  assert.equal(DrmUsage.open({ ...drm.folders, dev: join(folder, 'nowhere') }), undefined);
}));

test('a reading costs less than two milliseconds', { skip }, () => inTemporaryFolder(folder => {
  const drm = makeUpDrm(folder);
  drm.card(1, { mem_info_vram_total: 8e9, mem_info_vram_used: 3e9 });
  for (let fd = 0; fd < 60; fd++) drm.descriptor(fd, fd < 4 ? 'renderD129' : '/somewhere/else', { ...AMD, 'resident-vram': '1 MiB', 'engine-gfx': '5 ns' });
  const usage = DrmUsage.open(drm.folders)!;
  for (let i = 0; i < 20; i++) usage.read();
  const before = process.cpuUsage();
  for (let i = 0; i < 200; i++) usage.read();
  const { user, system } = process.cpuUsage(before);
  assert.ok((user + system) / 200 < 2000, `${(user + system) / 200} µs`);
}));
