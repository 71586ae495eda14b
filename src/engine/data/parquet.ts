/**
 * Rows of a Parquet file (https://parquet.apache.org/docs/file-format/), one row group in memory at a time. hyparquet decodes
 * the pages; its parts are called one by one here, because its own reader works with promises and the engine reads synchronously.
 */
import type { ColumnMetaData, DecodedArray, FileMetaData, SchemaTree } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { assembleNested } from 'hyparquet/src/assemble.js';
import { DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { getTreePath } from 'hyparquet/src/schema.js';
import { LabError } from '../errors';
import { closeFile, openFile, readInto } from '../files';
import { sizeOf } from './lines';
import { damaged, readFooter } from './parquetFooter';
import { readPages } from './parquetPages';

export interface ParquetRow {
  /** The wanted columns by name: texts, numbers, booleans, null, lists and objects of them. */
  values: Record<string, unknown>;
  /** Counted from 1. */
  row: number;
}

/** Bytes of all wanted columns of one row group together, decompressed. Beyond it the texts of a group would fill the memory. */
const LARGEST_GROUP = 1 << 30;
/** Rows between two reports of progress. */
const REPORT_EVERY = 1000;

/** Stands for a text that is not UTF-8 until its row is known. */
const NOT_TEXT = Symbol('not UTF-8');
// A mark at the beginning of a value belongs to it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const stringFromBytes = (bytes: Uint8Array): unknown => {
  try { return bytes && utf8.decode(bytes); } catch { return NOT_TEXT; }
};
const parsers = { ...DEFAULT_PARSERS, stringFromBytes: stringFromBytes as (bytes: Uint8Array) => string, jsonFromBytes: stringFromBytes };

/**
 * The wanted columns, row by row. A name that the file lacks is left out of `values`, whose keys say which there are: `columns` of the schema.
 * Errors: `dataset.no-file`, `dataset.not-parquet`, `dataset.damaged`, `dataset.codec`, `dataset.row-group-too-large`,
 * `dataset.not-utf8`, and those of the disk.
 */
export function* readParquet(file: string, wanted: readonly string[], onRead?: (fraction: number) => void): Generator<ParquetRow> {
  const size = sizeOf(file);
  const fd = openFile(file, 'r');
  try {
    const { metadata, schema, footer_begin } = readFooter(fd, size, file);
    const columns = schema.children.filter(({ element }) => wanted.includes(element.name));
    const total = Number(metadata.num_rows);
    let row = 0;
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows);
      // Its columns may lie nowhere.
      if (rows === 0) continue;
      const at = { file, fd, footer_begin, first: row, rows };
      checkSize(group, columns.map(({ element }) => element.name), at);
      const values = columns.map(column => columnValues(schema, column, group.columns, at));
      for (let i = 0; i < rows; i++) {
        row += 1;
        yield { values: Object.fromEntries(columns.map(({ element: { name } }, c) => [name, plain(values[c][i], { file, row, name })])), row };
        if (row % REPORT_EVERY === 0) onRead?.(Math.min(1, row / total));
      }
    }
    onRead?.(1);
  } finally {
    closeFile(fd, file);
  }
}

/** Where a row group lies: `rows` rows from row `first` on, its bytes before `footer_begin`. */
interface Group { file: string; fd: number; footer_begin: number; first: number; rows: number }

/** Error `dataset.row-group-too-large` for a row group of which more would be in memory at a time than `LARGEST_GROUP`. */
function checkSize({ columns }: FileMetaData['row_groups'][number], names: readonly string[], { file, first, rows }: Group): void {
  const sizes = columns.map(({ meta_data: chunk }) => (chunk && names.includes(chunk.path_in_schema[0]) ? Number(chunk.total_uncompressed_size) : 0));
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (bytes <= LARGEST_GROUP) return;
  throw new LabError({
    code: 'dataset.row-group-too-large', file, where: `rows ${first + 1} to ${first + rows}`, cause: `one row group holds ${Math.ceil(bytes / 2 ** 20)} MiB in ${names.map(name => `"${name}"`).join(', ')}; at most ${LARGEST_GROUP >> 20} are read at a time`,
    action: 'write the file with smaller row groups (row_group_size of pyarrow, batch_size of datasets)',
  });
}

/** All values of a column in a row group, [rows]. A list or struct is stored as one chunk for each of its leaves. */
function columnValues(schema: SchemaTree, column: SchemaTree, chunks: FileMetaData['row_groups'][number]['columns'], group: Group): DecodedArray {
  const { name } = column.element;
  const where = `rows ${group.first + 1} to ${group.first + group.rows}, column "${name}"`;
  try {
    const own = chunks.map(({ meta_data }) => meta_data!).filter(chunk => chunk.path_in_schema[0] === name);
    const foreign = own.find(({ codec }) => codec !== 'UNCOMPRESSED' && !Object.hasOwn(compressors, String(codec)));
    if (foreign) throw new LabError({ code: 'dataset.codec', file: group.file, where, cause: `is compressed with ${foreign.codec ?? 'an unknown codec'}, which is not read`, action: 'write the file with snappy, zstd, gzip, brotli or lz4' });
    const leaves = new Map(own.map(chunk => [chunk.path_in_schema.join('.'), leafValues(schema, chunk, group)]));
    if (column.children.length) assembleNested(leaves, column, parsers);
    const values = leaves.get(column.path.join('.'));
    if (values?.length !== group.rows) throw new Error(`it holds ${values?.length ?? 'no'} values`);
    return values;
  } catch (error) { throw error instanceof LabError ? error : damaged(group.file, `cannot be decoded: ${(error as Error).message}`, where, error); }
}

function leafValues(schema: SchemaTree, chunk: ColumnMetaData, { file, fd, footer_begin }: Group): DecodedArray {
  const begin = Number(chunk.dictionary_page_offset || chunk.data_page_offset);
  const length = Number(chunk.total_compressed_size);
  if (!(begin >= 4 && length >= 0 && begin + length <= footer_begin)) throw new Error(`its bytes ${begin} to ${begin + length} lie outside of the data`);
  const bytes = new Uint8Array(length);
  if (readInto(fd, bytes, begin, file) < length) throw new Error('the file ends within it');
  const schemaPath = getTreePath(schema, chunk.path_in_schema);
  const decoder = { pathInSchema: chunk.path_in_schema, element: schemaPath.at(-1)!.element, schemaPath, type: chunk.type, codec: chunk.codec, compressors, parsers };
  return readPages(bytes, Number(chunk.num_values), decoder);
}

/** A value as JSON would give it: whole numbers of 64 bits as numbers (those above 2^53 are refused as labels), nothing as null. */
function plain(value: unknown, at: { file: string; row: number; name: string }): unknown {
  switch (typeof value) {
    case 'bigint': return Number(value);
    case 'undefined': return null;
    case 'symbol': throw new LabError({ code: 'dataset.not-utf8', file: at.file, where: `row ${at.row}`, cause: `the column "${at.name}" holds bytes that are not UTF-8 text`, action: 'write the column as text' });
    case 'object':
      if (value === null || value instanceof Date) return value;
      if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as unknown[], one => plain(one, at));
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one, at)]));
    default: return value;
  }
}
