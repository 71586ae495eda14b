import assert from 'node:assert/strict';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { nodeFileSystem, useFileSystem } from '../../src/engine/files';
import { readHeader, readTensor, type TensorRef } from '../../src/engine/model/safetensors';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { random } from '../../src/engine/random';
import { inTemporaryFolder } from '../support/faults';

/** A file with the given header text and so many bytes of data. */
function file(folder: string, header: string | Buffer, data: number, length?: bigint): string {
  const path = join(folder, 'x.safetensors');
  const text = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  writeFileSync(path, Buffer.concat([prefix, text, Buffer.alloc(data)]));
  return path;
}

const entry = (dtype: string, shape: string, offsets: string): string => `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
const one = (value: string): string => `{"w":${value}}`;

function refused(path: string): LabError['report'] {
  try { readHeader(path); } catch (error) {
    assert.ok(error instanceof LabError, String(error));
    assert.equal(error.report.file, path);
    assert.ok(error.report.action.length > 5);
    return error.report;
  }
  throw new assert.AssertionError({ message: `accepted: ${readFileSync(path).subarray(8, 200).toString()}` });
}

test('a header is refused wherever two readers could see different tensors', async () => {
  const cases: [header: string | Buffer, data: number, says: RegExp][] = [
    [one(entry('F32', '[2]', '[0,8]')) + 'x', 8, /follows/],
    [`{"w":${entry('F32', '[2]', '[0,8]')},"w":${entry('F32', '[2]', '[0,8]')}}`, 8, /twice/],
    ['{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8, /twice/],
    ['{"__metadata__":{"a":"1","a":"2"}}', 0, /twice/],
    ['{"__metadata__":{},"__metadata__":{}}', 0, /twice/],
    ['{"__metadata__":{"a":1}}', 0, /not a text/],
    [one(entry('F32', '[2.0]', '[0,8]')), 8, /plain whole/],
    [one(entry('F32', '[1e1]', '[0,40]')), 40, /plain whole/],
    [one(entry('F32', '[-2]', '[0,8]')), 8, /plain whole/],
    [one(entry('F32', '[02]', '[0,8]')), 8, /leading zeros/],
    [one(entry('F32', '["2"]', '[0,8]')), 8, /plain whole/],
    [one(entry('F32', '[9007199254740993]', '[0,8]')), 8, /2\^53/],
    [one(entry('F32', '[4294967296,4294967296,4294967296]', '[0,8]')), 8, /needs/],
    [one(entry('F32', '[1,1,1,1,1,1,1,1,2]', '[0,8]')), 8, /more than 8/],
    [one(entry('F32', '2', '[0,8]')), 8, /not a list/],
    [one(entry('F32', '[3]', '[0,8]')), 8, /needs 12 bytes/],
    [one(entry('F32', '[2]', '[8,0]')), 8, /rising/],
    [one(entry('F32', '[2]', '[0,8,9]')), 8, /more than 2/],
    [one(entry('F32', '[2]', '[0]')), 8, /two numbers/],
    [one(entry('F32', '[2]', '[4,12]')), 12, /unused/],
    [`{"a":${entry('U8', '[4]', '[0,4]')},"b":${entry('U8', '[4]', '[2,6]')}}`, 6, /overlap/],
    [`{"a":${entry('U8', '[4]', '[0,4]')},"b":${entry('U8', '[4]', '[5,9]')}}`, 9, /unused/],
    [one(entry('F32', '[2]', '[0,8]')), 9, /follow after/],
    [one(entry('F4', '[2]', '[0,1]')), 1, /"F4"/],
    [one(entry('constructor', '[2]', '[0,8]')), 8, /"constructor"/],
    ['{"w":{"dtype":"F32","shape":[2]}}', 8, /needed/],
    ['{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}', 8, /unknown key "x"/],
    ['[1,2]', 0, /"\{" expected/],
    ['{"w":', 0, /"\{" expected/],
    ['{"w', 0, /ends inside/],
    ['{"a\nb":{}}', 0, /control/],
    ['{"\\ud800":{}}', 0, /half a character/],
    ['{"\\x":{}}', 0, /escape/],
    [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), 0, /UTF-8/],
    [`\ufeff${one(entry('F32', '[2]', '[0,8]'))}`, 8, /expected/],
    [`{"${'n'.repeat(1025)}":${entry('F32', '[2]', '[0,8]')}}`, 8, /longer than/],
  ];
  await inTemporaryFolder(folder => {
    for (const [header, data, says] of cases) assert.match(`${refused(file(folder, header, data)).cause}`, says, String(header).slice(0, 100));
  });
});

test('unusual but legal headers are read', async () => {
  await inTemporaryFolder(folder => {
    const padded = readHeader(file(folder, ` \n{ "w" : ${entry('F32', ' [ 2 , 1 ] ', '[0 , 8]')} }   `, 8));
    assert.deepEqual(padded.tensors.get('w')?.shape, [2, 1]);
    const names = readHeader(file(folder, `{"__proto__":${entry('U8', '[1]', '[0,1]')},"\\u00fc\\"":${entry('U8', '[]', '[1,2]')},"none":${entry('F32', '[0,3]', '[2,2]')}}`, 2));
    assert.deepEqual([...names.tensors.keys()], ['__proto__', 'ü"', 'none']);
    assert.equal(names.tensors.get('ü"')!.offset, names.tensors.get('__proto__')!.offset + 1);
    assert.equal(readHeader(file(folder, '{}', 0)).tensors.size, 0);
    assert.equal(readHeader(file(folder, '{"__metadata__":{"format":"pt"}}', 0)).metadata.get('format'), 'pt');
  });
});

