/** The folder of a sweep: `sweep.json` and one run folder for each member. Written by one process at a time. */
import { join, resolve } from 'node:path';
import { LabError } from './errors';
import { lookUp, readJsonObject } from './files';
import { toJson } from './metricsLog';
import { hasRun, refuseOther, takeFolder } from './runFolder';
import { writeFileAtomic } from './transaction';
import type { SweepSummary } from '../protocol/metrics';

const NAME = 'sweep.json';

export interface SweepFolder {
  /** Absolute path. */
  readonly path: string;
  /** Where an earlier run or sweep that stood here was moved to, or null. */
  readonly previous: string | null;
  /** What an earlier part of the sweep wrote last. Error `sweep.damaged`. */
  read(): SweepSummary;
  write(summary: SweepSummary): void;
  close(): void;
}

/**
 * Opens and locks the folder; without `resume` an earlier sweep or run in it is renamed to `<name>.1`, `<name>.2`, … first.
 * Errors: `run.in-use`, `run.nothing-to-resume`, `run.folder-not-empty`, `disk.*`.
 */
export function openSweepFolder(folder: string, { resume }: { resume: boolean }): SweepFolder {
  const path = resolve(folder);
  const holdsSweep = lookUp(join(path, NAME)) !== undefined;
  if (resume && !holdsSweep) throw new LabError({ code: 'run.nothing-to-resume', file: path, cause: 'there is no sweep in this folder', action: 'start it without resuming' });
  const { lock, previous } = takeFolder(path, { check: () => { if (!holdsSweep) refuseOther(path); }, replace: !resume && (holdsSweep || hasRun(path)) });
  return {
    path, previous,
    read() {
      const summary = readJsonObject(join(path, NAME), 1 << 26) as unknown as SweepSummary;
      if (Array.isArray(summary.members) && summary.members.every(member => typeof member?.name === 'string')) return summary;
      throw new LabError({ code: 'sweep.damaged', file: join(path, NAME), where: 'members', cause: 'does not list the members of the sweep', action: 'start the sweep without resuming; the runs of its members lie beside this file' });
    },
    write: summary => writeFileAtomic(join(path, NAME), `${toJson(summary, 2)}\n`),
    close: () => lock.release(),
  };
}
