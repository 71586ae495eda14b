import assert from 'node:assert/strict';
import { freemem, totalmem } from 'node:os';
import { test } from 'node:test';
import { availableMemory, readVmStat } from '../../src/extension/availableMemory';

test('what is free is more than nothing and no more than the machine has', () => {
  const bytes = availableMemory();
  assert.ok(bytes > 0 && bytes <= totalmem(), `${bytes}`);
  if (process.platform === 'linux') assert.ok(bytes <= freemem() * 1.05);
});

test('on macOS pages that the system gives back at once count as free', () => {
  const output = 'Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:                               10000.\nPages active:                            200000.\n'
    + 'Pages inactive:                           30000.\nPages speculative:                         2000.\nPages throttled:                              0.\nPages wired down:                         90000.\nPages purgeable:                           500.\n';
  assert.equal(readVmStat(output), 16384 * 42_500);
  assert.equal(readVmStat('vm_stat: not found'), undefined);
});
