/** A full disk pauses a run that somebody watches, with everything it has learnt in memory, instead of ending it. */
import { LabError } from './errors';
import { freeBytes } from './files';
import type { RunControl } from './control';
import type { Reporter } from './reporter';

/** Adapter and two moments of a checkpoint, the adapter once more at the end, and room for the log. */
export const spaceFor = (trainable_parameters: number): number => 16 * trainable_parameters + (1 << 20);

export interface Waiting {
  folder: string;
  control: RunControl;
  report: Reporter;
  /** What is being written, and at which place of the run. */
  what: string;
  where: string;
  /** Bytes that it takes. */
  bytes: number;
  lastGoodCheckpoint: string | undefined;
}

/**
 * The result of `write`, tried again each time a person has made room. Errors: those of `write`; `disk.full` only where nobody
 * waits or the person stops. Answers also how many milliseconds were spent waiting.
 */
export async function withRoom<T>(write: () => T | Promise<T>, { folder, control, report, what, where, bytes, lastGoodCheckpoint }: Waiting): Promise<{ result: T; waited_ms: number }> {
  for (let waited_ms = 0, tries = 0; ;) {
    try {
      const result = await write();
      if (tries) report.blocked({ report: null });
      return { result, waited_ms };
    } catch (error) {
      if (!control.waits || !(error instanceof LabError) || error.report.code !== 'disk.full') throw error;
      tries++;
      const cause = `the disk is ${tries > 1 ? `still full (try ${tries})` : 'full'}, so the run is paused: about ${megabytes(bytes)} MB are needed for ${what}, ${megabytes(free(folder))} MB are free`;
      report.blocked({ report: { code: 'disk.full', file: folder, where, cause, action: 'free some space, then press Retry; Stop ends the run without it', lastGoodCheckpoint } });
      report.state({ state: 'paused' });
      const since = performance.now();
      const answer = await control.answer();
      waited_ms += performance.now() - since;
      report.blocked({ report: null });
      if (answer === 'run') { report.state({ state: 'saving' }); continue; }
      throw error;
    }
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
function free(folder: string): number {
  try { return freeBytes(folder); } catch { return 0; }
}
