import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRecords, readRows } from '../../src/engine/data/dataset';
import { checkSameClasses, writtenClasses } from '../../src/engine/data/examples';
import { labelsFor } from '../../src/engine/data/labels';
import { readParquet } from '../../src/engine/data/parquet';
import { parquetColumns } from '../../src/engine/data/parquetFooter';
import { LabError } from '../../src/engine/errors';
import { nodeFileSystem, useFileSystem } from '../../src/engine/files';
import { random } from '../../src/engine/random';
import { inTemporaryFolder } from '../support/faults';
import { fixture as fixturePath } from '../support/paths';

const folder = fixturePath('parquet');
const fixture = (name: string): string => join(folder, name);
/** Rows as pyarrow reads them. */
const EXPECTED = JSON.parse(readFileSync(fixture('expected.json'), 'utf8')) as Record<string, Record<string, unknown>[]>;
const refused = (code: string, where: string | undefined, cause: RegExp) => (error: LabError): boolean => {
  assert.deepEqual([error.report.code, error.report.where], [code, where], error.message);
  assert.match(error.report.cause, cause);
  assert.ok(error.report.file && error.report.action);
  return true;
};
const classifierRows = (name: string, columns: Partial<Parameters<typeof readRows>[0]> = {}) => [...readRows({ file: fixture(name), text_column: 'text', label_column: 'label', ...columns })];

test('every codec, encoding and page version gives the rows that pyarrow reads', () => {
  const names = readdirSync(folder).filter(name => /^(texts|reviews|messages)/.test(name));
  assert.ok(names.length >= 12);
  for (const name of names) {
    const rows = [...readParquet(fixture(name), parquetColumns(fixture(name)))];
    assert.deepEqual(rows.map(({ values }) => values), EXPECTED[name], name);
    assert.deepEqual(rows.map(({ row }) => row), EXPECTED[name].map((_, i) => i + 1));
  }
});

test('texts, class numbers, lists of classes, values and names are read as from jsonl', async () => {
  const parquet = (name: string) => classifierRows(name).map(({ text, label }) => [text, label]);
  assert.deepEqual(parquet('texts-zstd.parquet'), EXPECTED['texts-zstd.parquet'].map(({ text, label }) => [text, label]));
  assert.deepEqual(classifierRows('texts-snappy.parquet', { label_column: 'name', text_pair_column: 'large_text' })[5], { text: 'a\u0000b', pair: 'a\u0000b', label: 'good', line: 6 });
  assert.deepEqual(classifierRows('texts-gzip.parquet', { label_column: 'yes' }).slice(0, 2).map(row => row.label), ['true', 'false']);
  assert.deepEqual(classifierRows('texts-gzip.parquet', { label_column: 'small', problem_type: 'regression' }).map(row => row.label), Array.from({ length: 21 }, (_, i) => i / 4));
  assert.deepEqual(classifierRows('reviews.parquet', { text_column: 'sentence', label_column: 'tags', problem_type: 'multi_label_classification' }).map(row => row.labels), [[0], [], [1, 2], [2]]);
});

test('a row group is read when its rows are asked for, and the file is closed', () => {
  const file = fixture('texts-none.parquet');
  const bytes = readFileSync(file);
  const footer = bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8);
  let open = 0, furthest = 0;
  const restore = useFileSystem({
    ...nodeFileSystem,
    open: (...args) => { open += 1; return nodeFileSystem.open(...args); },
    close: fd => { open -= 1; nodeFileSystem.close(fd); },
    read(fd, buffer, offset, length, position) {
      if (position < footer) furthest = Math.max(furthest, position);
      return nodeFileSystem.read(fd, buffer, offset, Math.min(length, 50), position);
    },
  });
  try {
    const seen: number[] = [];
    for (const { line } of readRows({ file, text_column: 'text', label_column: 'label' })) {
      seen.push(furthest);
      if (line === 20) break;
    }
    assert.equal(open, 0);
    // 8 rows a group: reading goes on only at rows 9 and 17.
    assert.deepEqual(seen.flatMap((place, i) => (i && place !== seen[i - 1] ? [i + 1] : [])), [9, 17]);
  } finally { restore(); }
});

