/** The run of one experiment: an engine process while it trains, and the history that the panel shows before and after. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { RunStarted } from '../protocol/engine';
import type { MetricRecord, Summary, SweepSummary, TelemetrySample } from '../protocol/metrics';
import { EMPTY_RUN, isActive, TELEMETRY_KEPT, type ChosenAdapter, type RunView } from '../protocol/panel';
import { endedRun, startedFrom } from './endedRun';
import { EngineClient, type EngineOptions } from './engineClient';
import { endedSilent, silentReport } from '../protocol/silentGpu';
import { ForeignRun, type News } from './foreignRun';
import { toReport } from './reports';
import { RunHistory } from './runHistory';
import { isAdapter, ownerOf, readMetrics, readRunFolder, readSummary, readSweep } from './runFolders';
import { SweepHistory } from './sweepHistory';

/** What is asked before a run begins, and how to end the asking. */
export interface Admission { admits(): Promise<boolean>; cancel(): void }

/** Errors of an engine that ended without a word. */
const DIED = ['engine.died', 'device.silent'];
/** What a GPU that was slow is given after Stop, before its engine is ended. */
const LAST_CHANCE_MS = 2000;

/** Starts in this window. */
let attempts = 0;

/** What a run said of its data and its device when it began. */
type Told = Pick<RunStarted, 'longest' | 'rows' | 'half_precision'>;

/** What the panel has of a run. */
interface Shown { view: RunView; records: readonly MetricRecord[]; members: SweepHistory | undefined; own: boolean }

export class ExperimentRun {
  private readonly changed = new vscode.EventEmitter<void>();
  private readonly measured = new vscode.EventEmitter<TelemetrySample>();
  private readonly appended = new vscode.EventEmitter<{ records: MetricRecord[]; reset: boolean }>();
  /** Of the run that is going on; it is asked for things while it still starts. */
  private engine: Promise<EngineClient> | undefined;
  private current: RunView = EMPTY_RUN;
  private readonly history = new RunHistory();
  private members: SweepHistory | undefined;
  private own = true;
  /** How many times a run was taken up or begun: of several that are read at the same time the last one that was asked for is shown. */
  private asked = 0;
  /** What is shown, where another process trains it. */
  private foreign: ForeignRun | undefined;
  private samples: TelemetrySample[] = [];
  /** When the GPU was asked for what it has not answered. */
  private silentSince: number | null = null;
  /** Ends what is found out before the run begins. */
  private cancelAdmission: (() => void) | undefined;

  readonly onDidChange = this.changed.event;
  readonly onDidAppend = this.appended.event;
  readonly onDidMeasure = this.measured.event;

  constructor(readonly experimentFile: string) {}

  get view(): RunView { return this.current; }
  get metrics(): readonly MetricRecord[] { return this.history.records; }
  /** The latest step and evaluation. */
  get latest(): Pick<RunHistory, 'trained' | 'evaluated'> { return this.history; }
  /** What the run has taken of the machine in its last minutes. */
  get telemetry(): readonly TelemetrySample[] { return this.samples; }
  /** Whether what is shown is what Continue goes on with: not an earlier run that was opened, nor another experiment's. */
  get isOwn(): boolean { return this.own; }
  get active(): boolean { return isActive(this.current.status); }
  /** Whether it is trained by this window in a folder, as a run or as a sweep that has its members in there. */
  trainsIn(output: string): boolean {
    const { folder, sweep } = this.current;
    return this.active && folder !== null && [folder, ...(sweep ? [path.dirname(folder)] : [])].some(at => path.normalize(at) === output);
  }

