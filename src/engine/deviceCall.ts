/**
 * Since when the GPU has owed an answer, in memory that the main thread sees: a driver that hangs blocks the worker in a native call,
 * from which it can tell of nothing.
 */

/** Bytes of `DeviceCalls`. */
export const CALLS_BYTES = 16;

/** What the GPU is asked for. Beginning, and the first run with it, reads and copies all weights and compiles all shaders, and takes longer. */
export type Asked = 'begin' | 'run';

/** Milliseconds of a clock that nobody sets, the same in all threads. On some systems it stands while the machine sleeps. */
export const monotonic = (): number => Number(process.hrtime.bigint()) / 1e6;

export class DeviceCalls {
  private readonly values: Float64Array;
  private readonly open: Asked[] = [];
  constructor(memory = new SharedArrayBuffer(CALLS_BYTES)) { this.values = new Float64Array(memory); }

  /** The call that goes on: when it began, on the clock of `monotonic`. */
  get current(): { since: number; asked: Asked } | undefined {
    const [since, begins] = this.values;
    return since ? { since, asked: begins ? 'begin' : 'run' } : undefined;
  }

  /** `call`, which is known to go on until it has ended. An answer to one of several counts for all: the GPU works. */
  async during<T>(asked: Asked, call: () => Promise<T>): Promise<T> {
    this.open.push(asked);
    // Asking for more is no answer.
    this.mark(this.current?.since);
    try { return await call(); } finally {
      this.open.splice(this.open.indexOf(asked), 1);
      if (this.open.length) this.mark();
      else this.values[0] = 0;
    }
  }

  /** What takes longest decides how long the GPU may take. */
  private mark(since = monotonic()): void { this.values.set([since, this.open.includes('begin') ? 1 : 0]); }
}

/** Those of this thread. */
let calls = new DeviceCalls();
/** From now on calls are told of in this memory. */
export const tellCallsIn = (memory: SharedArrayBuffer): void => { calls = new DeviceCalls(memory); };
/** A call of a GPU that the main thread watches. */
export const askDevice = <T>(asked: Asked, call: () => Promise<T>): Promise<T> => calls.during(asked, call);