test('a file that was cut off names the bytes expected and found', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'model.safetensors');
    await writeSafetensors(path, [{ name: 'w', dtype: 'F32', shape: [4, 4], data: new Float32Array(16) }]);
    const size = readFileSync(path).length;
    for (let length = size - 1; length >= 0; length--) {
      truncateSync(path, length);
      const report = refused(path);
      assert.equal(report.code, 'safetensors.truncated', `${length}: ${report.cause}`);
      assert.match(report.cause, new RegExp(`${length} found`));
    }
  });
});

test('lengths that cannot be are refused, and other formats under this name are recognised', async () => {
  await inTemporaryFolder(folder => {
    for (const length of [0n, 1n, 100_000_001n, 2n ** 63n, 2n ** 64n - 1n]) assert.match(refused(file(folder, '{}', 0, length)).cause, /header would have/);
    const path = join(folder, 'model.safetensors');
    const pretenders: [Buffer, RegExp][] = [
      [Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.from([20, 0, 8, 8]), Buffer.alloc(40)]), /zip/],
      [Buffer.concat([Buffer.from([0x80, 2, 0x8a, 10, 0x6c, 0xfc]), Buffer.alloc(40)]), /pickle/],
      [Buffer.concat([Buffer.from('GGUF'), Buffer.from([3, 0, 0, 0]), Buffer.alloc(40)]), /GGUF/],
      [Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n'), /LFS/],
      [Buffer.from('<!DOCTYPE html><html></html>'), /web page/],
    ];
    for (const [content, says] of pretenders) {
      writeFileSync(path, content);
      const report = refused(path);
      assert.equal(report.code, 'safetensors.not-safetensors');
      assert.match(report.cause, says);
    }
  });
});

test('damaged headers never crash the parser', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'x.safetensors');
    await writeSafetensors(path, [{ name: 'a.weight', dtype: 'F32', shape: [2, 3], data: new Float32Array(6) }, { name: 'b', dtype: 'F16', shape: [5], data: new Float32Array(5) }], { format: 'pt' });
    const good = readFileSync(path);
    const generator = random(1, 'damage');
    let accepted = 0;
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.from(good);
      for (let n = 0; n < 1 + generator.next() * 3; n++) bytes[Math.floor(generator.next() * (good.length - 34))] ^= 1 << Math.floor(generator.next() * 8);
      writeFileSync(path, bytes);
      try { readHeader(path); accepted++; } catch (error) { assert.ok(error instanceof LabError, String(error)); }
    }
    // A changed letter in a name or in the metadata makes another valid header.
    assert.ok(accepted < 1000, `${accepted} accepted`);
  });
});

test('values and metadata survive writing and reading in every float type', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'x.safetensors');
    const values = Float32Array.from([0, 1, -2.5, 0.15625, 1024, -3]);
    const tensors = (['F16', 'BF16', 'F64', 'F32'] as const).map(dtype => ({ name: dtype, dtype, shape: [2, 3], data: values }));
    const { file_bytes } = await writeSafetensors(path, [...tensors, { name: 'odd', dtype: 'F16', shape: [1], data: values.subarray(1, 2) }], { format: 'pt', 'ü': '"' });
    assert.equal(readFileSync(path).length, file_bytes);
    const { tensors: refs, metadata } = readHeader(path);
    assert.deepEqual(Object.fromEntries(metadata), { format: 'pt', 'ü': '"' });
    for (const { name } of tensors) assert.deepEqual([...readTensor(refs.get(name)!)], [...values], name);
    assert.deepEqual([...readTensor(refs.get('odd')!)], [1]);
    for (const ref of refs.values()) assert.equal(ref.offset % (ref.bytes / ref.shape.reduce((a, b) => a * b, 1)), 0, 'aligned');
  });
});

test('short reads are continued, and a file that shrinks while it is read is an error', async () => {
  await inTemporaryFolder(async folder => {
    const path = join(folder, 'x.safetensors');
    const data = Float32Array.from({ length: 100 }, (_, i) => i);
    await writeSafetensors(path, [{ name: 'w', dtype: 'F32', shape: [100], data }]);
    const restore = useFileSystem({ ...nodeFileSystem, read: (fd, buffer, offset, length, position) => nodeFileSystem.read(fd, buffer, offset, Math.min(7, length), position) });
    let ref: TensorRef;
    try {
      ref = readHeader(path).tensors.get('w')!;
      assert.deepEqual(readTensor(ref), data);
    } finally { restore(); }
    truncateSync(path, 300);
    assert.throws(() => readTensor(ref), (error: LabError) => error.report.code === 'disk.truncated' && error.report.file === ref.file);
  });
});

test('integers are not read as weights', async () => {
  await inTemporaryFolder(folder => {
    const path = file(folder, one(entry('I64', '[1]', '[0,8]')), 8);
    assert.throws(() => readTensor(readHeader(path).tensors.get('w')!), /stored as I64/);
  });
});