  /**
   * Trains until the run ends, in an engine of its own, once `admission` admits it. Never rejects: what went wrong is in the view.
   * Returns how the run or sweep ended, with the tokens of the longest example, what batches are made of, and whether the device has half precision.
   */
  async train(options: EngineOptions, { resume, sweep, admission }: { resume: boolean; sweep: boolean; admission?: Admission }): Promise<{ summary: Pick<Summary, 'state' | 'device' | 'peak_memory_bytes' | 'peak_with_fp32' | 'own_gpu_memory_bytes'> } & Told | undefined> {
    // What an earlier engine took is not what this run takes.
    this.samples = [];
    this.replaceHistory(this.metrics);
    const attempt = ++attempts;
    this.asked += 1;
    const before: Shown = { view: this.current, records: [...this.metrics], members: this.members, own: this.own };
    if (admission && !await this.admitted(admission, attempt)) return undefined;
    this.foreign = undefined;
    let ended: { summary: Summary | SweepSummary } & Told | undefined;
    let resumable: boolean | undefined;
    const told = (): Told => ({ longest: this.current.started?.longest ?? 0, rows: this.current.started?.rows, half_precision: this.current.started?.half_precision ?? false });
    // What goes on is the experiment's own run, whatever else is shown.
    const goesOn = resume && this.own;
    this.own = true;
    this.update({ ...EMPTY_RUN, attempt, status: 'preparing', folder: goesOn ? this.current.folder : null, progress: { message: 'Starting the engine', fraction: null } });
    this.members = sweep ? (goesOn && this.members) || new SweepHistory() : undefined;
    this.replaceHistory(goesOn ? this.metrics : []);
    const starting = this.engine = EngineClient.start(options);
    try {
      const engine = await starting;
      this.listen(engine);
      if (sweep) {
        const summary = await engine.request('sweep', { experiment_file: this.experimentFile, resume, wait_when_full: true });
        ended = { summary, ...told() };
        await this.showSweep(summary);
      } else {
        const summary = await engine.request('train', { experiment_file: this.experimentFile, resume, wait_when_full: true });
        ended = { summary, ...told() };
        this.update({ status: summary.state, summary, adapter: summary.full_finetuning ? null : summary.adapter, progress: null });
      }
    } catch (error) {
      const report = toReport(error);
      // Stopping before there is anything to save is what the person asked for, not a failure.
      if (report.code === 'run.cancelled') await this.showAgain(before, attempt);
      else if (this.hasBegun || before.view.status === 'elsewhere') this.update({ status: 'failed', error: report, progress: null, blocked: null, saving: false });
      else {
        resumable = before.view.resumable;
        await this.showAgain(before, attempt, { attempt, status: 'failed', error: report });
      }
    } finally {
      (await starting.catch(() => undefined))?.kill();
      if (this.engine === starting) this.engine = undefined;
      this.silentSince = null;
      this.update({ silent: null });
      await this.lookAtFolder(resumable);
    }
    return ended && { ...ended, summary: { ...ended.summary, state: ended.summary.state === 'finished' ? 'finished' : 'stopped' } };
  }

  /**
   * The run that was shown before a start which was stopped before its first step, if it is still there: a new sweep has moved it aside when it evaluates.
   * `failure` is what came of a start that failed before it wrote anything.
   */
  private async showAgain({ view, records, members, own }: Shown, attempt: number, failure: Partial<RunView> = {}): Promise<void> {
    if (view.status === 'elsewhere') {
      // What is active is not replaced by what lies on disk.
      this.update({ ...EMPTY_RUN, attempt });
      return this.load(view.folder!, own);
    }
    const there = view.folder !== null && (await readSweep(view.folder) ?? await readRunFolder(view.folder).catch(() => undefined)) !== undefined;
    this.own = own || !there;
    this.members = there ? members : undefined;
    this.replaceHistory(there ? records : []);
    this.update({ ...(there ? view : { ...EMPTY_RUN, attempt }), ...failure });
  }

  /** Asks whether the run may begin; the view says that it is being prepared. Otherwise the last run is shown again. */
  private async admitted({ admits, cancel }: Admission, attempt: number): Promise<boolean> {
    const before = this.current;
    this.cancelAdmission = cancel;
    this.update({ ...before, attempt, status: 'preparing', progress: { message: 'Looking at what the run needs in memory', fraction: null }, error: null, summary: null });
    // What cannot be found out keeps no run from starting.
    const admitted = await admits().catch(() => true).finally(() => { this.cancelAdmission = undefined; });
    // A stop may come when there is nothing left to cancel, and no engine yet to stop.
    const begins = admitted && this.current.status !== 'stopping';
    if (!begins) this.update(before);
    return begins;
  }

  async pause(): Promise<void> { await (await this.started())?.request('pause', {}); }
  async resume(): Promise<void> { await (await this.started())?.request('resume', {}); }

  /** Writes a checkpoint and the adapter, then ends the run. Where the GPU is known not to answer, the engine is ended, unless it answers meanwhile. */
  async stop(): Promise<void> {
    if (!this.active) return;
    this.update({ status: 'stopping' });
    this.cancelAdmission?.();
    const engine = await this.started();
    const since = this.silentSince;
    await engine?.request('stop', {});
    if (!engine || since === null) return;
    await new Promise(resolve => setTimeout(resolve, LAST_CHANCE_MS));
    if (this.silentSince === since) await engine.abandon(endedSilent(since, 'go on from the last checkpoint, or start again if there is none'));
  }

