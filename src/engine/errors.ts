import type { ErrorReport } from '../protocol/engine';

/** An error that a person can act on: names the file, the place in it, the cause and what to do. */
export class LabError extends Error {
  constructor(readonly report: ErrorReport, options?: { cause?: unknown }) {
    super(formatReport(report), options);
    this.name = 'LabError';
  }
}

/** `file: where: cause. Action.` on one line. */
export function formatReport(report: ErrorReport): string {
  const place = [report.file, report.where].filter(Boolean).join(': ');
  const action = report.action.charAt(0).toUpperCase() + report.action.slice(1);
  return `${place ? `${place}: ` : ''}${report.cause}. ${action}${/[.?!]$/.test(action) ? '' : '.'}`;
}
