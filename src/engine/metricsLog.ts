/**
 * `metrics.jsonl`: one line for each record. Lines of fast steps are written together: each write has whoever watches the folder look at it,
 * the editor first of all.
 */
import { LabError } from './errors';
import { closeFile, forceFile, lookUp, openFile, readText, statFile, syncFile, truncateFile, writeAll } from './files';
import { writeFileAtomic } from './transaction';
import { isEvalRecord, type MetricRecord } from '../protocol/metrics';

const LIMIT = 500 << 20;

/**
 * Steps that follow each other fast have their lines written at this pace. A process that is killed loses what waits: when a step begins, that is
 * younger than this, and it goes on waiting while the step is computed, however long that takes.
 */
export const WRITE_MS = 500;

export class MetricsLog {
  private fd: number | undefined;
  private size = 0;
  /** Lines that are still to be written. */
  private waiting = '';
  private written = -Infinity;
  private appended = -Infinity;

  constructor(readonly path: string, private readonly now: () => number = () => performance.now()) {}

  /** Takes a line, which `write` writes. Answers whether that is due: a next one that takes as long as this one did would come too late. */
  append(record: MetricRecord): boolean {
    this.waiting += `${toJson(record)}\n`;
    const [now, before] = [this.now(), this.appended];
    this.appended = now;
    return now + (now - before) >= this.written + WRITE_MS;
  }

  /** Writes the lines that wait. If that fails nothing of them stays, so that it can be tried again. */
  write(): void {
    if (this.waiting === '') return;
    if (this.fd === undefined) {
      this.fd = openFile(this.path, 'a');
      this.size = statFile(this.path).size;
    }
    const lines = Buffer.from(this.waiting, 'utf8');
    try { writeAll(this.fd, lines, this.path); } catch (error) {
      try { truncateFile(this.fd, this.size, this.path); } catch { /* a torn last line is dropped when it is read */ }
      throw error;
    }
    this.waiting = '';
    this.written = this.now();
    this.size += lines.length;
  }

  /** All records that are written. A last line that was cut off by a crash is dropped. Error `metrics.bad-line` for any other bad line. */
  read(): MetricRecord[] {
    if (!lookUp(this.path)) return [];
    const lines = readText(this.path, LIMIT).split('\n');
    const records: MetricRecord[] = [];
    for (const [place, line] of lines.entries()) {
      if (line === '') continue;
      try { records.push(JSON.parse(line) as MetricRecord); } catch (error) {
        if (lines.slice(place + 1).every(rest => rest === '')) break;
        throw new LabError({ code: 'metrics.bad-line', file: this.path, where: `line ${place + 1}`, cause: 'is not a JSON record', action: 'remove the line' }, { cause: error });
      }
    }
    return records;
  }

  /**
   * Leaves the records up to `step`, and up to the evaluation after step `evaluated`, in the log and moves the later ones to `superseded`: a run that
   * goes on from there writes them anew.
   */
  truncateAfter({ step, evaluated }: { step: number; evaluated: number }, superseded: string): void {
    this.close();
    const records = this.read();
    const isLate = (record: MetricRecord): boolean => record.step > (isEvalRecord(record) ? evaluated : step);
    const late = records.filter(isLate);
    const lines = (kept: MetricRecord[]): string => kept.map(record => `${toJson(record)}\n`).join('');
    if (late.length) writeFileAtomic(superseded, (lookUp(superseded) ? readText(superseded, LIMIT) : '') + lines(late));
    if (lookUp(this.path)) writeFileAtomic(this.path, lines(records.filter(record => !isLate(record))));
  }

  /** Writes the lines that wait and forces all to disk. */
  sync(): void {
    this.write();
    if (this.fd !== undefined) syncFile(this.fd, this.path);
  }

  /** Forces the lines so far to disk beside the work of this thread. The log must stay open until then. */
  async force(): Promise<void> {
    if (this.fd !== undefined) await forceFile(this.fd, this.path);
  }

  /** Whoever has lines has them written before: what waits still could not be. */
  close(): void {
    if (this.fd === undefined) return;
    const fd = this.fd;
    this.fd = undefined;
    closeFile(fd, this.path);
  }
}

/** JSON in which numbers that JSON lacks are the texts "NaN", "Infinity" and "-Infinity", where JSON.stringify would write null. */
export const toJson = (value: unknown, indent?: number): string =>
  JSON.stringify(value, (_, part: unknown) => (typeof part === 'number' && !Number.isFinite(part) ? String(part) : part), indent);
