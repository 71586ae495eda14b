/**
 * The folder of one run: `experiment.json`, `metrics.jsonl`, `checkpoint-<step>/`, `adapter/`, `summary.json`.
 * Written by one process at a time, which holds the lock while the run is open.
 */
import { basename, dirname, join, resolve } from 'node:path';
import { findCheckpoint, verifyCheckpoint, writeCheckpointFolder, type FoundCheckpoint, type Written } from './checkpointFolders';
import { LabError } from './errors';
import { freeBytes, listFolder, lookUp, makeFolder, removeFile, renameFile } from './files';
import { MetricsLog, toJson } from './metricsLog';
import { lockFolder, LOCK_NAME, type Lock } from './runLock';
import { recover, syncFolder, writeFileToDisk, writeFileAtomic } from './transaction';
import { written, type Experiment } from '../protocol/experiment';
import type { MetricRecord, Summary } from '../protocol/metrics';

export interface RunFolder {
  /** Absolute path. */
  readonly path: string;
  /** Where the final adapter goes. */
  readonly adapter: string;
  /** Where the trained model goes instead, of a run that trains all of it. */
  readonly model: string;
  /** Where an earlier run that stood here was moved to, or null. */
  readonly previous: string | null;
  writeExperiment(experiment: Experiment): void;
  /** Takes a line of the log, and answers whether it is time to write what waits. */
  appendMetrics(record: MetricRecord): boolean;
  /** Writes the lines that wait. They wait on if that fails. */
  writeMetrics(): void;
  readMetrics(): MetricRecord[];
  /**
   * The run goes on from a checkpoint of `step`, up to which it had `evaluated`. What was logged later goes from `metrics.jsonl` to `metrics.superseded.jsonl`,
   * because it will be written anew; the summary becomes `summary.superseded.json`, because it tells of an end that the run no longer has.
   */
  supersede(checkpoint: { step: number; evaluated: number }): void;
  /** Replaces an earlier summary. */
  writeSummary(summary: Summary): void;
  /**
   * Lets `write` fill the folder of a checkpoint, and verifies it. Resolves before it is on the disk, which `durable` waits for.
   * It is there complete, with all that was logged before, or not at all.
   */
  writeCheckpoint(step: number, write: (folder: string) => void | Promise<void>): Promise<Written>;
  /** Folder of the checkpoint of a step, once it has been verified. Errors: `checkpoint.*`. */
  checkpoint(step: number): string;
  /** The newest checkpoint that verifies; `folder` is null if there is none. `warnings` say which were passed over. */
  latestCheckpoint(): FoundCheckpoint | { folder: null; step: 0; warnings: string[] };
  /** Renames the checkpoint of a step, if there is one, to `checkpoint-<step>.diverged`, which no run goes on from. */
  setAside(step: number): void;
  /** Error `disk.full` if fewer than `bytes` are free. */
  needSpace(bytes: number): void;
  /** Gives the folder free for other processes. */
  close(): void;
}

/**
 * Opens the folder of a run and locks it, after a test that it can be written.
 * Without `resume` an earlier run in it is renamed to `<name>.1`, `<name>.2`, … first, and `previous` says so.
 *
 * Errors: `run.in-use`, `run.nothing-to-resume`, `run.folder-not-empty` (it holds something other than a run), `disk.*`.
 */
export function openRunFolder(folder: string, { resume }: { resume: boolean }): RunFolder {
  const path = resolve(folder);
  if (resume && !hasRun(path)) {
    throw new LabError({ code: 'run.nothing-to-resume', file: path, cause: 'there is no run in this folder', action: 'start it without resuming' });
  }
  const { lock, previous } = takeFolder(path, { check: () => refuseOther(path), replace: !resume && hasRun(path) });
  return run(path, previous, lock);
}

/**
 * Makes and locks a folder. `check` throws if it is no place for what is to be written; with `replace` what stands there is moved aside.
 * It is tested that it can be written. Whatever fails, no lock stays. Errors: `run.in-use`, those of `check`, `disk.*`.
 */
