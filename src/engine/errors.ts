import type { ErrorReport } from '../protocol/engine';
import { formatReport } from '../protocol/panel';

export { formatReport };

/** An error that a person can act on: names the file, the place in it, the cause and what to do. */
export class LabError extends Error {
  constructor(readonly report: ErrorReport, options?: { cause?: unknown }) {
    super(formatReport(report), options);
    this.name = 'LabError';
  }
}
