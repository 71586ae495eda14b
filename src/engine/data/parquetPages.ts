/**
 * The pages of one column chunk of a Parquet file (https://parquet.apache.org/docs/file-format/data-pages/), decoded with
 * hyparquet's parts. Its own loop believes every count that a page states: a single wrong byte could then ask for more memory
 * than there is, so counts and runs are checked here first.
 */
import type { ColumnDecoder, DecodedArray, PageHeader } from 'hyparquet/src/types.js';
import { assembleLists } from 'hyparquet/src/assemble.js';
import { parquetHeader } from 'hyparquet/src/column.js';
import { convert, convertWithDictionary } from 'hyparquet/src/convert.js';
import { decompressPage, readDataPage, readDataPageV2 } from 'hyparquet/src/datapage.js';
import { readPlain } from 'hyparquet/src/plain.js';
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from 'hyparquet/src/schema.js';
import { readVarInt } from 'hyparquet/src/thrift.js';
import { concat } from 'hyparquet/src/utils.js';

/** Writers fill the last group of a bit-packed run up; no more than this many values too many are believed. */
const PADDING = 1024;
/** Of one page, decompressed. Writers aim at 1 MiB. */
const LARGEST_PAGE = 1 << 30;

/** The values of a chunk that states `num_values` of them (with those of lists one by one): one for each row. Errors: as hyparquet's, and those of the checks. */
export function readPages(bytes: Uint8Array, num_values: number, decoder: ColumnDecoder): DecodedArray {
  const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
  let dictionary: DecodedArray | undefined;
  let left = num_values;
  /** Pages of a column of lists go on in one array, because a row may begin in one page and end in the next. */
  const rows: DecodedArray[number][] = [];
  while (reader.offset < bytes.length && left > 0) {
    const header = parquetHeader(reader);
    const { type, compressed_page_size: size } = header;
    const begin = reader.offset;
    reader.offset += size;
    if (!(size >= 0 && reader.offset <= bytes.length)) throw new Error('a page is longer than its column');
    if (!(header.uncompressed_page_size >= 0 && header.uncompressed_page_size <= LARGEST_PAGE)) throw new Error(`a page states ${header.uncompressed_page_size} bytes`);
    const page = bytes.subarray(begin, reader.offset);
    if (type === 'DICTIONARY_PAGE') dictionary = dictionaryOf(page, header, decoder);
    else if (type === 'DATA_PAGE' || type === 'DATA_PAGE_V2') left -= addRows(rows, page, header, left, dictionary, decoder);
    else if (type !== 'INDEX_PAGE') throw new Error(`there is a page of the type ${type ?? 'unknown'}`);
  }
  if (left !== 0) throw new Error(`it states ${num_values} values, its pages hold ${num_values - left}`);
  return rows;
}

function dictionaryOf(compressed: Uint8Array, { dictionary_page_header: header, uncompressed_page_size }: PageHeader, decoder: ColumnDecoder): DecodedArray {
  const page = decompressPage(compressed, uncompressed_page_size, decoder.codec, decoder.compressors);
  const count = header?.num_values ?? -1;
  // Only booleans take less than a byte, and they have no dictionary.
  if (!(count >= 0 && count <= page.length)) throw new Error(`a dictionary states ${count} entries`);
  return convert(readPlain({ view: viewOf(page), offset: 0 }, decoder.type, count, decoder.element.type_length), decoder);
}

/** Appends the rows of a page. Returns how many values it holds. */
function addRows(rows: DecodedArray[number][], compressed: Uint8Array, header: PageHeader, left: number, dictionary: DecodedArray | undefined, decoder: ColumnDecoder): number {
  const own = header.type === 'DATA_PAGE' ? header.data_page_header : header.data_page_header_v2;
  if (!own || !(own.num_values >= 0 && own.num_values <= left)) throw new Error(`a page states ${own?.num_values} values, ${left} are left`);
  const { encoding, num_values } = own;
  const decoded = header.type === 'DATA_PAGE' ? firstVersion(compressed, header, decoder) : secondVersion(compressed, header, decoder);
  const { definitionLevels, repetitionLevels, dataPage } = decoded;
  const values = convertWithDictionary(dataPage, dictionary, encoding, decoder);
  if (decoder.schemaPath.length > 2) assembleLists(rows, definitionLevels, repetitionLevels, values, decoder.schemaPath);
  else concat(rows, assembleLists([], definitionLevels, repetitionLevels, values, decoder.schemaPath));
  return num_values;
}

