/** Lines of a UTF-8 file of any size, read in chunks: what `jsonl` and `csv` are made of. */
import { LabError } from '../errors';
import { closeFile, lookUp, openFile, readInto } from '../files';

export interface Line {
  /** Without the line feed; a carriage return before it stays, because it belongs to the value inside csv quotes. */
  text: string;
  /** Counted from 1. */
  line: number;
}

const CHUNK = 1 << 20;
/** Longest line and longest csv record, in bytes. One text of this size is a mistake, such as a file without line ends. */
export const LONGEST_LINE = 16 << 20;

const LINE_FEED = 10;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/**
 * Reads a file line by line with one chunk and one line in memory. `onRead` gets the share of the file that was read, 0 to 1.
 * Errors: `dataset.no-file`, `dataset.line-too-long`, `dataset.not-utf8`, and those of the disk.
 */
export function* readLines(file: string, onRead?: (fraction: number) => void): Generator<Line> {
  const size = sizeOf(file);
  // The mark is taken off once below; the decoder would take one off every line.
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let line = 0;
  const decode = (bytes: Uint8Array): Line => {
    line += 1;
    if (bytes.length > LONGEST_LINE) throw tooLong(file, line);
    if (line === 1) bytes = withoutMark(bytes, file);
    try { return { text: decoder.decode(bytes), line }; } catch (error) {
      throw new LabError({ code: 'dataset.not-utf8', file, where: `line ${line}`, cause: 'holds bytes that are not UTF-8 text', action: 'save the file as UTF-8' }, { cause: error });
    }
  };
  const fd = openFile(file, 'r');
  try {
    const chunk = Buffer.alloc(Math.min(CHUNK, size + 1));
    /** Pieces of a line that began in an earlier chunk, and their bytes together. */
    let pieces: Uint8Array[] = [];
    let held = 0;
    for (let position = 0; ;) {
      const read = readInto(fd, chunk, position, file);
      position += read;
      let begin = 0;
      for (let end = chunk.indexOf(LINE_FEED); end >= 0 && end < read; end = chunk.indexOf(LINE_FEED, begin)) {
        const last = chunk.subarray(begin, end);
        begin = end + 1;
        yield decode(held ? Buffer.concat([...pieces, last]) : last);
        pieces = [];
        held = 0;
      }
      // A copy, since the next read overwrites the chunk.
      if (begin < read) pieces.push(Uint8Array.from(chunk.subarray(begin, read)));
      held += Math.max(0, read - begin);
      if (held > LONGEST_LINE) throw tooLong(file, line + 1);
      onRead?.(size ? Math.min(1, position / size) : 1);
      if (read < chunk.length) break;
    }
    if (held) yield decode(Buffer.concat(pieces));
  } finally {
    closeFile(fd, file);
  }
}

/** Bytes of a data file. Error: `dataset.no-file`. */
export function sizeOf(file: string): number {
  const info = lookUp(file);
  if (info?.isFile) return info.size;
  throw new LabError({ code: 'dataset.no-file', file, cause: info ? 'is not a file' : 'the data file does not exist', action: 'check the path; in an experiment it is relative to its file' });
}

function withoutMark(bytes: Uint8Array, file: string): Uint8Array {
  if (bytes[0] === 0xff && bytes[1] === 0xfe || bytes[0] === 0xfe && bytes[1] === 0xff) {
    throw new LabError({ code: 'dataset.not-utf8', file, where: 'line 1', cause: 'the file is UTF-16 text', action: 'save the file as UTF-8' });
  }
  return BYTE_ORDER_MARK.every((byte, i) => bytes[i] === byte) ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes;
}

const tooLong = (file: string, line: number): LabError => new LabError({
  code: 'dataset.line-too-long', file, where: `line ${line}`, cause: `is longer than ${LONGEST_LINE >> 20} MiB`, action: 'check that every example ends with a line end, and split longer texts',
});