  /** Writes a checkpoint at the next step. Returns its folder. */
  async saveCheckpoint(): Promise<string | undefined> {
    if (!this.active) return undefined;
    this.update({ saving: true });
    try {
      return (await (await this.started())?.request('save', {}))?.checkpoint;
    } finally {
      this.update({ saving: false });
    }
  }

  /**
   * Takes up what an earlier run left in `folder`: metrics, summary, checkpoints. Where that is not the experiment's `own` output folder, it is not what
   * Continue goes on with. A run that another process still trains is `elsewhere`; `look` follows it.
   */
  async load(folder: string, own = true): Promise<void> {
    const asked = ++this.asked;
    const stale = (): boolean => this.active || asked !== this.asked;
    const pid = await ownerOf(folder);
    if (pid !== undefined) return this.follow(folder, { pid, own }, stale);
    const sweep = await readSweep(folder);
    if (sweep) return this.loadSweep(sweep, folder, own, stale);
    const run = await readRunFolder(folder);
    if (!run) return;
    const [records, summary] = await Promise.all([readMetrics(folder), readSummary(folder)]);
    if (stale()) return;
    this.own = own;
    this.foreign = undefined;
    this.members = undefined;
    this.replaceHistory(records);
    this.update(endedRun(run, summary));
    await this.lookAtFolder();
  }

  private async follow(folder: string, elsewhere: { pid: number; own: boolean }, stale: () => boolean): Promise<void> {
    const foreign = new ForeignRun(folder);
    const news = await foreign.look(true);
    if (stale()) return;
    this.own = elsewhere.own;
    this.foreign = foreign;
    this.members = undefined;
    this.replaceHistory(news.records);
    this.update({ ...EMPTY_RUN, status: 'elsewhere', folder, elsewhere });
    await this.take(news.sweep ? { ...news, reset: true } : { ...news, records: [], reset: false });
  }

  /** Where another process trains the run: whether it still does, and with `metrics` what it has logged since the last look. */
  async look(metrics: boolean): Promise<void> {
    const { foreign } = this;
    const news = await foreign?.look(metrics);
    // Another run may be shown by now.
    if (news && this.foreign === foreign && this.current.status === 'elsewhere') await this.take(news);
  }

  private async take({ owner, records, reset, started, sweep }: News): Promise<void> {
    const { folder, elsewhere, started: known } = this.current;
    if (sweep) {
      this.members ??= new SweepHistory();
      for (const [name, logged] of sweep.others) this.members.replace(name, logged);
      this.members.show(sweep.shown);
    }
    if (reset) this.members?.replace(undefined, records);
    if (reset) this.replaceHistory(records);
    else if (records.length) this.append(records);
    if (sweep) this.update({ sweep: this.members!.view(sweep.members) });
    if (owner !== undefined) {
      if (owner !== elsewhere?.pid || started !== known) this.update({ elsewhere: { pid: owner, own: this.own }, started });
      return;
    }
    const { foreign } = this;
    const ranking = await readSweep(folder!);
    if (this.foreign !== foreign) return;
    if (ranking) return this.loadSweep(ranking, folder!, this.own, () => this.foreign !== foreign);
    const [run, summary] = await Promise.all([readRunFolder(folder!).catch(() => undefined), readSummary(folder!)]);
    // A process that has taken it over meanwhile is found by the next look.
    if (this.foreign !== foreign || run?.status === 'active') return;
    this.foreign = undefined;
    if (!run) return this.clear();
    this.update(endedRun(run, summary));
    await this.lookAtFolder();
  }

  /** A sweep that has ended: its best member is what can be tried, saved and merged. */
  private async showSweep(sweep: SweepSummary): Promise<void> {
    const { members } = this;
    const best = sweep.best === null ? null : path.join(sweep.folder, sweep.best);
    const [summary, records] = best === null ? [null, []] : await Promise.all([readSummary(best), readMetrics(best)]);
    // Another run may be shown by now.
    if (this.members !== members) return;
    members?.show(sweep.best);
    this.replaceHistory(records);
    this.update({
      status: sweep.state === 'stopped' ? 'stopped' : 'finished', summary, folder: best ?? sweep.folder,
      // The summary's path is that of where the sweep was trained; its folder may have been renamed or copied since.
      adapter: best !== null && summary && !summary.full_finetuning ? path.join(best, 'adapter') : null,
      started: startedFrom(summary, best ?? sweep.folder), progress: null,
      sweep: members?.view(sweep.members) ?? null,
    });
  }

