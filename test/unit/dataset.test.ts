import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRows, type Row } from '../../src/engine/data/dataset';
import { LabError } from '../../src/engine/errors';
import { nodeFileSystem, useFileSystem } from '../../src/engine/files';
import { inTemporaryFolder } from '../support/faults';

const COLUMNS = { text_column: 'text', label_column: 'label' };
const MIB = 1 << 20;

/** Rows of a file with this content. */
function rowsOf(name: string, content: string | Uint8Array, columns: { text_column: string; label_column: string | null } = COLUMNS): Promise<Row[]> {
  return inTemporaryFolder(folder => {
    const file = join(folder, name);
    writeFileSync(file, content);
    return [...readRows({ file, ...columns })];
  });
}

const good = (i: number): string => JSON.stringify({ text: `text ${i}`, label: i % 2 });

test('jsonl gives texts, labels and lines', async () => {
  const rows = await rowsOf('a.jsonl', [
    '{"text": "one", "label": "good"}', '', '{"label": 3, "text": "", "more": [1, {"x": null}]}', '   ', '{"text": "naïve 中 😀", "label": true}', '{"text": "-0", "label": -0}',
    '{"text": "escaped \\ud83d\\ude00 \\u0000", "label": -1}',
  ].join('\n'));
  assert.deepEqual(rows, [
    { text: 'one', label: 'good', line: 1 }, { text: '', label: 3, line: 3 }, { text: 'naïve 中 😀', label: 'true', line: 5 }, { text: '-0', label: 0, line: 6 },
    { text: 'escaped 😀 \u0000', label: -1, line: 7 },
  ]);
});

test('a byte order mark, CRLF and a final line end change nothing', async () => {
  const plain = await rowsOf('a.jsonl', `${good(0)}\n${good(1)}`);
  assert.deepEqual(await rowsOf('a.jsonl', `\ufeff${good(0)}\r\n${good(1)}\r\n`), plain);
  assert.deepEqual(await rowsOf('A.JSONL', `${good(0)}\n${good(1)}\n\n\n`), [...plain]);
});

test('a mark in the middle of a file belongs to the text', async () => {
  const [row] = await rowsOf('a.csv', '\ufefftext,label\n\ufeffa,b\n');
  assert.equal(row.text, '\ufeffa');
});

test('without a label column the labels are null and need not be there', async () => {
  assert.deepEqual(await rowsOf('a.jsonl', '{"review": "x"}', { text_column: 'review', label_column: null }), [{ text: 'x', label: null, line: 1 }]);
  assert.deepEqual(await rowsOf('a.csv', 'review\nx\n', { text_column: 'review', label_column: null }), [{ text: 'x', label: null, line: 2 }]);
});

test('rows before a bad line are given first', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'a.jsonl');
    writeFileSync(file, `${good(0)}\n${good(1)}\nbad\n`);
    const rows = readRows({ file, ...COLUMNS });
    assert.equal((rows.next().value as Row).text, 'text 0');
    assert.equal((rows.next().value as Row).line, 2);
    assert.throws(() => rows.next(), /line 3: is not valid JSON/);
  });
});

test('a missing file and a folder are named', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'none.jsonl');
    assert.throws(() => [...readRows({ file, ...COLUMNS })], (error: LabError) => error.report.code === 'dataset.no-file' && error.report.file === file && /does not exist/.test(error.message));
    mkdirSync(join(folder, 'folder.csv'));
    assert.throws(() => [...readRows({ file: join(folder, 'folder.csv'), ...COLUMNS })], /is not a file/);
  });
});

test('lines across the borders of the chunks stay whole', async () => {
  // Lengths around the chunk size put the line end before, on and after the border; 3-byte characters are cut by it.
  for (const length of [MIB - 2, MIB - 1, MIB, MIB + 1, 2 * MIB]) {
    const start = '{"label": 1, "text": "';
    const text = 'x'.repeat((length - start.length - 2) % 3) + '中'.repeat(Math.floor((length - start.length - 2) / 3));
    const rows = await rowsOf('a.jsonl', `${start}${text}"}\n${good(1)}\n`);
    assert.deepEqual(rows.map(row => [row.text === text || row.text, row.line]), [[true, 1], ['text 1', 2]]);
  }
});

