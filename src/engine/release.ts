/** Letting a device go at the end of a run, however that came. */
import type { Reporter } from './reporter';

/** Frees what a run holds on its device. Of one that is lost nothing can be released; what ended the run is what a person must hear. */
export async function release(held: { dispose(): Promise<void> } | undefined, report: Pick<Reporter, 'log'>): Promise<void> {
  await held?.dispose().catch((error: unknown) => report.log({ level: 'warn', message: `the device could not be released: ${error instanceof Error ? error.message : String(error)}` }));
}
