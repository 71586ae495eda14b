/** `metrics.jsonl` of a run that another process writes. Of a log that grows only what is new is read. */
import * as fs from 'node:fs/promises';
import type { MetricRecord } from '../protocol/metrics';
import { parseLines } from './runFolders';

/** A long log is read in pieces: whatever else waits in this process comes between them. */
const PIECE_BYTES = 1 << 20;
/** So much before the place up to which the log has been read must still be as it was: a whole line, with its times, which no other run has. */
const KNOWN_BYTES = 256;

export class MetricsTail {
  /** Where the first line begins that was not whole when the log was last read. */
  private offset = 0;
  /** What stood before it. */
  private known = Buffer.alloc(0);
  private seen = '';

  constructor(private readonly file: string) {}

  /** Records whose lines have become whole since the last call. `reset`: the log is another one than it was, and these are all that it has. */
  async read(): Promise<{ records: MetricRecord[]; reset: boolean }> {
    const status = await fs.stat(this.file).catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? null : undefined));
    const seen = status ? `${status.size} ${status.mtimeMs}` : '';
    if (status === undefined || seen === this.seen) return { records: [], reset: false };
    const file = status ? await fs.open(this.file).catch(() => undefined) : undefined;
    if (status && !file) return { records: [], reset: false };
    this.seen = seen;
    try {
      const reset = this.offset > 0 && !(file && await this.goesOn(file));
      if (reset) [this.offset, this.known] = [0, Buffer.alloc(0)];
      return { records: file ? await this.readOn(file, status!.size) : [], reset };
    } finally {
      await file?.close();
    }
  }

  /** Whether the log is still the one that was read, and only longer. A run that goes on from a checkpoint has rewritten it. */
  private async goesOn(file: fs.FileHandle): Promise<boolean> {
    const { length } = this.known;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, this.offset - length);
    return bytesRead === length && buffer.equals(this.known);
  }

  private async readOn(file: fs.FileHandle, size: number): Promise<MetricRecord[]> {
    const records: MetricRecord[] = [];
    while (this.offset < size) {
      const length = Math.min(PIECE_BYTES, size - this.offset);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, this.offset);
      const whole = buffer.subarray(0, buffer.subarray(0, bytesRead).lastIndexOf('\n') + 1);
      if (whole.length === 0) break;
      records.push(...parseLines(whole.toString('utf8')));
      this.known = Buffer.from(whole.subarray(-KNOWN_BYTES));
      this.offset += whole.length;
    }
    return records;
  }
}