test('a line of more than 16 MiB is refused, one of exactly 16 MiB is read', async () => {
  const line = (size: number): string => `{"label": 1, "text": "${'x'.repeat(size - 24)}"}`;
  assert.equal(line(MIB).length, MIB);
  const rows = await rowsOf('a.jsonl', `${good(0)}\n${line(16 * MIB)}\n${good(1)}`);
  assert.equal(rows.length, 3);
  const tooLong = (error: LabError): boolean => error.report.code === 'dataset.line-too-long' && error.report.where === 'line 2' && /16 MiB/.test(error.message);
  await assert.rejects(rowsOf('a.jsonl', `${good(0)}\n${line(16 * MIB + 1)}\n${good(1)}`), tooLong);
  await assert.rejects(rowsOf('a.jsonl', `${good(0)}\n${'x'.repeat(40 * MIB)}`), tooLong);
});

test('the file is closed after the last row, after an error and when the reader stops early', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'a.jsonl');
    writeFileSync(file, `${good(0)}\n${good(1)}\nbad`);
    let open = 0;
    const restore = useFileSystem({ ...nodeFileSystem, open: (...args) => { open += 1; return nodeFileSystem.open(...args); }, close: fd => { open -= 1; nodeFileSystem.close(fd); } });
    try {
      assert.throws(() => [...readRows({ file, ...COLUMNS })]);
      assert.equal(open, 0);
      for (const row of readRows({ file, ...COLUMNS })) if (row.line === 1) break;
      assert.equal(open, 0);
      writeFileSync(file, good(0));
      assert.equal([...readRows({ file, ...COLUMNS })].length, 1);
      assert.equal(open, 0);
    } finally { restore(); }
  });
});

test('an error of the disk names the file', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'a.csv');
    writeFileSync(file, 'text,label\na,1\n');
    const restore = useFileSystem({ ...nodeFileSystem, read: () => { throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }); } });
    try { assert.throws(() => [...readRows({ file, ...COLUMNS })], (error: LabError) => error.report.code.startsWith('disk.') && error.report.file === file); } finally { restore(); }
  });
});

test('reads of a few bytes at a time give the same rows', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'a.jsonl');
    writeFileSync(file, `{"text": "中😀", "label": 1}\r\n${good(1)}\n`);
    const whole = [...readRows({ file, ...COLUMNS })];
    const restore = useFileSystem({ ...nodeFileSystem, read: (fd, buffer, offset, length, position) => nodeFileSystem.read(fd, buffer, offset, Math.min(length, 3), position) });
    try { assert.deepEqual([...readRows({ file, ...COLUMNS })], whole); } finally { restore(); }
  });
});

test('200,000 lines are read in little memory, with progress from 0 to 1', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'large.jsonl');
    const fd = openSync(file, 'w');
    const filler = 'a long film with little to say '.repeat(10);
    for (let i = 0; i < 200; i++) writeSync(fd, Array.from({ length: 1000 }, (_, j) => `{"text": "${filler}${i * 1000 + j}", "label": ${j % 3}}\n`).join(''));
    closeSync(fd);
    const fractions: number[] = [];
    const before = process.memoryUsage().rss;
    let peak = 0;
    let count = 0;
    for (const row of readRows({ file, ...COLUMNS, onRead: fraction => fractions.push(fraction) })) {
      count += 1;
      if (row.line !== count) assert.fail(`row ${count} says line ${row.line}`);
      if (count % 10_000 === 0) peak = Math.max(peak, process.memoryUsage().rss - before);
    }
    assert.equal(count, 200_000);
    // The file has 68 MB.
    assert.ok(peak < 50 * MIB, `${Math.round(peak / MIB)} MiB more`);
    assert.equal(fractions.at(-1), 1);
    assert.ok(fractions.length > 50 && fractions.every((fraction, i) => i === 0 || fraction >= fractions[i - 1]));
  });
});
