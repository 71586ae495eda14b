import assert from 'node:assert/strict';
import fs from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { mock, test } from 'node:test';
import { askAvailableMemory, availableMemory, readVmStat, totalMemory } from '../../src/machine/memory';

test('what is free is more than nothing and no more than the machine has', async () => {
  for (const bytes of [availableMemory(), await askAvailableMemory()]) {
    assert.ok(bytes > 0 && bytes <= totalMemory(), `${bytes}`);
    if (process.platform === 'linux') assert.ok(bytes <= freemem() * 1.05);
  }
});

test('in a container its limit counts, and files that were read there are free', { skip: process.platform !== 'linux' && 'control groups are of Linux' }, () => {
  const limit = Math.floor(totalmem() / 1000);
  let files = Math.floor(limit / 8);
  const mocks = [
    mock.method(process, 'constrainedMemory', () => limit), mock.method(process, 'availableMemory', () => Math.floor(limit / 4)),
    mock.method(fs, 'readFileSync', (file: string) => { if (!file.endsWith('cgroup/memory.stat')) throw new Error('not there'); return `anon 1\nfile ${limit}\ninactive_file ${files - 9}\nactive_file 9\nshmem ${limit - files}\n`; }),
  ];
  try {
    assert.equal(totalMemory(), limit);
    assert.equal(availableMemory(), Math.floor(limit / 4) + files);
    files = 3 * limit;
    assert.equal(availableMemory(), limit, 'statistics of the whole machine');
  } finally { for (const { mock: own } of mocks) own.restore(); }
  assert.ok(totalMemory() > limit);
});

test('on macOS pages that the system gives back at once count as free', () => {
  const output = 'Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:                               10000.\nPages active:                            200000.\n'
    + 'Pages inactive:                           30000.\nPages speculative:                         2000.\nPages throttled:                              0.\nPages wired down:                         90000.\nPages purgeable:                           500.\n';
  assert.equal(readVmStat(output), 16384 * 42_500);
  assert.equal(readVmStat('vm_stat: not found'), undefined);
});
