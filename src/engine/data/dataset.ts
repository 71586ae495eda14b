/** Rows of a data file: texts and labels, streamed in bounded memory. */
import { extname } from 'node:path';
import { nearest, type ProblemType } from '../../protocol/experiment';
import { LabError } from '../errors';
import { lookUp } from '../files';
import { readCsv } from './csv';
import { readLines } from './lines';
import { readParquet } from './parquet';
import { parquetColumns } from './parquetFooter';

export interface Row {
  text: string;
  /** The second text, where a `text_pair_column` is asked for. */
  pair?: string;
  /** A name or a class number, a value with `regression`; null where no `label_column` is asked for. */
  label: string | number | null;
  /** All classes of the row, with `multi_label_classification`; `label` is null then. */
  labels?: (string | number)[];
  /** Line on which the row starts in its file, or number of the row in a Parquet file, counted from 1. */
  line: number;
}

/** How the labels of a data file are written: names or numbers of classes, or lists of a 0 or 1 for each class. */
export type LabelForm = 'names' | 'numbers' | 'multi-hot';

export interface RowOptions {
  file: string;
  text_column: string;
  text_pair_column?: string | null;
  label_column: string | null;
  /** What is read as a label; by default one class. */
  problem_type?: ProblemType;
  /** With `names` a whole number of a csv file is a text as others are. */
  form?: LabelForm;
  /** What names the columns, for messages; by default the keys of an experiment. */
  keys?: string;
  /** Gets the share of the file that was read, 0 to 1. */
  onRead?: (fraction: number) => void;
}

/** The rows of a classifier's data file in their order. Errors: those of `readRecords`. */
export function* readRows({ file, text_column, text_pair_column = null, label_column, problem_type = 'single_label_classification', form, keys, onRead }: RowOptions): Generator<Row> {
  const columns: Columns = { text: textColumn(text_column) };
  if (text_pair_column !== null) columns.pair = textColumn(text_pair_column);
  if (label_column !== null) columns[problem_type === 'multi_label_classification' ? 'labels' : 'label'] = { name: label_column, ...LABELS[problem_type], ...(form === 'names' ? { fromCsv: undefined } : {}) };
  const named = keys ?? `dataset.text_column${text_pair_column === null ? '' : ', text_pair_column'} and dataset.label_column`;
  for (const { values, line } of readRecords({ file, columns, keys: named, onRead })) yield { label: null, ...values as unknown as { text: string }, line };
}

/** How a label is read. csv has no types: what looks like a number is one. */
const LABELS: Record<ProblemType, Omit<Column<unknown>, 'name'>> = {
  single_label_classification: { read: labelOf, fromCsv: field => (/^-?\d+$/.test(field) ? Number(field) : field) },
  multi_label_classification: { read: labelsOf },
  regression: { read: valueOf, fromCsv: field => (field.trim() === '' ? field : Number.isNaN(Number(field)) ? field : Number(field)) },
};

/** One column that is read: its name in the file, and how a value is checked. */
export interface Column<T> {
  name: string;
  read(value: unknown, column: string, at: Place): T;
  /** What a field of a csv file stands for; as it is by default. */
  fromCsv?(field: string): unknown;
}

export const textColumn = (name: string): Column<string> => ({ name, read: textOf });

type Columns = Record<string, Column<unknown>>;
type ValuesOf<C extends Columns> = { [K in keyof C]: C[K] extends Column<infer T> ? T : never };

export interface RecordOptions<C extends Columns> {
  file: string;
  columns: C;
  /** The keys of the experiment that name the columns, for messages. */
  keys: string;
  onRead?: (fraction: number) => void;
}

/**
 * The chosen columns of a `.jsonl`, `.csv`, `.tsv` or `.parquet` file, row by row in their order.
 * Errors, each with file and line (or row): `dataset.bad-line`, `dataset.missing-column`, `dataset.wrong-type`, `dataset.line-too-long`,
 * `dataset.not-utf8`; for the whole file: `dataset.empty`, `dataset.no-file`, `dataset.format`, those of `readParquet`, and those of the disk.
 */
