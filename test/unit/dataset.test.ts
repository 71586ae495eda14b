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
const bytes = (...parts: (string | number[])[]): Buffer => Buffer.concat(parts.map(part => Buffer.from(part as string)));

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

/** Title, file name, content, code, place and a part of the message. */
const MALFORMED: [string, string, string | Uint8Array, string, string | undefined, RegExp][] = [
  ['an empty file', 'a.jsonl', '', 'dataset.empty', undefined, /holds no examples/],
  ['only a mark', 'a.jsonl', '\ufeff', 'dataset.empty', undefined, /holds no examples/],
  ['only blank lines', 'a.jsonl', '\n \r\n\t\n', 'dataset.empty', undefined, /holds no examples/],
  ['a bad first line', 'a.jsonl', `{text: 1}\n${good(1)}`, 'dataset.bad-line', 'line 1', /not valid JSON/],
  ['a bad line in the middle', 'a.jsonl', `${good(0)}\n{"text": "a", "label"\n${good(1)}`, 'dataset.bad-line', 'line 2', /not valid JSON/],
  ['a bad last line', 'a.jsonl', `${good(0)}\n\n${good(1)}\n{"text": "cut of`, 'dataset.bad-line', 'line 4', /not valid JSON/],
  ['two objects on one line', 'a.jsonl', `${good(0)}\n${good(1)}${good(2)}\n`, 'dataset.bad-line', 'line 2', /not valid JSON/],
  ['an object over several lines', 'a.jsonl', '{\n"text": "a",\n"label": 1\n}\n', 'dataset.bad-line', 'line 1', /not valid JSON/],
  ['one JSON array', 'a.jsonl', '[\n{"text": "a", "label": 1}\n]', 'dataset.bad-line', 'line 1', /instead of one array/],
  ['a list on a line', 'a.jsonl', `${good(0)}\n["a", 1]`, 'dataset.bad-line', 'line 2', /holds a list, not a JSON object/],
  ['a text on a line', 'a.jsonl', `${good(0)}\n"a"`, 'dataset.bad-line', 'line 2', /holds "a", not a JSON object/],
  ['null on a line', 'a.jsonl', `${good(0)}\nnull`, 'dataset.bad-line', 'line 2', /holds null/],
  ['NaN', 'a.jsonl', `${good(0)}\n{"text": "a", "label": NaN}`, 'dataset.bad-line', 'line 2', /not valid JSON/],
  ['single quotes', 'a.jsonl', "{'text': 'a', 'label': 1}", 'dataset.bad-line', 'line 1', /not valid JSON/],
  ['a control character in a text', 'a.jsonl', '{"text": "a\u0001", "label": 1}', 'dataset.bad-line', 'line 1', /not valid JSON/],
  ['half of a surrogate pair', 'a.jsonl', `${good(0)}\n{"text": "a\\ud83d", "label": 1}`, 'dataset.bad-line', 'line 2', /half of a surrogate pair/],
  ['no text', 'a.jsonl', `${good(0)}\n{"label": 1}`, 'dataset.missing-column', 'line 2', /no column "text"; the columns are "label"/],
  ['no label', 'a.jsonl', `${good(0)}\n{"text": "a", "lable": 1}`, 'dataset.missing-column', 'line 2', /no column "label".*"text", "lable".*Did you mean "lable"\?/],
  ['an empty object', 'a.jsonl', '{}', 'dataset.missing-column', 'line 1', /there are no columns/],
  ['only inherited names', 'a.jsonl', '{"__proto__": {"text": "a", "label": 1}}', 'dataset.missing-column', 'line 1', /"__proto__"/],
  ['a number as text', 'a.jsonl', `${good(0)}\n{"text": 12, "label": 1}`, 'dataset.wrong-type', 'line 2', /the text in "text" is 12/],
  ['null as text', 'a.jsonl', '{"text": null, "label": 1}', 'dataset.wrong-type', 'line 1', /is null/],
  ['a list as text', 'a.jsonl', '{"text": ["a", "b"], "label": 1}', 'dataset.wrong-type', 'line 1', /is a list/],
  ['null as label', 'a.jsonl', `${good(0)}\n${good(1)}\n{"text": "a", "label": null}`, 'dataset.wrong-type', 'line 3', /the label in "label" is null/],
  ['a fraction as label', 'a.jsonl', '{"text": "a", "label": 0.5}', 'dataset.wrong-type', 'line 1', /is 0.5/],
  ['a label that overflows', 'a.jsonl', '{"text": "a", "label": 1e400}', 'dataset.wrong-type', 'line 1', /the label/],
  ['a label above 2^53', 'a.jsonl', '{"text": "a", "label": 9007199254740993}', 'dataset.wrong-type', 'line 1', /9007199254740992/],
  ['a list as label', 'a.jsonl', '{"text": "a", "label": [0, 1]}', 'dataset.wrong-type', 'line 1', /is a list/],
  ['an object as label', 'a.jsonl', '{"text": "a", "label": {"id": 1}}', 'dataset.wrong-type', 'line 1', /is an object/],
  ['an empty label', 'a.jsonl', '{"text": "a", "label": ""}', 'dataset.wrong-type', 'line 1', /is empty/],
  ['deep nesting', 'a.jsonl', `${good(0)}\n${'['.repeat(100_000)}`, 'dataset.bad-line', 'line 2', /not valid JSON/],
  ['Latin-1', 'a.jsonl', bytes(`${good(0)}\n{"text": "caf`, [0xe9], '", "label": 1}\n'), 'dataset.not-utf8', 'line 2', /not UTF-8/],
  ['a character cut off at the end', 'a.jsonl', bytes(`${good(0)}\n{"text": "`, [0xe4, 0xb8]), 'dataset.not-utf8', 'line 2', /not UTF-8/],
  ['UTF-16, little end first', 'a.jsonl', Buffer.from(`\ufeff${good(0)}`, 'utf16le'), 'dataset.not-utf8', 'line 1', /UTF-16/],
  ['UTF-16, big end first', 'a.jsonl', Buffer.from(`\ufeff${good(0)}`, 'utf16le').swap16(), 'dataset.not-utf8', 'line 1', /UTF-16/],
  ['a compressed file', 'a.jsonl', Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]), 'dataset.not-utf8', 'line 1', /not UTF-8/],
  ['parquet', 'a.parquet', 'PAR1', 'dataset.format', undefined, /"\.parquet" are not read.*\.jsonl.*\.csv or \.tsv/],
  ['json', 'a.json', '[]', 'dataset.format', undefined, /"\.json"/],
  ['txt', 'a.txt', 'a', 'dataset.format', undefined, /"\.txt"/],
  ['no type at all', 'train', good(0), 'dataset.format', undefined, /type ""/],
  ['an empty csv file', 'a.csv', '', 'dataset.empty', undefined, /holds no examples/],
  ['a header alone', 'a.csv', 'text,label\r\n', 'dataset.empty', undefined, /holds no examples/],
  ['a header and blank lines', 'a.tsv', 'text\tlabel\n\n\n', 'dataset.empty', undefined, /holds no examples/],
  ['csv without a header', 'a.csv', 'good film,1\nbad film,0\n', 'dataset.missing-column', 'line 1', /the columns are "good film", "1"/],
  ['another name in the header', 'a.csv', 'Text,labels\na,1\n', 'dataset.missing-column', 'line 1', /Did you mean "Text"\?/],
  ['semicolons', 'a.csv', 'text;label\na;1\n', 'dataset.missing-column', 'line 1', /commas instead of semicolons/],
  ['a column twice', 'a.csv', 'text,label,text\na,1,b\n', 'dataset.bad-line', 'line 1', /"text" twice/],
  ['too many fields', 'a.csv', 'text,label\na,1\ngood, but slow,1\n', 'dataset.bad-line', 'line 3', /has 3 fields, the header has 2.*comma/],
  ['too few fields', 'a.csv', 'text,label\na,1\n\nb\n', 'dataset.bad-line', 'line 4', /has 1 field, the header has 2/],
  ['too few fields in tsv', 'a.tsv', 'text\tlabel\na 1\n', 'dataset.bad-line', 'line 2', /has 1 field, the header has 2.*tab/],
  ['too many fields after a record of three lines', 'a.csv', 'text,label\n"a\nb\nc",1\nd,1,2\n', 'dataset.bad-line', 'line 5', /has 3 fields/],
  ['an empty label in csv', 'a.csv', 'text,label\na,1\nb,\n', 'dataset.wrong-type', 'line 3', /is empty/],
  ['a huge number in csv', 'a.csv', 'text,label\na,99999999999999999999\n', 'dataset.wrong-type', 'line 2', /the label/],
  ['a quote that stays open', 'a.csv', 'text,label\na,1\n"b,1\nc,0\nd,1\n', 'dataset.bad-line', 'line 3', /begins here and is not closed before the end/],
  ['an open quote in the second line of a record', 'a.csv', 'text,label\n"a\nb","c\nd,1\n', 'dataset.bad-line', 'line 3', /begins here/],
  ['an open quote in the header', 'a.csv', '"text,label\na,1\n', 'dataset.bad-line', 'line 1', /begins here/],
  ['characters after a quote', 'a.csv', 'text,label\n"a" b,1\n', 'dataset.bad-line', 'line 2', /field 1 goes on after its closing quote/],
  ['backslashes for quotes', 'a.csv', 'text,label\n"say \\"hi\\"",1\n', 'dataset.bad-line', 'line 2', /write a " inside quotes as ""/],
  ['carriage returns alone', 'a.csv', 'text,label\ra,1\rb,0\r', 'dataset.bad-line', 'line 1', /carriage return alone/],
  ['Latin-1 in csv', 'a.csv', bytes('text,label\na,1\ncaf', [0xe9], ',1\n'), 'dataset.not-utf8', 'line 3', /not UTF-8/],
  ['UTF-16 in csv', 'a.csv', Buffer.from('\ufefftext,label\n', 'utf16le'), 'dataset.not-utf8', 'line 1', /UTF-16/],
];

for (const [title, name, content, code, where, says] of MALFORMED) {
  test(`malformed ${name}: ${title}`, async () => {
    await assert.rejects(rowsOf(name, content), (error: LabError) => {
      assert.equal(error.report.code, code, error.message);
      assert.equal(error.report.where, where, error.message);
      assert.match(error.message, says);
      assert.equal(error.report.file!.endsWith(name), true);
      return true;
    });
  });
}

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
    const filler = 'a long film with little to say '.repeat(20);
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
    // The file has 130 MB.
    assert.ok(peak < 80 * MIB, `${Math.round(peak / MIB)} MiB more`);
    assert.equal(fractions.at(-1), 1);
    assert.ok(fractions.length > 100 && fractions.every((fraction, i) => i === 0 || fraction >= fractions[i - 1]));
  });
});
