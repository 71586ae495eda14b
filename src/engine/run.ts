/** One experiment, from its file to the saved adapter. */
import { join } from 'node:path';
import { RunControl, StopRequested } from './control';
import { momentOf, stamp } from './data/strftime';
import { LabError } from './errors';
import { hasHalf } from './executors/devices';
import { spaceFor } from './fullDisk';
import { liesIn, listFolder, lookUp, readJsonObject } from './files';
import { readExperimentFile, type ExperimentFile } from './experimentFile';
import { GpuMemory } from './gpuMemory';
import { keepPrefix, wantsPrefix } from './prefixCache';
import { openBase, prepare, rowsOf, type Prepared } from './prepare';
import { release } from './release';
import type { Reporter } from './reporter';
import { compareFirstStep, exactStep } from './roundingDifference';
import { openRunFolder, type RunFolder } from './runFolder';
import { compareExperiments, readOptimizer, readState, type TrainerState } from './trainerState';
import type { Peaks } from './telemetry';
import { stepOptions } from './stepOptions';
import { Trainer } from './trainer';
import { NONE_YET } from './training/bestModel';
import { planSchedule } from './training/schedule';
import { createTrainingStep } from './training/step';
import type { TrainingStep } from './training/step.types';
import { newestRun } from '../protocol/defaultRuns';
import { inputPaths } from '../protocol/experiment';
import type { Summary } from '../protocol/metrics';

export interface RunOptions {
  experiment_file: string;
  /** Goes on from the newest checkpoint of the run folder. */
  resume: boolean;
  /** Folder that `.lora/runs` lies in when the experiment names no `output_dir`. */
  cwd: string;
  control: RunControl;
  report: Reporter;
  peaks?: Peaks;
}

/**
 * Trains an experiment. Nothing is written until experiment, checkpoint, data and device have all been found usable.
 * Errors: those of every part, each with file, place, cause and action; `run.cancelled` if it was stopped before the first
 * step; `training.not-finite` when the loss stops being a number.
 */
export async function runExperiment({ experiment_file, resume, cwd, control, report, peaks }: RunOptions): Promise<Summary> {
  const source = readExperimentFile(experiment_file);
  if (source.sweep) throw new LabError({ code: 'experiment.sweep', file: source.file, where: source.place('sweep'), cause: 'the experiment is a sweep', action: 'run it with: npm run --silent lab -- sweep EXPERIMENT; or remove the section' });
  report.state({ state: 'preparing' });
  let folder: RunFolder | undefined;
  let step: TrainingStep | undefined;
  try {
    if (!resume) refuseInputs(source);
    folder = resume ? openRunFolder(folderToResume(source, cwd), { resume }) : undefined;
    const base = folder && openBase(source);
    const found = folder && findState(folder, source, report);
    const card = GpuMemory.before(source.experiment.engine.device);
    const prepared = prepare(source, found?.state.labels ?? null, report, base, momentOf(found?.state.moment));
    const optimizer = found && readOptimizer(found.checkpoint, found.state, prepared);
    control.throwIfStopped();

    report.progress({ message: 'Preparing the model', fraction: null });
    const { plan } = prepared;
    const split_prefix = wantsPrefix(source.experiment, rowsOf(prepared));
    const exact = found ? null : await exactStep(source.experiment, prepared, report);
    peaks?.cardBefore((await card).before);
    control.throwIfStopped();
    step = await createTrainingStep({ ...stepOptions(source.experiment, prepared), split_prefix });
    if (optimizer) await step.restore(optimizer);
    control.throwIfStopped();

    folder ??= openRunFolder(newFolder(source, cwd), { resume: false });
    folder.needSpace(spaceFor(plan.trainable_parameters));
    if (found) folder.supersede(found.state);
    if (folder.previous) report.log({ level: 'info', message: `the earlier run in ${folder.path} was moved to ${folder.previous}` });
    folder.writeExperiment(source.experiment);
    announce(source, prepared, folder, step.device, report);
    const state = found?.state ?? freshState(prepared);
    if (exact) state.first_step = await compareFirstStep(step, exact, source.experiment, report);
    const sets = keepPrefix({ step, experiment: source.experiment, prepared, folder: folder.path, report });
    return await new Trainer({ experiment: source.experiment, prepared: { ...prepared, ...sets }, step, state, control, report, peaks, resumed_from: found?.checkpoint }).train(folder);
  } catch (error) {
    if (error instanceof StopRequested) throw new LabError({ code: 'run.cancelled', file: source.file, cause: 'the run was stopped before its first step', action: 'start it again when you want to' });
    throw withPlace(error, source);
  } finally {
    control.refuseSaves('the run has ended before it could save');
    await release(step, report);
    folder?.close();
  }
}