test('the classes that datasets writes name the class numbers', () => {
  const column = 'label';
  assert.deepEqual(writtenClasses(fixture('reviews.parquet'), column), ['negative', 'positive']);
  assert.deepEqual(writtenClasses(fixture('reviews.parquet'), 'tags'), ['plot', 'cast', 'sound']);
  assert.equal(writtenClasses(fixture('texts-zstd.parquet'), column), null);
  const names = (written: string[], values: number[], head: number | null = null): string[] => labelsFor({}, head, values, 2, written).names;
  assert.deepEqual(names(['negative', 'positive'], [1, 0]), ['negative', 'positive']);
  assert.deepEqual(names(['negative', 'positive'], [1, 0], 2), ['negative', 'positive']);
  // A stored head of another size, a number beyond the names, and names that are other numbers.
  assert.deepEqual([names(['a', 'b'], [1, 0], 3), names(['a', 'b'], [0, 2]), names(['1', '2'], [0, 1])], [['0', '1', '2'], ['0', '1', '2'], ['0', '1']]);
  assert.deepEqual(labelsFor({ id2label: { 0: 'bad', 1: 'good' } }, 2, [0, 1], 2, ['negative', 'positive']).names, ['bad', 'good']);
  assert.throws(() => checkSameClasses(fixture('reviews.parquet'), fixture('reviews-swapped.parquet'), column), refused('dataset.labels', 'column "label"', /positive, negative.*negative, positive/));
});

test('nulls and values of another type are named by row', () => {
  assert.throws(() => classifierRows('nulls.parquet'), refused('dataset.wrong-type', 'row 2', /the text in "text" is null/));
  assert.throws(() => classifierRows('nulls.parquet', { text_column: 'binary', label_column: null }), refused('dataset.not-utf8', 'row 2', /"binary" holds bytes/));
  const records = (name: string, column: string, problem_type?: 'regression' | 'multi_label_classification') => [...readRows({ file: fixture('texts-none.parquet'), text_column: name, label_column: column, problem_type })];
  assert.throws(() => records('label', 'name'), refused('dataset.wrong-type', 'row 1', /the text in "label" is 0/));
  assert.throws(() => records('text', 'value'), refused('dataset.wrong-type', 'row 2', /the label in "value" is 0.25/));
  assert.throws(() => records('text', 'label', 'multi_label_classification'), refused('dataset.wrong-type', 'row 1', /not a list/));
  const only = (label_column: string, problem_type?: 'regression' | 'multi_label_classification') =>
    [...readRecords({ file: fixture('nulls.parquet'), keys: 'k', columns: { x: { name: label_column, read: (value, _, { line }) => [line, value] as const } } })].map(({ values }) => values.x);
  assert.deepEqual([only('tags'), only('messages')], [[[1, [0]], [2, null], [3, [1, null]]], [[1, [{ role: 'user', content: null }]], [2, []], [3, null]]]);
  assert.throws(() => [...readRows({ file: fixture('nulls.parquet'), text_column: 'binary', label_column: 'large' })], refused('dataset.wrong-type', 'row 1', /9007199254740992/));
  assert.throws(() => [...readRows({ file: fixture('nulls.parquet'), text_column: 'binary', label_column: 'nan', problem_type: 'regression' })], refused('dataset.wrong-type', 'row 1', /is NaN/));
});

test('a column that is not there, one that is there twice, and an empty file', () => {
  assert.throws(() => classifierRows('reviews.parquet', { text_column: 'sentence', label_column: 'lable' }), refused('dataset.missing-column', undefined, /no column "lable"; the columns are "sentence", "label", "tags"/));
  assert.throws(() => classifierRows('twice.parquet'), refused('dataset.bad-line', undefined, /two columns of the name "text"/));
  assert.throws(() => classifierRows('empty.parquet'), refused('dataset.empty', undefined, /no examples/));
});

/** Rows of a file with these bytes. */
const rowsOfBytes = (bytes: Uint8Array): Promise<unknown[]> => inTemporaryFolder(temporary => {
  const file = join(temporary, 'a.parquet');
  writeFileSync(file, bytes);
  return [...readRows({ file, text_column: 'text', label_column: 'label' })];
});

test('files that are cut off, of another kind or encrypted are named as what they are', async () => {
  const whole = readFileSync(fixture('texts-zstd.parquet'));
  for (const length of [4, 5, 11, 12, 500, whole.length - 9, whole.length - 1]) await assert.rejects(rowsOfBytes(whole.subarray(0, length)), refused('dataset.damaged', undefined, /cut off/));
  for (const other of ['', 'PAR', '{"text": "a"}\n']) await assert.rejects(rowsOfBytes(Buffer.from(other)), refused('dataset.not-parquet', undefined, /is not a Parquet file/));
  await assert.rejects(rowsOfBytes(Buffer.concat([Buffer.from('PARE'), whole.subarray(4)])), refused('dataset.not-parquet', undefined, /encrypted/));
  const longFooter = Buffer.from(whole);
  longFooter.writeUInt32LE(whole.length, whole.length - 8);
  await assert.rejects(rowsOfBytes(longFooter), refused('dataset.damaged', undefined, /more than the file/));
  const torn = Buffer.from(whole).fill(255, 10, 60);
  await assert.rejects(rowsOfBytes(torn), refused('dataset.damaged', 'rows 1 to 8, column "text"', /cannot be decoded/));
});

