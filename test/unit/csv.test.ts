import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readCsv } from '../../src/engine/data/csv';
import { readRows } from '../../src/engine/data/dataset';
import { LabError } from '../../src/engine/errors';
import { random } from '../../src/engine/random';
import { inTemporaryFolder } from '../support/faults';

/** Fields of every record, with the line on which each starts. */
function recordsOf(content: string, delimiter: ',' | '\t' = ','): Promise<[number, ...string[]][]> {
  return inTemporaryFolder(folder => {
    const file = join(folder, 'a.csv');
    writeFileSync(file, content);
    return [...readCsv(file, delimiter)].map(({ fields, line }) => [line, ...fields]);
  });
}

const CASES: [string, string, [number, ...string[]][]][] = [
  ['plain fields', 'a,b\nc,d\n', [[1, 'a', 'b'], [2, 'c', 'd']]],
  ['no final line end', 'a,b\nc,d', [[1, 'a', 'b'], [2, 'c', 'd']]],
  ['CRLF', 'a,b\r\n"c","d"\r\n', [[1, 'a', 'b'], [2, 'c', 'd']]],
  ['commas and doubled quotes in quotes', '"a,""b""",c\n', [[1, 'a,"b"', 'c']]],
  ['line ends in quotes', '"a\nb\r\n\nc",d\ne,f\n', [[1, 'a\nb\r\n\nc', 'd'], [5, 'e', 'f']]],
  ['a quoted field that ends a line later', 'a,"b\n"\nc,d', [[1, 'a', 'b\n'], [3, 'c', 'd']]],
  ['empty fields', ',\n"",""\n', [[1, '', ''], [2, '', '']]],
  ['blank lines between records', '\na,b\n\n \r\nc,d\n\n', [[2, 'a', 'b'], [5, 'c', 'd']]],
  ['quotes inside an unquoted field', 'the "best" film,1\n5" wide,2\n', [[1, 'the "best" film', '1'], [2, '5" wide', '2']]],
  ['only doubled quotes', '"""",""""""\n', [[1, '"', '""']]],
  ['spaces are kept', ' a , b \n', [[1, ' a ', ' b ']]],
  ['characters of several bytes', '"中,😀",é\n', [[1, '中,😀', 'é']]],
];
for (const [title, content, expected] of CASES) {
  test(`csv: ${title}`, async () => {
    assert.deepEqual(await recordsOf(content), expected);
    assert.deepEqual(await recordsOf(content.replaceAll(',', '\t'), '\t'), expected.map(([line, ...fields]) => [line, ...fields.map(field => field.replaceAll(',', '\t'))]));
  });
}

test('what is written as RFC 4180 says is read back, with the line of every record', async () => {
  const generator = random(7, 'csv');
  const pieces = ['a', '"', ',', '\n', '\r\n', ' ', '中', '""', 'film'];
  const field = (): string => Array.from({ length: Math.floor(generator.next() * 6) }, () => pieces[Math.floor(generator.next() * pieces.length)]).join('');
  const expected: [number, ...string[]][] = [];
  let content = '';
  for (let i = 0; i < 2000; i++) {
    const fields = ['x', field(), field()];
    expected.push([content.split('\n').length, ...fields]);
    content += `${fields.map(text => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)).join(',')}${i % 2 ? '\r\n' : '\n'}`;
    if (i === 500) { assert.deepEqual(await recordsOf(content), expected); content = ''; expected.length = 0; }
  }
  assert.deepEqual(await recordsOf(content), expected);
});

test('whole numbers in csv are class numbers, everything else is a text', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'a.tsv');
    writeFileSync(file, 'id\tlabel\ttext\n1\t0\ta\n2\t12\tb\n3\t-3\tc\n4\t007\td\n5\t1.0\te\n6\t"2"\tf\n7\ttrue\tg\n8\t 1\t"h\ti"\n');
    assert.deepEqual([...readRows({ file, text_column: 'text', label_column: 'label' })].map(row => row.label), [0, 12, -3, 7, '1.0', 2, 'true', ' 1']);
    assert.equal([...readRows({ file, text_column: 'text', label_column: null })].at(-1)!.text, 'h\ti');
  });
});

test('columns of a spreadsheet that have no name, several of them, are passed over', () => inTemporaryFolder(folder => {
  const file = join(folder, 'a.csv');
  writeFileSync(file, 'v1,v2,,,\nham,see you,,,\nspam,"win, now",more,,\n');
  assert.deepEqual([...readRows({ file, text_column: 'v2', label_column: 'v1' })].map(({ text, label }) => [text, label]), [['see you', 'ham'], ['win, now', 'spam']]);
}));

test('a quote that swallows the rest of a large file is reported at its line, not at the end', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'a.csv');
    writeFileSync(file, `text,label\na,1\n"open,1\n${`${'x'.repeat(99)},1\n`.repeat(300_000)}`);
    assert.throws(() => [...readRows({ file, text_column: 'text', label_column: 'label' })], (error: LabError) => error.report.where === 'line 3' && /not closed in 16 MiB/.test(error.message));
  });
});