export function takeFolder(path: string, { check, replace }: { check: () => void; replace: boolean }): { lock: Lock; previous: string | null } {
  makeFolder(path);
  let lock = lockFolder(path);
  let previous: string | null = null;
  try {
    check();
    if (replace) {
      previous = moveAside(path);
      // The old folder took the lock along with it.
      lock.release();
      removeFile(join(previous, LOCK_NAME));
      makeFolder(path);
      lock = lockFolder(path);
    }
    recover(path, { all: true });
    probe(path);
    return { lock, previous };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function run(path: string, previous: string | null, lock: Lock): RunFolder {
  const metrics = new MetricsLog(join(path, 'metrics.jsonl'));
  return {
    path, previous, adapter: join(path, 'adapter'), model: join(path, 'model'),
    writeExperiment: experiment => writeFileAtomic(join(path, 'experiment.json'), `${JSON.stringify(written(experiment), null, 2)}\n`),
    appendMetrics: record => metrics.append(record),
    writeMetrics: () => metrics.write(),
    readMetrics: () => metrics.read(),
    supersede: checkpoint => {
      const summary = join(path, 'summary.json');
      if (lookUp(summary)) renameFile(summary, join(path, 'summary.superseded.json'));
      metrics.truncateAfter(checkpoint, join(path, 'metrics.superseded.jsonl'));
    },
    writeSummary: summary => { metrics.sync(); writeFileAtomic(join(path, 'summary.json'), `${toJson(summary, 2)}\n`); },
    writeCheckpoint: async (step, write) => { metrics.write(); return writeCheckpointFolder(path, step, write, () => metrics.force()); },
    checkpoint: step => { const folder = join(path, `checkpoint-${step}`); verifyCheckpoint(folder, step); return folder; },
    latestCheckpoint: () => findCheckpoint(path),
    setAside: step => setAside(join(path, `checkpoint-${step}`)),
    needSpace: bytes => needSpace(path, bytes),
    close: () => { try { metrics.close(); } finally { lock.release(); } },
  };
}

/** Every run writes its experiment first. */
export const hasRun = (path: string): boolean => lookUp(join(path, 'experiment.json')) !== undefined;

/** Renames the folder of an earlier run to the first free `<name>.<n>`. */
function moveAside(path: string): string {
  for (let n = 1; ; n++) {
    const target = join(dirname(path), `${basename(path)}.${n}`);
    if (lookUp(target, 'link')) continue;
    renameFile(path, target);
    syncFolder(dirname(path));
    return target;
  }
}

function setAside(checkpoint: string): void {
  if (!lookUp(checkpoint)) return;
  removeFile(`${checkpoint}.diverged`);
  renameFile(checkpoint, `${checkpoint}.diverged`);
  syncFolder(dirname(checkpoint));
}

/** A folder with a person's own files is no place for a run, and is never moved. */
export function refuseOther(path: string): void {
  const isOther = hasRun(path) ? (name: string) => name === 'config.json' || name.endsWith('.lora.json') : (name: string) => !name.startsWith('.');
  const other = listFolder(path).find(isOther);
  if (other === undefined) return;
  throw new LabError({ code: 'run.folder-not-empty', file: path, cause: `the folder holds files that are no part of a run (${other})`, action: 'choose a new or empty folder as output_dir' });
}

/** Writes a small file and removes it: a folder that cannot be written must show before the first step, not at the first save. */
function probe(path: string): void {
  const file = join(path, '.tmp-probe');
  removeFile(file);
  try { writeFileToDisk(file, new Uint8Array(1 << 16)); } finally { removeFile(file); }
}

function needSpace(path: string, bytes: number): void {
  const free = freeBytes(path);
  if (free >= bytes) return;
  throw new LabError({ code: 'disk.full', file: path, cause: `${Math.ceil(bytes / 1e6)} MB are needed, ${Math.floor(free / 1e6)} MB are free`, action: 'free some space and resume, or choose another output_dir' });
}