export function* readRecords<C extends Columns>(options: RecordOptions<C>): Generator<{ values: ValuesOf<C>; line: number }> {
  const { file } = options;
  let empty = true;
  for (const { values, line } of recordsOf(options)) {
    empty = false;
    yield { values: values as ValuesOf<C>, line };
  }
  if (empty) throw new LabError({ code: 'dataset.empty', file, cause: 'the file holds no examples', action: 'add examples, or name another file' });
}

/** The first `most` rows, or all; the file is then read no further. */
export function* firstOf<T>(rows: Iterable<T>, most = Infinity): Generator<T> {
  let left = most;
  for (const row of rows) {
    yield row;
    if (--left <= 0) return;
  }
}

interface AnyRecord { values: Record<string, unknown>; line: number }

function recordsOf(options: RecordOptions<Columns>): Generator<AnyRecord> {
  switch (extname(options.file).toLowerCase()) {
    case '.jsonl': return jsonRows(options);
    case '.csv': return csvRows(options, ',');
    case '.tsv': return csvRows(options, '\t');
    case '.parquet': return parquetRows(options);
    default: throw new LabError({
      code: 'dataset.format', file: options.file, cause: lookUp(options.file)?.isDirectory ? 'it is a folder, not a data file' : `files of the type "${extname(options.file)}" are not read`,
      action: 'use .jsonl (one JSON object per line), .csv or .tsv (with a header line), or .parquet',
    });
  }
}

function* jsonRows({ file, columns, keys, onRead }: RecordOptions<Columns>): Generator<AnyRecord> {
  for (const { text: json, line } of readLines(file, onRead)) {
    if (json.trim() === '') continue;
    const at: Place = { file, line };
    const object = parseObject(json, at);
    const values = Object.entries(columns).map(([key, { name, read }]) => {
      if (!Object.hasOwn(object, name)) throw missingColumn(Object.keys(object), name, keys, at);
      return [key, read(object[name], name, at)];
    });
    yield { values: Object.fromEntries(values), line };
  }
}

function* csvRows({ file, columns, keys, onRead }: RecordOptions<Columns>, delimiter: ',' | '\t'): Generator<AnyRecord> {
  let header: { size: number; places: Map<string, number> } | undefined;
  for (const { fields, line } of readCsv(file, delimiter, onRead)) {
    const at: Place = { file, line };
    if (!header) {
      // Spreadsheets leave several columns without a name behind.
      const repeated = Object.values(columns).find(({ name }) => fields.indexOf(name) !== fields.lastIndexOf(name))?.name;
      if (repeated !== undefined) throw problem('dataset.bad-line', at, `the header names the column "${repeated}" twice`, 'give every column its own name');
      if (fields.some(name => name.includes('\r'))) throw problem('dataset.bad-line', at, 'the lines end with a carriage return alone', 'save the file with line feeds');
      header = { size: fields.length, places: new Map(Object.values(columns).map(({ name }) => [name, columnOf(fields, name, keys, at)])) };
      continue;
    }
    if (fields.length !== header.size) {
      throw problem('dataset.bad-line', at, `has ${fields.length} ${fields.length === 1 ? 'field' : 'fields'}, the header has ${header.size}`, `put a text that holds a ${delimiter === ',' ? 'comma' : 'tab'} or a line end in quotes`);
    }
    const { places } = header;
    const values = Object.entries(columns).map(([key, { name, read, fromCsv }]) => {
      const field = fields[places.get(name)!];
      return [key, read(fromCsv ? fromCsv(field) : field, name, at)];
    });
    yield { values: Object.fromEntries(values), line };
  }
}

function* parquetRows({ file, columns, keys, onRead }: RecordOptions<Columns>): Generator<AnyRecord> {
  const names = parquetColumns(file);
  for (const { name } of Object.values(columns)) {
    if (!names.includes(name)) throw missingColumn(names, name, keys, { file });
    if (names.indexOf(name) !== names.lastIndexOf(name)) throw new LabError({ code: 'dataset.bad-line', file, cause: `has two columns of the name "${name}"`, action: 'give every column its own name' });
  }
  for (const { values, row } of readParquet(file, Object.values(columns).map(({ name }) => name), onRead)) {
    const at: Place = { file, line: row };
    yield { values: Object.fromEntries(Object.entries(columns).map(([key, { name, read }]) => [key, read(values[name], name, at)])), line: row };
  }
}

