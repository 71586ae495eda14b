/** One experiment of a sweep while the sweep runs: an ordinary run that can be held after an evaluation and let go on. */
import { join } from 'node:path';
import type { RunControl, Wanted } from './control';
import { LabError } from './errors';
import type { ExperimentFile } from './experimentFile';
import { MetricsLog } from './metricsLog';
import type { Prepared } from './prepare';
import type { Reporter } from './reporter';
import { spaceFor, withRoom } from './fullDisk';
import { announce, findState, freshState } from './run';
import { hasRun, openRunFolder, type RunFolder } from './runFolder';
import { findCheckpoint } from './checkpointFolders';
import { Trainer } from './trainer';
import type { Peaks } from './telemetry';
import { readOptimizer, type TrainerState } from './trainerState';
import type { TrainingStep } from './training/step.types';
import type { Changes } from '../protocol/sweep';
import { isEvalRecord, type EvalResult, type MetricRecord, type Summary, type SweepMember } from '../protocol/metrics';

export interface MemberOptions {
  name: string;
  changes: Changes;
  /** Run folder. */
  path: string;
  source: ExperimentFile;
  prepared: Prepared;
  step: TrainingStep;
  report: Reporter;
  control: RunControl;
  peaks?: Peaks;
  /** The evaluation before the first step, if that is the same for all members. */
  eval_before: EvalResult | null;
}

export class Member {
  state: SweepMember['state'] = 'waiting';
  summary: Summary | undefined;
  error: string | undefined;
  private running: Promise<void> | undefined;
  /** The step whose evaluation the member is held after, and who waits for that. */
  private hold: { step: number; reached: () => void } | undefined;
  private held = false;
  /** It is ended because others were better: the sweep goes on, and does not say that it stops. */
  private out = false;
  /** It waits for room on the disk: a pause that has nothing to do with the others. */
  private blocked = false;
  private last: { step: number; loss: number | null; values: Map<number, number> } = { step: 0, loss: null, values: new Map() };

  constructor(private readonly options: MemberOptions) {}

  get control(): RunControl { return this.options.control; }
  get name(): string { return this.options.name; }
  get changes(): Changes { return this.options.changes; }

  /** Takes up what an earlier part of the sweep left. */
  takeUp({ state, error }: Pick<SweepMember, 'state' | 'error'>, summary: Summary | undefined): void {
    const log = new MetricsLog(join(this.options.path, 'metrics.jsonl'));
    for (const record of log.read()) this.see(record);
    if (summary?.state === 'finished') this.state = 'finished';
    else if (state === 'halved' || state === 'failed') this.state = state;
    if (this.state === 'failed') this.error = error;
    if (this.ended) this.summary = summary;
  }

  /** Whether it has nothing more to do. */
  get ended(): boolean { return ['finished', 'stopped', 'halved', 'failed'].includes(this.state); }

  /** The metric after the evaluation of a step, or the last one; undefined if there is none. */
  value(step?: number): number | undefined { return step === undefined ? [...this.last.values.values()].at(-1) : this.last.values.get(step); }

  /** Takes its turn, which lasts until it has ended, or until the evaluation after step `until`. False if that is behind it. */
  begin(until: number | null): boolean {
    if (this.ended || until !== null && this.value(until) !== undefined) return false;
    this.state = 'running';
    return true;
  }

  /** Trains in its turn; where a pause is wished for, it waits first. */
  async advance(until: number | null, wish: Wanted): Promise<void> {
    const reached = until === null ? new Promise<void>(() => {}) : new Promise<void>(resolve => { this.hold = { step: until, reached: resolve }; });
    this.held = false;
    // One that was held waits already, which nobody was told of.
    if (this.running && wish === 'pause') this.options.report.state({ state: 'paused' });
    else if (this.running) this.control.want('run');
    this.running ??= this.train();
    await Promise.race([this.running, reached]);
  }

  /** Pauses it, stops it, or lets it go on, but not beyond the evaluation that it is held after. */
  ask(wish: Wanted): void {
    if (wish !== 'run' || this.hold === undefined || this.value(this.hold.step) === undefined) this.control.want(wish);
  }

