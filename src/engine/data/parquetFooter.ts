/** The end of a Parquet file: its schema, where its columns lie, and what Hugging Face's `datasets` writes about them. */
import { parquetMetadata, parquetSchema, type FileMetaData, type SchemaTree } from 'hyparquet';
import { LabError } from '../errors';
import { closeFile, openFile, readInto } from '../files';
import { sizeOf } from './lines';

/** Bytes at the end: the length of the metadata and the mark. */
const TAIL = 8;
const MARK = 'PAR1';

export interface Footer {
  metadata: FileMetaData;
  /** Its children are the columns. */
  schema: SchemaTree;
  /** Where the data ends. */
  footer_begin: number;
}

/** The footer of an open file. Errors: `dataset.not-parquet`, `dataset.damaged`. */
export function readFooter(fd: number, size: number, file: string): Footer {
  const bytes = (begin: number, length: number): Uint8Array => {
    const buffer = new Uint8Array(length);
    if (readInto(fd, buffer, begin, file) < length) throw damaged(file, 'became shorter while it was read');
    return buffer;
  };
  const first = size >= 4 ? Buffer.from(bytes(0, 4)).toString('latin1') : '';
  if (first === 'PARE') throw new LabError({ code: 'dataset.not-parquet', file, cause: 'the file is encrypted', action: 'write it without encryption' });
  if (first !== MARK) throw new LabError({ code: 'dataset.not-parquet', file, cause: 'is not a Parquet file', action: 'check the file; .jsonl, .csv and .tsv are read too, under their own names' });
  const tail = size >= 4 + TAIL ? Buffer.from(bytes(size - TAIL, TAIL)) : null;
  if (tail?.subarray(4).toString('latin1') !== MARK) throw damaged(file, 'has no end: it was cut off');
  const length = tail.readUInt32LE(0);
  const footer_begin = size - TAIL - length;
  if (footer_begin < 4) throw damaged(file, `says that its metadata has ${length} bytes, more than the file`);
  const footer = bytes(footer_begin, length + TAIL);
  try {
    const metadata = parquetMetadata(footer, { geoparquet: false });
    const rows = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0);
    if (rows !== Number(metadata.num_rows)) throw new Error(`it says ${metadata.num_rows} rows, its row groups hold ${rows}`);
    const schema = parquetSchema(metadata);
    if (!schema.children.every(({ element }) => typeof element.name === 'string')) throw new Error('a column has no name');
    return { metadata, schema, footer_begin };
  } catch (error) { throw damaged(file, `has metadata that cannot be read: ${(error as Error).message}`, undefined, error); }
}

export const damaged = (file: string, cause: string, where?: string, error?: unknown): LabError =>
  new LabError({ code: 'dataset.damaged', file, where, cause, action: 'copy or download the file again, or write it anew' }, { cause: error });

/** Names of the columns, in their order. Errors: as `readFooter`. */
export const parquetColumns = (file: string): string[] => footerOf(file).schema.children.map(({ element }) => element.name);

function footerOf(file: string): Footer {
  const size = sizeOf(file);
  const fd = openFile(file, 'r');
  try { return readFooter(fd, size, file); } finally { closeFile(fd, file); }
}

/**
 * Names of the classes that a column numbers, as `datasets` writes a ClassLabel or a list of them; null if it says none.
 * Errors: as `readFooter`.
 */
export function parquetClassNames(file: string, column: string): string[] | null {
  const written = footerOf(file).metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value;
  type Feature = { _type?: unknown; names?: unknown; feature?: Feature } | Feature[];
  let feature: Feature | undefined;
  try { feature = (JSON.parse(written ?? '{}') as { info?: { features?: Record<string, Feature> } } | null)?.info?.features?.[column]; } catch { return null; }
  const one = Array.isArray(feature) ? feature[0] : feature;
  const label = one && !Array.isArray(one) && one.feature && !Array.isArray(one.feature) ? one.feature : one;
  if (!label || Array.isArray(label) || label._type !== 'ClassLabel' || !Array.isArray(label.names)) return null;
  return label.names.every((name): name is string => typeof name === 'string' && name !== '') ? label.names : null;
}