/** Version 1: levels with their lengths before them and values are compressed together. */
function firstVersion(compressed: Uint8Array, header: PageHeader, decoder: ColumnDecoder): ReturnType<typeof readDataPage> {
  const own = header.data_page_header!;
  const page = decompressPage(compressed, header.uncompressed_page_size, decoder.codec, decoder.compressors);
  const view = viewOf(page);
  let at = 0;
  const lengthFirst = (width: number): void => {
    const end = at + 4 + view.getUint32(at, true);
    checkRuns(view, at + 4, end, width, own.num_values);
    at = end;
  };
  for (const most of levels(decoder)) if (most) lengthFirst(widthOf(most));
  checkValues(view, at, own, decoder);
  return readDataPage(page, own, decoder);
}

/** Version 2: the levels stand before the values and are not compressed. */
function secondVersion(bytes: Uint8Array, header: PageHeader, decoder: ColumnDecoder): ReturnType<typeof readDataPageV2> {
  const own = header.data_page_header_v2!;
  const [repetition, definition] = [own.repetition_levels_byte_length, own.definition_levels_byte_length];
  if (!(repetition >= 0 && definition >= 0 && own.num_nulls >= 0 && own.num_nulls <= own.num_values && repetition + definition <= bytes.length)) throw new Error('the levels of a page do not fit into it');
  const [most_repetition, most_definition] = levels(decoder);
  if (most_repetition) checkRuns(viewOf(bytes), 0, repetition, widthOf(most_repetition), own.num_values);
  if (most_definition) checkRuns(viewOf(bytes), repetition, repetition + definition, widthOf(most_definition), own.num_values);
  const rest = bytes.subarray(repetition + definition);
  const page = own.is_compressed === false ? rest : decompressPage(rest, header.uncompressed_page_size - repetition - definition, decoder.codec, decoder.compressors);
  checkValues(viewOf(page), 0, own, decoder);
  const whole = new Uint8Array(repetition + definition + page.length);
  whole.set(bytes.subarray(0, repetition + definition));
  whole.set(page, repetition + definition);
  return readDataPageV2(whole, { ...header, uncompressed_page_size: whole.length, data_page_header_v2: { ...own, is_compressed: false } }, decoder);
}

/** Largest repetition and definition level. */
const levels = ({ schemaPath }: ColumnDecoder): [number, number] => [getMaxRepetitionLevel(schemaPath), getMaxDefinitionLevel(schemaPath)];
const widthOf = (most: number): number => 32 - Math.clz32(most);
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The runs of values that are stored as runs: numbers of dictionary entries, and booleans. */
function checkValues(view: DataView, at: number, { encoding, num_values }: { encoding: string; num_values: number }, { type }: ColumnDecoder): void {
  if (encoding === 'RLE' && type === 'BOOLEAN' && view.byteLength > at) checkRuns(view, at + 4, view.byteLength, 1, num_values);
  if (!encoding?.endsWith('_DICTIONARY') || view.byteLength <= at) return;
  const width = view.getUint8(at);
  if (width > 32) throw new Error(`entries of a dictionary are numbered with ${width} bits`);
  if (width > 0) checkRuns(view, at + 1, view.byteLength, width, num_values);
}

/** Runs of equal or bit-packed values in the bytes [at, end): together no more values than there are. */
function checkRuns(view: DataView, at: number, end: number, width: number, count: number): void {
  if (end > view.byteLength) throw new Error('runs of values end behind their page');
  const reader = { view, offset: at };
  for (let seen = 0; seen < count && reader.offset < end;) {
    const header = readVarInt(reader);
    const packed = (header & 1) === 1;
    const values = packed ? 8 * (header >>> 1) : header >>> 1;
    if (values > count - seen + (packed ? PADDING : 0)) throw new Error(`a run states ${values} values, ${count - seen} are left`);
    reader.offset += packed ? (header >>> 1) * width : (width + 7) >> 3;
    seen += values;
  }
}
