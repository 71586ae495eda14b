/** Ctrl+C and SIGTERM on the command line. */

/** Where npm runs a script without a shell between, one Ctrl+C comes twice: from the terminal and from npm. */
const SAME_PRESS_MS = 300;

/** Lets `first` end the work in good order; when a person insists, the process ends at once as it would have without (130 in a shell). */
export function onInterrupt(first: () => void): void {
  let since: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (since === undefined) {
        since = performance.now();
        return first();
      }
      if (performance.now() - since < SAME_PRESS_MS) return;
      // process.exit() would take the worker's native code down in the middle of a call, which aborts with a message of its own, or wait for one that never
      // comes back from a GPU that hangs.
      process.removeAllListeners('SIGINT');
      process.kill(process.pid, 'SIGINT');
    });
  }
}