  private async loadSweep(sweep: SweepSummary, folder: string, own: boolean, stale: () => boolean): Promise<void> {
    const members = new SweepHistory();
    for (const { name } of sweep.members) members.replace(name, await readMetrics(path.join(folder, name)));
    if (stale()) return;
    this.own = own;
    this.members = members;
    this.foreign = undefined;
    this.update(EMPTY_RUN);
    // A sweep that says it runs was killed.
    await this.showSweep({ ...sweep, folder, state: sweep.state === 'running' ? 'stopped' : sweep.state });
    await this.lookAtFolder();
  }

  /** Has an adapter tried instead of the run's own, until another run is shown or begins; null for the own one. */
  tryWith(chosen: ChosenAdapter | null): void {
    this.update({ chosen });
  }

  /** Forgets a run whose folder was deleted. */
  clear(): void {
    if (this.active) return;
    this.asked += 1;
    this.own = true;
    this.foreign = undefined;
    this.replaceHistory([]);
    this.update(EMPTY_RUN);
  }

  /** Ends the engine, with a last checkpoint if it is training. */
  async shutdown(): Promise<void> {
    await (await this.started())?.shutdown(true);
  }

  dispose(): void {
    void this.started().then(engine => engine?.kill());
    this.changed.dispose();
    this.appended.dispose();
    this.measured.dispose();
  }

  /** Whether the run that was started last, or the sweep, has a folder: until then nothing is written. */
  private get hasBegun(): boolean { return this.current.started !== null || this.current.sweep !== null; }

  /** The engine once it runs; undefined where there is none, or where it did not start. */
  private async started(): Promise<EngineClient | undefined> {
    return this.engine?.catch(() => undefined);
  }

  private listen(engine: EngineClient): void {
    engine.on('started', ({ history, ...started }) => {
      this.replaceHistory(history);
      this.members?.replace(undefined, history);
      this.update({ started, folder: started.run_folder, progress: null });
    });
    engine.on('member', ({ name, number, members }) => {
      this.members?.show(name);
      this.replaceHistory(this.members?.of(name) ?? []);
      this.update({ sweep: this.members?.view(members) ?? null, progress: { message: `Member ${number + 1} of ${members.length}: ${name}`, fraction: null } });
    });
    engine.on('metrics', ({ records }) => this.append(records));
    engine.on('state', ({ state }) => {
      // The engine may still report its work between the click on Stop and its taking effect.
      if (this.current.status === 'stopping' && (state === 'running' || state === 'preparing' || state === 'evaluating')) return;
      if (this.active) this.update({ status: state, progress: state === 'running' ? null : this.current.progress });
    });
    engine.on('blocked', ({ report }) => this.update({ blocked: report }));
    engine.on('silent', ({ since }) => {
      this.silentSince = since;
      this.update({ silent: since === null ? null : silentReport(since, 'Stop ends the engine, and the run goes on from its last checkpoint if there is one') });
    });
    engine.on('telemetry', sample => {
      this.samples = [...this.samples.slice(1 - TELEMETRY_KEPT), sample];
      this.measured.fire(sample);
    });
    engine.on('progress', progress => this.active && this.update({ progress }));
  }

  /** What can be done with the run in the folder that is shown. `known`: whether it can go on, where the status is that of a later start. */
  private async lookAtFolder(known?: boolean): Promise<void> {
    const { folder, status, attempt } = this.current;
    if (!folder) return;
    const run = await readRunFolder(folder).catch(() => undefined);
    const adapter = this.current.adapter ?? path.join(folder, 'adapter');
    const newest = run?.checkpoints.at(-1)?.folder;
    const { error } = this.current;
    const died = error !== null && DIED.includes(error.code);
    // The engine tells of fast steps in batches; its log has those that a process that died could not tell of.
    if (died && !this.members) {
      const written = await readMetrics(folder);
      if (written.length > this.metrics.length) this.replaceHistory(written);
    }
    const trained = await isAdapter(adapter);
    // The next run may have begun meanwhile, or another one may be shown.
    if (this.current.attempt !== attempt || this.current.folder !== folder) return;
    const resumable = known ?? (this.own && status !== 'finished' && (this.members !== undefined || newest !== undefined));
    this.update({
      adapter: trained ? adapter : null, resumable,
      // A process that died cannot say what it has saved.
      ...(died && newest && resumable ? { error: { ...error, lastGoodCheckpoint: newest } } : {}),
    });
  }

  private append(records: MetricRecord[]): void {
    this.history.append(records);
    this.members?.append(records);
    this.appended.fire({ records, reset: false });
    this.changed.fire();
  }

  private replaceHistory(records: readonly MetricRecord[]): void {
    this.history.replace(records);
    this.appended.fire({ records: [...records], reset: true });
  }

  private update(part: Partial<RunView>): void {
    this.current = { ...this.current, ...part };
    this.changed.fire();
  }
}
