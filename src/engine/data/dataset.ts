/** Rows of a data file: a text and its label, streamed in bounded memory. */
import { extname } from 'node:path';
import { nearest } from '../../protocol/experiment';
import { LabError } from '../errors';
import { readCsv } from './csv';
import { readLines } from './lines';

export interface Row {
  text: string;
  /** A name or a class number; null where no `label_column` is asked for. */
  label: string | number | null;
  /** Line on which the row starts in its file, counted from 1. */
  line: number;
}

export interface RowOptions {
  file: string;
  text_column: string;
  label_column: string | null;
  /** Gets the share of the file that was read, 0 to 1. */
  onRead?: (fraction: number) => void;
}

/**
 * The rows of a `.jsonl`, `.csv` or `.tsv` file in their order.
 * Errors, each with file and line: `dataset.bad-line`, `dataset.missing-column`, `dataset.wrong-type`, `dataset.line-too-long`,
 * `dataset.not-utf8`; for the whole file: `dataset.empty`, `dataset.no-file`, `dataset.format`, and those of the disk.
 */
export function* readRows(options: RowOptions): Generator<Row> {
  const { file } = options;
  const rows = rowsOf(options);
  let empty = true;
  for (const row of rows) {
    empty = false;
    yield row;
  }
  if (empty) throw new LabError({ code: 'dataset.empty', file, cause: 'the file holds no examples', action: 'add examples, or name another file' });
}

function rowsOf(options: RowOptions): Generator<Row> {
  switch (extname(options.file).toLowerCase()) {
    case '.jsonl': return jsonRows(options);
    case '.csv': return csvRows(options, ',');
    case '.tsv': return csvRows(options, '\t');
    default: throw new LabError({
      code: 'dataset.format', file: options.file, cause: `files of the type "${extname(options.file)}" are not read`,
      action: 'use .jsonl (one JSON object per line), .csv or .tsv (with a header line)',
    });
  }
}

function* jsonRows({ file, text_column, label_column, onRead }: RowOptions): Generator<Row> {
  for (const { text: json, line } of readLines(file, onRead)) {
    if (json.trim() === '') continue;
    const at: Place = { file, line };
    const object = parseObject(json, at);
    yield {
      text: textOf(valueOf(object, text_column, at), text_column, at),
      label: label_column === null ? null : labelOf(valueOf(object, label_column, at), label_column, at),
      line,
    };
  }
}

function* csvRows({ file, text_column, label_column, onRead }: RowOptions, delimiter: ',' | '\t'): Generator<Row> {
  let header: { size: number; text: number; label: number } | undefined;
  for (const { fields, line } of readCsv(file, delimiter, onRead)) {
    const at: Place = { file, line };
    if (!header) {
      const repeated = fields.find((name, i) => fields.indexOf(name) !== i);
      if (repeated !== undefined) throw problem('dataset.bad-line', at, `the header names the column "${repeated}" twice`, 'give every column its own name');
      if (fields.some(name => name.includes('\r'))) throw problem('dataset.bad-line', at, 'the lines end with a carriage return alone', 'save the file with line feeds');
      header = { size: fields.length, text: columnOf(fields, text_column, at), label: label_column === null ? -1 : columnOf(fields, label_column, at) };
      continue;
    }
    if (fields.length !== header.size) {
      throw problem('dataset.bad-line', at, `has ${fields.length} ${fields.length === 1 ? 'field' : 'fields'}, the header has ${header.size}`, `put a text that holds a ${delimiter === ',' ? 'comma' : 'tab'} or a line end in quotes`);
    }
    const label = header.label < 0 ? null : fields[header.label];
    yield {
      text: textOf(fields[header.text], text_column, at),
      // csv has no types: what looks like a whole number is one.
      label: label === null ? null : labelOf(/^-?\d+$/.test(label) ? Number(label) : label, label_column!, at),
      line,
    };
  }
}

interface Place { file: string; line: number }

const problem = (code: string, { file, line }: Place, cause: string, action: string): LabError => new LabError({ code, file, where: `line ${line}`, cause, action });

function parseObject(json: string, at: Place): Record<string, unknown> {
  let value: unknown;
  try { value = JSON.parse(json); } catch (error) {
    const array = at.line === 1 && json.trimStart().startsWith('[');
    throw problem('dataset.bad-line', at, `is not valid JSON: ${(error as Error).message}`, array ? 'write one JSON object per line instead of one array' : 'write one JSON object per line');
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw problem('dataset.bad-line', at, `holds ${describe(value)}, not a JSON object`, 'write one JSON object per line, e.g. {"text": "…", "label": "…"}');
}

function valueOf(object: Record<string, unknown>, column: string, at: Place): unknown {
  if (Object.hasOwn(object, column)) return object[column];
  throw missingColumn(Object.keys(object), column, at);
}

function columnOf(header: string[], column: string, at: Place): number {
  const index = header.indexOf(column);
  if (index < 0) throw missingColumn(header, column, at);
  return index;
}

function missingColumn(columns: string[], column: string, at: Place): LabError {
  const near = nearest(column, columns);
  const action = near ? `did you mean "${clip(near)}"?`
    : columns.length === 1 && columns[0].includes(';') ? 'separate the columns with commas instead of semicolons'
      : 'set dataset.text_column and dataset.label_column to columns of this file';
  const some = columns.slice(0, 10).map(name => `"${clip(name)}"`).join(', ');
  const there = columns.length ? `the columns are ${some}${columns.length > 10 ? ', …' : ''}` : 'there are no columns';
  return problem('dataset.missing-column', at, `there is no column "${column}"; ${there}`, action);
}

function textOf(value: unknown, column: string, at: Place): string {
  if (typeof value !== 'string') throw problem('dataset.wrong-type', at, `the text in "${column}" is ${describe(value)}`, 'give a text in quotes');
  // Only an escape in JSON can make one; no tokenizer takes it.
  if (/\p{Surrogate}/u.test(value)) throw problem('dataset.bad-line', at, `the text in "${column}" holds half of a surrogate pair`, 'write the whole character');
  return value;
}

function labelOf(value: unknown, column: string, at: Place): string | number {
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'string' && value !== '') return value;
  // Adding 0 turns -0 into 0.
  if (Number.isSafeInteger(value)) return (value as number) + 0;
  throw problem('dataset.wrong-type', at, `the label in "${column}" is ${value === '' ? 'empty' : describe(value)}`, 'give the name of a class or a class number');
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : clip(JSON.stringify(value));
}

const clip = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}…` : text);