/** Tells what is about to be trained. */
export function announce(source: ExperimentFile, prepared: Prepared, folder: RunFolder, device: string, report: Reporter): void {
  const { model, plan, train, eval: evaluation } = prepared;
  const { total_steps, epochs } = planSchedule(rowsOf(prepared), source.experiment.training);
  report.started({
    run_folder: folder.path, total_steps, num_train_epochs: epochs, trainable_parameters: plan.trainable_parameters, all_parameters: plan.all_parameters,
    train_examples: train.length, eval_examples: evaluation?.length ?? 0, longest: train.longest, rows: rowsOf(prepared), labels: model.labels, device, half_precision: hasHalf(device), history: folder.readMetrics(),
  });
}

/** The newest good checkpoint of a run. Nothing is changed: the run may yet be refused. */
export function findState(folder: RunFolder, source: ExperimentFile, report: Reporter): { checkpoint: string; state: TrainerState } {
  const { folder: checkpoint, warnings } = folder.latestCheckpoint();
  for (const message of warnings) report.log({ level: 'warn', message });
  if (checkpoint === null) {
    throw new LabError({ code: 'run.nothing-to-resume', file: folder.path, cause: warnings[0] ? `no checkpoint can be used: ${warnings[0]}` : 'the run has no checkpoint yet', action: 'start it without resuming' });
  }
  const changed = compareExperiments(source.experiment, readJsonObject(join(folder.path, 'experiment.json'), 1 << 20), source.file);
  if (changed.length) report.log({ level: 'warn', message: `${changed.join(', ')} changed since the run began: it will not end as it would have without the interruption` });
  return { checkpoint, state: readState(checkpoint) };
}

/** The state before the first step. */
export function freshState({ model, moment, data_fingerprint }: Prepared): TrainerState {
  return {
    step: 0, evaluated: 0, eval_before: null, eval: null, best: NONE_YET, loss_sum: 0, tokens: 0, seconds: 0, unlogged: { steps: 0, loss_sum: 0, tokens: 0, seconds: 0 },
    moment: stamp(moment), labels: model.labels, base_fingerprint: model.fingerprint, data_fingerprint,
  };
}

/** Error `run.holds-inputs`: a run that stands in `output_dir` is moved aside when a new one begins, and must not take along what that one reads. */
export function refuseInputs({ experiment, file, resolve, place }: ExperimentFile): void {
  if (experiment.output_dir === null) return;
  const folder = resolve(experiment.output_dir);
  const read = inputPaths(experiment).map(([key, path]) => ({ key, what: `"${path}"`, path: resolve(path) }));
  const inside = [...read, { key: 'output_dir', what: 'the experiment file itself', path: file }].find(({ path }) => liesIn(path, folder));
  if (inside) throw new LabError({ code: 'run.holds-inputs', file, where: place(inside.key), cause: `${inside.what} lies in output_dir, and a run that stands there is moved aside when a new one begins`, action: 'choose another output_dir' });
}

/** `output_dir`, or a new folder below `.lora/runs`. */
export function newFolder(source: ExperimentFile, cwd: string): string {
  if (source.experiment.output_dir !== null) return source.resolve(source.experiment.output_dir);
  const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
  const base = join(cwd, '.lora', 'runs', `${time}-${source.name}`);
  for (let n = 1; ; n++) {
    const folder = n === 1 ? base : `${base}-${n}`;
    if (!lookUp(folder)) return folder;
  }
}

/** `output_dir`, or the newest default folder of this experiment. */
export function folderToResume(source: ExperimentFile, cwd: string): string {
  if (source.experiment.output_dir !== null) return source.resolve(source.experiment.output_dir);
  const runs = join(cwd, '.lora', 'runs');
  const newest = newestRun(source.name, lookUp(runs) ? listFolder(runs) : []);
  if (newest) return join(runs, newest);
  throw new LabError({ code: 'run.nothing-to-resume', file: runs, cause: `there is no run of ${source.name} here`, action: 'start it without resuming' });
}

/** Settings that turn out wrong only against the model name their key; the file is the experiment's. */
export function withPlace(error: unknown, source: ExperimentFile): unknown {
  if (!(error instanceof LabError) || error.report.file !== undefined) return error;
  return new LabError({ ...error.report, file: source.file, where: source.place(error.report.where) }, { cause: error.cause });
}