test('an unknown codec is named with rows and column', async () => {
  const bytes = readFileSync(fixture('texts-zstd.parquet'));
  // In the metadata of the column "text": path, then the codec (field 4, an i32), zigzag of 6 for ZSTD.
  const path = Buffer.from('\x19\x18\x04text\x15\x0c', 'latin1');
  const at = bytes.indexOf(path, bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8));
  assert.ok(at > 0);
  bytes[at + path.length - 1] = 6;
  await assert.rejects(rowsOfBytes(bytes), refused('dataset.codec', 'rows 1 to 8, column "text"', /compressed with LZO/));
});

test('a row group without rows, whose columns lie nowhere, is passed over', async () => {
  const bytes = readFileSync(fixture('texts-none.parquet'));
  // 21 rows in a list of three row groups, which becomes one of four.
  const list = bytes.indexOf(Buffer.from([0x16, 42, 0x19, 0x3c]), bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8)) + 3;
  assert.ok(list > 3);
  const column = (name: string, type: number): Buffer => Buffer.concat([
    Buffer.from([0x26, 0, 0x1c, 0x15, 2 * type, 0x19, 0x05, 0x19, 0x18, name.length]), Buffer.from(name), Buffer.from([0x15, 0, 0x16, 0, 0x16, 0, 0x16, 0, 0x26, 0, 0, 0]),
  ]);
  const group = Buffer.concat([Buffer.from([0x4c, 0x19, 0x2c]), column('text', 6), column('label', 2), Buffer.from([0x16, 0, 0x16, 0, 0])]);
  const changed = Buffer.concat([bytes.subarray(0, list), group, bytes.subarray(list + 1)]);
  changed.writeUInt32LE(bytes.readUInt32LE(bytes.length - 8) + group.length - 1, changed.length - 8);
  assert.deepEqual(await rowsOfBytes(changed), await rowsOfBytes(bytes));
});

/** A signed 64-bit number as Thrift's compact protocol writes it. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = 2 * value; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest % 128 + (rest >= 128 ? 128 : 0));
    if (rest < 128) return Buffer.from(bytes);
  }
}

/** The file, whose first row group states these bytes for a column, decompressed: in the metadata path, codec, number of values (fields 3 to 5), then that size. */
function stating(bytes: Buffer, column: string, size: number): Buffer {
  const path = Buffer.concat([Buffer.from([0x19, 0x18, column.length]), Buffer.from(column), Buffer.from([0x15])]);
  const footer = bytes.readUInt32LE(bytes.length - 8);
  let at = bytes.indexOf(path, bytes.length - 8 - footer) + path.length;
  const pass = (): void => { while (bytes[at++] >= 128); };
  pass();
  at += 1;
  pass();
  assert.equal(bytes[at++], 0x16, 'the size follows');
  const begin = at;
  pass();
  const written = varint(size);
  const changed = Buffer.concat([bytes.subarray(0, begin), written, bytes.subarray(at)]);
  changed.writeUInt32LE(footer + written.length - (at - begin), changed.length - 8);
  return changed;
}

test('a row group whose wanted columns together are too large for the memory is refused before it is read', async () => {
  const MiB = 2 ** 20;
  const whole = readFileSync(fixture('texts-zstd.parquet'));
  const both = stating(stating(whole, 'text', 600 * MiB), 'label', 500 * MiB);
  await assert.rejects(rowsOfBytes(both), refused('dataset.row-group-too-large', 'rows 1 to 8', /one row group holds 1100 MiB in "text", "label"; at most 1024 are read at a time/));
  assert.equal((await rowsOfBytes(stating(whole, 'text', 600 * MiB))).length, (await rowsOfBytes(whole)).length, 'one of them alone is not');
});

test('files with changed bytes give rows or a LabError, in bounded time', async () => {
  const draw = random(7, 'bytes');
  for (const name of ['texts-zstd.parquet', 'texts-pages.parquet', 'texts-delta.parquet', 'texts-gzip.parquet']) {
    const whole = readFileSync(fixture(name));
    for (let round = 0; round < 150; round++) {
      const bytes = Buffer.from(whole);
      for (let i = 0; i < 1 + round % 4; i++) bytes[4 + Math.floor(draw.next() * (bytes.length - 8))] = Math.floor(draw.next() * 256);
      await rowsOfBytes(bytes).catch((error: unknown) => { if (!(error instanceof LabError)) throw error; });
    }
  }
});