/** A line of a text file, or a row of a Parquet file. */
export interface Place { file: string; line: number }

/** Where a text stands: in a data file, or among others that were given by themselves. */
export type TextPlace = Place | { where: string | undefined };

/** The place in words. */
export const placeIn = ({ file, line }: Place): string => `${isParquet(file) ? 'row' : 'line'} ${line}`;

export const isParquet = (file: string): boolean => extname(file).toLowerCase() === '.parquet';

export const problem = (code: string, at: TextPlace, cause: string, action: string): LabError => new LabError({ code, ...('line' in at ? { file: at.file, where: placeIn(at) } : at), cause, action });

function parseObject(json: string, at: Place): Record<string, unknown> {
  let value: unknown;
  try { value = JSON.parse(json); } catch (error) {
    const array = at.line === 1 && json.trimStart().startsWith('[');
    throw problem('dataset.bad-line', at, `is not valid JSON: ${(error as Error).message}`, array ? 'write one JSON object per line instead of one array' : 'write one JSON object per line');
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw problem('dataset.bad-line', at, `holds ${describe(value)}, not a JSON object`, 'write one JSON object per line, e.g. {"text": "…", "label": "…"}');
}

function columnOf(header: string[], column: string, keys: string, at: Place): number {
  const index = header.indexOf(column);
  if (index < 0) throw missingColumn(header, column, keys, at);
  return index;
}

function missingColumn(columns: string[], column: string, keys: string, at: Place | { file: string }): LabError {
  const near = nearest(column, columns);
  // A header in one piece was separated by something else than the file's name says.
  const [only, ending] = [columns.length === 1 ? columns[0] : '', extname(at.file).toLowerCase()];
  const action = near ? `did you mean "${clip(near)}"?`
    : only.includes(';') ? 'separate the columns with commas instead of semicolons'
      : ending === '.csv' && only.includes('\t') ? 'the columns are separated by tabs: give the file the ending .tsv'
        : ending === '.tsv' && only.includes(',') ? 'the columns are separated by commas: give the file the ending .csv'
          : `set ${keys} to columns of this file`;
  const some = columns.slice(0, 10).map(name => `"${clip(name)}"`).join(', ');
  const there = columns.length ? `the columns are ${some}${columns.length > 10 ? ', …' : ''}` : 'there are no columns';
  return new LabError({ code: 'dataset.missing-column', file: at.file, where: 'line' in at ? placeIn(at) : undefined, cause: `there is no column "${column}"; ${there}`, action });
}

export function textOf(value: unknown, column: string, at: Place): string {
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
  throw problem('dataset.wrong-type', at, `the label in "${column}" is ${value === '' ? 'empty' : describe(value)}`, Array.isArray(value) ? 'give the name of a class or a class number, or set problem_type to "multi_label_classification"' : typeof value === 'number' ? 'give a class number, or set problem_type to "regression"' : 'give the name of a class or a class number');
}

function labelsOf(value: unknown, column: string, at: Place): (string | number)[] {
  if (!Array.isArray(value)) {
    throw problem('dataset.wrong-type', at, `the labels in "${column}" are ${describe(value)}, not a list`, 'give a list of class names or class numbers, in a .jsonl or .parquet file, or set problem_type to what the labels are');
  }
  return value.map(label => labelOf(label, column, at));
}

function valueOf(value: unknown, column: string, at: Place): number {
  // float32 holds what is computed with.
  if (typeof value === 'number' && Number.isFinite(Math.fround(value))) return value;
  throw problem('dataset.wrong-type', at, `the value in "${column}" is ${value === '' ? 'empty' : describe(value)}`, 'give a number, or set problem_type to what the labels are');
}

export function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return 'a list';
  // JSON would write null for these; Parquet holds them.
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return typeof value === 'object' && value !== null ? 'an object' : clip(JSON.stringify(value));
}

const clip = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}…` : text);