  /** Ends it with a checkpoint, from which it could go on. */
  async end(state: 'stopped' | 'halved'): Promise<void> {
    if (this.ended) return;
    // One that has not begun has nothing to end, but is out all the same if others were better.
    if (!this.running && state === 'stopped') return;
    this.out = state === 'halved';
    this.control.want('stop');
    await this.running?.catch(() => { /* `advance` has the error: a member that waits has nothing left to fail */ });
    if (!this.ended || this.state === 'stopped') this.state = state;
  }

  private async train(): Promise<void> {
    const { path, source, prepared, step, eval_before, control, peaks } = this.options;
    const report = this.listen();
    const bytes = spaceFor(prepared.plan.trainable_parameters);
    let folder: RunFolder | undefined;
    try {
      const { result: { folder: opened, found } } = await withRoom(() => this.open(bytes, report), { folder: path, control, report, what: 'the member', where: this.name, bytes, lastGoodCheckpoint: undefined });
      folder = opened;
      if (found) {
        await step.restore(readOptimizer(found.checkpoint, found.state, prepared));
        folder.supersede(found.state);
      }
      announce(source, prepared, folder, step.device, report);
      this.summary = await new Trainer({ experiment: source.experiment, prepared, step, state: found?.state ?? { ...freshState(prepared), eval_before }, control, report, peaks, resumed_from: found?.checkpoint }).train(folder);
      this.state = this.summary.state;
    } catch (error) {
      // That one member diverges says something about its settings; the others are not concerned.
      if (!(error instanceof LabError) || error.report.code !== 'training.not-finite') throw error;
      this.state = 'failed';
      this.error = error.report.cause;
    } finally {
      folder?.close();
      control.refuseSaves(`${this.name} has ended before it could save`);
    }
  }

  /** Its run folder with its experiment in it, and what an earlier part of the sweep left there. */
  private open(bytes: number, report: Reporter): { folder: RunFolder; found: { checkpoint: string; state: TrainerState } | undefined } {
    const { path, source } = this.options;
    const resume = hasRun(path) && findCheckpoint(path).folder !== null;
    const folder = openRunFolder(path, { resume });
    try {
      const found = resume ? findState(folder, source, report) : undefined;
      folder.needSpace(bytes);
      folder.writeExperiment(source.experiment);
      return { folder, found };
    } catch (error) {
      folder.close();
      throw error;
    }
  }

  private listen(): Reporter {
    const { report } = this.options;
    return {
      ...report,
      blocked: ({ report: cause }) => {
        this.blocked = cause !== null;
        report.blocked({ report: cause });
      },
      metrics: ({ records }) => {
        report.metrics({ records });
        for (const record of records) {
          this.see(record);
          if (this.hold?.step === record.step && isEvalRecord(record)) this.control.want('pause');
        }
      },
      state: state => {
        if (!this.blocked && (this.out || this.held && state.state === 'paused')) return;
        if (this.blocked || state.state !== 'paused' || !this.hold || this.value(this.hold.step) === undefined) { report.state(state); return; }
        const { reached } = this.hold;
        this.hold = undefined;
        this.held = true;
        this.state = 'waiting';
        reached();
      },
    };
  }

  private see(record: MetricRecord): void {
    this.last.step = Math.max(this.last.step, record.step);
    const { metric } = this.options.prepared.rule;
    if (isEvalRecord(record)) this.last.values.set(record.step, Number((record as unknown as Record<string, unknown>)[`eval_${metric}`] ?? NaN));
    else this.last.loss = Number(record.loss);
  }

  /** For `sweep.json`. */
  describe(evaluates: boolean): SweepMember {
    const { summary } = this;
    const train_loss = summary?.train_loss ?? this.last.loss;
    // Where the best checkpoint became the adapter, that is what the others are compared with.
    const value = evaluates ? summary?.best?.value ?? this.value() ?? null : train_loss;
    return {
      name: this.name, changes: this.changes, state: this.state, value: value !== null && Number.isFinite(value) && this.state !== 'failed' ? value : null,
      steps: summary?.steps ?? this.last.step, trainable_parameters: this.options.prepared.plan.trainable_parameters, train_loss, eval: summary?.eval ?? null,
      ...(this.error === undefined ? {} : { error: this.error }),
    };
  }
}
