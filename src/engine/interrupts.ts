/** Ctrl+C, SIGTERM, a closed terminal (SIGHUP) and a pipe without a reader on the command line. */

/** Where npm runs a script without a shell between, one Ctrl+C comes twice: from the terminal and from npm. */
const SAME_PRESS_MS = 300;

/**
 * Lets `first` end the work in good order, once; when a person insists, the process ends at once as it would have without (130 in a shell).
 * A closed terminal is told of several times, by the system, by shells and by what started them: nobody insists by it.
 */
export function onInterrupt(first: () => void): void {
  let begun = false;
  let since: number | undefined;
  const begin = (): void => {
    if (!begun) first();
    begun = true;
  };
  process.on('SIGHUP', begin);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (since === undefined) {
        since = performance.now();
        return begin();
      }
      if (performance.now() - since < SAME_PRESS_MS) return;
      // process.exit() would take the worker's native code down in the middle of a call, which aborts with a message of its own, or wait for one that never
      // comes back from a GPU that hangs.
      process.removeAllListeners('SIGINT');
      process.kill(process.pid, 'SIGINT');
    });
  }
}

/** A terminal that is gone (EIO), and a pipe that nobody reads any more (EOF on Windows). */
const NOBODY_READS = ['EIO', 'EPIPE', 'EOF', 'ERR_STREAM_DESTROYED'];

/** What is said to a terminal or a pipe that is gone reaches nobody, and must not end a run or what is being saved. */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', (error: NodeJS.ErrnoException) => { if (!NOBODY_READS.includes(error.code!)) throw error; });
}
