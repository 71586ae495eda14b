/** Where the states of the frozen prefix are kept: float32 in memory up to a limit, the others in a file that is removed at the end. */
import { LabError } from '../errors';
import { closeFile, openFile, readInto, removeFile, truncated, truncateFile, writeAll } from '../files';

interface Entry { states?: Float32Array; position?: number }

export class PrefixStore {
  private readonly entries = new Map<number, Map<number, Entry>>();
  private held = 0;
  private file: { write: number; read: number; size: number } | undefined;

  private noRoom = false;

  /** `path` is the file, which is created only when `limit` bytes are used up; `onFull` hears that there is no room for it. Errors of all methods: `disk.*`. */
  constructor(private readonly limit: number, private readonly path: string, private readonly onFull: () => void = () => {}) {}

  /** Whether the disk was full: what is not kept yet will not be. */
  get full(): boolean { return this.noRoom; }

  has(set: number, index: number): boolean { return this.entries.get(set)?.has(index) ?? false; }

  /** Keeps a copy of the states, unless the disk is full: a run needs none of them, it is only slower without. */
  put(set: number, index: number, states: Float32Array): void {
    const entry = this.held + states.byteLength <= this.limit ? this.hold(states) : this.noRoom ? undefined : this.append(states);
    if (!entry) return;
    if (!this.entries.has(set)) this.entries.set(set, new Map());
    this.entries.get(set)!.set(index, entry);
  }

  private hold(states: Float32Array): Entry {
    this.held += states.byteLength;
    return { states: states.slice() };
  }

  private append(states: Float32Array): Entry | undefined {
    try {
      const file = this.file ??= { write: openFile(this.path, 'wx'), read: openFile(this.path, 'r'), size: 0 };
      writeAll(file.write, new Uint8Array(states.buffer, states.byteOffset, states.byteLength), this.path);
      const position = file.size;
      file.size += states.byteLength;
      return { position };
    } catch (error) {
      if (!(error instanceof LabError) || error.report.code !== 'disk.full') throw error;
      this.noRoom = true;
      // The room that a part of it took is the run's again.
      if (this.file) truncateFile(this.file.write, this.file.size, this.path);
      this.onFull();
      return undefined;
    }
  }

  /** Copies the states of an example that was put into `into`, which has their length. */
  read(set: number, index: number, into: Float32Array): void {
    const { states, position } = this.entries.get(set)!.get(index)!;
    if (states) { into.set(states); return; }
    const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    const read = readInto(this.file!.read, bytes, position!, this.path);
    if (read < bytes.length) throw truncated(this.path, position! + bytes.length, position! + read);
  }

  dispose(): void {
    this.entries.clear();
    if (!this.file) return;
    const { write, read } = this.file;
    this.file = undefined;
    try { for (const fd of [write, read]) closeFile(fd, this.path); } finally { removeFile(this.path); }
  }
}
