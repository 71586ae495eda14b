/** Unpacking: whatever ends it early, no file stays open. (What an archive may hold, and where it may write, is in test/engine/install.test.ts.) */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { unpackTar } from '../../src/engine/executors/install/archive';
import { tarGz } from '../support/archives';
import { inTemporaryFolder } from '../support/faults';

const openFiles = (): number => readdirSync('/proc/self/fd').length;

test('an archive that is cut off, or whose unpacking is cancelled, leaves no file open', { skip: process.platform !== 'linux' }, () => inTemporaryFolder(async folder => {
  const file = join(folder, 'archive.tar');
  const whole = gunzipSync(tarGz([{ path: 'package/large', content: 'x'.repeat(5 << 20) }]));
  const unpack = async (content: Uint8Array, progress: () => void, signal: AbortSignal, words: RegExp): Promise<void> => {
    writeFileSync(file, content);
    const before = openFiles();
    await assert.rejects(unpackTar(file, join(folder, String(Math.random())), { strip: 1, signal, progress }), words);
    assert.equal(openFiles(), before);
  };
  await unpack(whole.subarray(0, 3 << 20), () => {}, new AbortController().signal, /cannot be read/);
  const cancel = new AbortController();
  await unpack(whole, () => cancel.abort(), cancel.signal, /cancelled/);
}));
