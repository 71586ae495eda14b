import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRows, type Row } from '../../src/engine/data/dataset';
import { LabError } from '../../src/engine/errors';
import { nodeFileSystem, useFileSystem } from '../../src/engine/files';
import { random } from '../../src/engine/random';
import { inTemporaryFolder } from '../support/faults';

const COLUMNS = { text_column: 'text', label_column: 'label' };
const good = (i: number): string => JSON.stringify({ text: `text ${i}`, label: i % 2 });
const bytes = (...parts: (string | number[])[]): Buffer => Buffer.concat(parts.map(part => Buffer.from(part as string)));

function rowsOf(name: string, content: string | Uint8Array): Promise<Row[]> {
  return inTemporaryFolder(folder => {
    const file = join(folder, name);
    writeFileSync(file, content);
    return [...readRows({ file, ...COLUMNS })];
  });
}

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
  ['a parquet file of four bytes', 'a.parquet', 'PAR1', 'dataset.damaged', undefined, /has no end: it was cut off/],
  ['arrow', 'a.arrow', 'ARROW1', 'dataset.format', undefined, /"\.arrow" are not read.*\.jsonl.*\.csv or \.tsv.*\.parquet/],
  ['json', 'a.json', '[]', 'dataset.format', undefined, /"\.json"/],
  ['txt', 'a.txt', 'a', 'dataset.format', undefined, /"\.txt"/],
  ['no type at all', 'train', good(0), 'dataset.format', undefined, /type ""/],
  ['an empty csv file', 'a.csv', '', 'dataset.empty', undefined, /holds no examples/],
  ['a header alone', 'a.csv', 'text,label\r\n', 'dataset.empty', undefined, /holds no examples/],
  ['a header and blank lines', 'a.tsv', 'text\tlabel\n\n\n', 'dataset.empty', undefined, /holds no examples/],
  ['csv without a header', 'a.csv', 'good film,1\nbad film,0\n', 'dataset.missing-column', 'line 1', /the columns are "good film", "1"/],
  ['another name in the header', 'a.csv', 'Text,labels\na,1\n', 'dataset.missing-column', 'line 1', /Did you mean "Text"\?/],
  ['semicolons', 'a.csv', 'text;label\na;1\n', 'dataset.missing-column', 'line 1', /commas instead of semicolons/],
  ['tabs in csv', 'a.csv', 'text\tlabel\na\t1\n', 'dataset.missing-column', 'line 1', /separated by tabs: give the file the ending \.tsv/],
  ['commas in tsv', 'a.tsv', 'text,label\na,1\n', 'dataset.missing-column', 'line 1', /separated by commas: give the file the ending \.csv/],
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

/** Files from memory, to get through many of them. */
function readMemory(name: string, content: Buffer): Row[] {
  const restore = useFileSystem({
    ...nodeFileSystem,
    stat: () => ({ size: content.length, modified: 0, isFile: true, isDirectory: false, isLink: false }),
    open: () => 1, close: () => undefined,
    read: (_, buffer, offset, length, position) => content.copy(buffer, offset, position, position + length),
  });
  try { return [...readRows({ file: name, ...COLUMNS })]; } finally { restore(); }
}

for (const [name, content] of [
  ['a.jsonl', `\ufeff${good(0)}\r\n{"text": "é中😀\\ud83d\\ude00", "label": "x"}\n\n${good(1)}\n{"label": true, "text": "", "id": [1]}`],
  ['a.csv', 'text,label\r\n"a ""b"",\nc",1\n\nd é中😀,0\n"",x\n'],
] as const) {
  test(`5,000 mutations of ${name} give rows or an error at a line that exists`, () => {
    const generator = random(11, name);
    const pick = (n: number): number => Math.floor(generator.next() * n);
    const source = Buffer.from(content);
    const pieces = ['"', '\n', '\r', ',', '{', '}', '\\', '\u0000', '\ufeff', '1', 'null', '""'].map(text => Buffer.from(text)).concat(Buffer.from([0xff]), Buffer.from([0xc3]));
    let refused = 0;
    for (let i = 0; i < 5000; i++) {
      let mutated = source;
      for (let n = 1 + pick(3); n > 0; n--) {
        const at = pick(mutated.length + 1);
        mutated = Buffer.concat([mutated.subarray(0, at), pick(3) ? pieces[pick(pieces.length)] : Buffer.alloc(0), mutated.subarray(at + pick(4))]);
      }
      const lines = mutated.toString('latin1').split('\n').length;
      try {
        let last = 0;
        for (const row of readMemory(name, mutated)) {
          assert.ok(row.line > last && row.line <= lines);
          last = row.line;
        }
      } catch (error) {
        assert.ok(error instanceof LabError && error.report.code.startsWith('dataset.'), `${JSON.stringify(mutated.toString('latin1'))}: ${String(error)}`);
        refused += 1;
        if (error.report.code === 'dataset.empty') continue;
        const line = Number(/^line (\d+)$/.exec(error.report.where!)![1]);
        assert.ok(line >= 1 && line <= lines, error.message);
      }
    }
    assert.ok(refused > 1000 && refused < 4900, `${refused} refused`);
  });
}
