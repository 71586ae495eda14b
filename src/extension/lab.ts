/** What the extension knows: the current experiment, its checkpoint, its run. Trees, panel, status bar and commands look here. */
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as vscode from 'vscode';
import { countAdapter, matchedModules, type AdapterCount } from '../protocol/adapterMath';
import type { ErrorReport } from '../protocol/engine';
import type { SettingChange } from '../protocol/experiment';
import { EMPTY_RUN, settingsFixed, WHOLE_MODEL, type ExperimentView, type ModelView, type PanelView } from '../protocol/panel';
import { CurrentExperiment } from './currentExperiment';
import { Disposables } from './disposables';
import { liveEngines, withEngine, type EngineOptions } from './engineClient';
import { workFolder, type ExperimentDocument } from './experimentDocument';
import { ExperimentRun } from './experimentRun';
import { MemoryProbe, type MemorySubject } from './memoryProbe';
import { heldBy, ReportedError, toReport } from './reports';
import { newestDefaultRun, ownerOf, readRunFolder, readSweep } from './runFolders';
import { TryEngine } from './tryEngine';

/** Whoever types a path has not done with it for this long after a key. */
const TYPING_MS = 300;

export type ModelState = { state: 'none' } | { state: 'loading' } | { state: 'error'; error: ErrorReport } | { state: 'ready'; model: ModelView };

export class Lab {
  private readonly disposables = new Disposables();
  private readonly experimentChanged = this.disposables.add(new vscode.EventEmitter<void>());
  private readonly runChanged = this.disposables.add(new vscode.EventEmitter<ExperimentRun>());
  private readonly runs = new Map<string, ExperimentRun>();
  /** Where the run of an experiment was looked for. */
  private readonly outputs = new Map<string, string | undefined>();
  private showing: Promise<void> = Promise.resolve();
  /** What `run` was when it was last told of. */
  private toldRun: ExperimentRun | undefined;
  /** Checkpoint folder and task that `modelState` is about. */
  private modelKey: string | undefined;
  /** The experiment that named them last. */
  private modelOf: string | undefined;
  /** Ends the engine that reads the checkpoint. */
  private inspection = new AbortController();
  private modelState: ModelState = { state: 'none' };

  readonly memory: MemoryProbe;
  readonly current: CurrentExperiment;
  /** Experiment text, checkpoint or trust changed. */
  readonly onDidChangeExperiment = this.experimentChanged.event;
  readonly onDidChangeRun = this.runChanged.event;

  /** Where texts are tried. It holds models in memory, which whoever measures, trains or installs needs for himself. */
  readonly tries = new TryEngine();
  private triedFor: string | undefined;

  constructor(readonly context: vscode.ExtensionContext, readonly log: vscode.LogOutputChannel) {
    this.memory = new MemoryProbe(context.workspaceState, () => this.experimentChanged.fire());
    this.current = this.disposables.add(new CurrentExperiment(context.workspaceState));
    this.disposables.add(this.current.onDidChange(() => this.update()));
    this.disposables.add(vscode.workspace.onDidGrantWorkspaceTrust(() => this.update()));
  }

  get document(): ExperimentDocument | undefined { return this.current.document; }
  get model(): ModelState { return this.modelState; }
  get engineOptions(): EngineOptions {
    return { extensionPath: this.context.extensionPath, cwd: workFolder(this.document?.uri), runtimes: path.join(this.context.globalStorageUri.fsPath, 'runtime'), log: this.log };
  }

  /**
   * The run of the current experiment, whether it is active or lies on disk. What this window trains in its folder for another experiment,
   * as for the file that it is a copy of or had before it was renamed, is that run.
   */
  get run(): ExperimentRun | undefined {
    const { document, activeRun, output } = this;
    if (!document) return undefined;
    return output !== undefined && activeRun?.trainsIn(output) ? activeRun : this.runs.get(document.file);
  }
  /** Fulfilled when the last run of the current experiment has been looked for and is shown: what is shown then is not replaced by it. */
  get shown(): Promise<void> { return this.showing; }
  /** The folder that the current experiment names for its run; undefined where each run gets a new one. */
  get output(): string | undefined { return this.document && outputOf(this.document); }
  /** The run that this window trains now. One at a time: two would share the same device. */
  get activeRun(): ExperimentRun | undefined { return [...this.runs.values()].find(run => run.active); }
  get allRuns(): readonly ExperimentRun[] { return [...this.runs.values()]; }

  /** Modules that the current experiment puts adapters on, by name. */
  get ticked(): ReadonlySet<string> {
    if (!this.document || this.modelState.state !== 'ready') return new Set();
    return new Set(matchedModules(this.modelState.model, this.document.reading.values.lora).map(m => m.name));
  }

  get count(): AdapterCount | undefined {
    return this.document && this.modelState.state === 'ready' ? countAdapter(this.modelState.model, this.document.reading.values.lora) : undefined;
  }

  /** Everything the panel of the current experiment shows. */
  view(): PanelView {
    const run = this.run;
    return { experiment: this.experimentView(), run: run?.view ?? EMPTY_RUN, metrics: [...run?.metrics ?? []], telemetry: [...run?.telemetry ?? []] };
  }

  experimentView(): ExperimentView | null {
    if (!this.document) return null;
    const { file, name, reading } = this.document;
    return {
      file, name, values: reading.values, problems: reading.problems.map(({ path, cause, action }) => ({ path, cause, action })),
      model: this.modelState.state === 'ready' ? this.modelState.model : null,
      model_error: this.modelState.state === 'error' ? this.modelState.error : null,
      memory: this.memory.view(this.subject(this.document)),
      trusted: vscode.workspace.isTrusted,
    };
  }

  /** Changes an experiment for a tick, a command or a control of the panel. Errors: those of `requireEditable` and of `ExperimentDocument.edit`. */
  async edit(document: ExperimentDocument, changes: readonly SettingChange[]): Promise<void> {
    for (const { path } of changes) this.requireEditable(document, path[0]);
    await document.edit(changes);
  }

  /** Throws where a section of an experiment cannot be changed: `run.active` while its run is trained, `lora.whole-model` where there is no adapter. */
  requireEditable(document: ExperimentDocument, section: string): void {
    const whole = section === 'lora' && document.reading.values.lora.full;
    // As in the panel: also where this window trains in its folder for another experiment.
    const run = document === this.document ? this.run : this.runs.get(document.file);
    const report = settingsFixed(run?.view ?? EMPTY_RUN) ?? (whole ? WHOLE_MODEL : undefined);
    if (report) throw new ReportedError({ ...report, file: document.file });
  }

  /** Reads the checkpoint again, also if it did not change. */
  async refreshModel(): Promise<void> {
    this.modelKey = this.modelOf = undefined;
    await this.update();
  }

  /** Runs one step of the current experiment to see what memory it needs. Throws where `train` would. */
  async measureMemory(): Promise<void> {
    const { document } = this;
    const subject = document && this.subject(document);
    if (!subject) return;
    this.requireIdle(document);
    await document.save();
    this.requireIdle(document);
    if (await this.memory.measure(subject, this.engineOptions) !== 'exceeded') return;
    throw new ReportedError({
      code: 'memory.exceeded', file: document.file, cause: 'one step would have taken all memory that was left on this machine, so it was ended',
      action: 'close other programs, or lower per_device_train_batch_size, max_length or engine.precision',
    });
  }

  /** What memory is measured of; undefined until the checkpoint has been read. */
  private subject(document: ExperimentDocument): MemorySubject | undefined {
    if (document !== this.document || this.modelState.state !== 'ready') return undefined;
    const { values } = document.reading;
    return { file: document.file, values, model: this.modelState.model, data: document.resolve(values.dataset.train ?? '') };
  }

  /**
   * Trains the current experiment. Returns when the run has ended, or was held because it does not fit in memory (`anyway` starts it nevertheless).
   * Throws before anything is started: restricted workspace, another run is active, problems in the file.
   */
  async train(document: ExperimentDocument, resume: boolean, anyway = false): Promise<ExperimentRun> {
    this.requireIdle(document);
    await document.save();
    await this.requireFree(document);
    // Another start may have come meanwhile. From here on nothing is waited for until the run is active.
    this.requireIdle(document);
    this.memory.release();
    const run = this.runOf(document.file);
    const { engineOptions: options, memory } = this;
    const subject = this.subject(document);
    const { sweep } = document.reading;
    const admission = subject && !anyway ? { admits: () => memory.admits(subject, options), cancel: () => memory.cancel() } : undefined;
    const { summary, longest, rows, half_precision } = await run.train(options, { resume, sweep, admission }) ?? {};
    // A sweep of which every member had ended before says nothing of the data.
    if (subject && summary && longest) {
      await memory.learn(subject, {
        peak_memory_bytes: summary.peak_memory_bytes, peak_with_fp32: summary.peak_with_fp32, device: summary.device, longest, rows, half_precision, gpu_memory_bytes: summary.own_gpu_memory_bytes ?? null, device_memory_bytes: run.telemetry.at(-1)?.gpu?.memory_total_bytes ?? null,
      }, summary.state === 'finished' && !resume);
    }
    return run;
  }

  /** Throws if an experiment cannot be run now. What texts are tried with gives its memory to what will run. */
  private requireIdle(document: ExperimentDocument): void {
    requireTrust();
    const active = this.activeRun;
    if (active) {
      throw new ReportedError({ code: 'run.active', file: active.experimentFile, cause: 'this experiment is still training', action: 'stop it first, or wait until it has ended' });
    }
    const problem = document.reading.problems[0];
    if (problem) {
      throw new ReportedError({ code: 'experiment.problem', file: document.file, where: problem.path.join('.') || undefined, cause: problem.cause, action: problem.action });
    }
    this.tries.end();
  }

  /** Throws if another process trains in the experiment's output folder. An engine of this window that is about to end is given the time. */
  private async requireFree(document: ExperimentDocument): Promise<void> {
    const output = outputOf(document);
    const pid = output && await ownerOf(output);
    if (pid && !liveEngines().some(engine => engine.pid === pid)) throw new ReportedError(heldBy(pid, output, 'stop it there first, or wait until it has ended'));
  }

  /** The run of an experiment file, made if there is none yet. */
  runOf(file: string): ExperimentRun {
    let run = this.runs.get(file);
    if (!run) {
      const created = run = new ExperimentRun(file);
      this.runs.set(file, created);
      this.disposables.add(created);
      this.disposables.add(created.onDidChange(() => {
        this.runChanged.fire(created);
        // It has begun, or ended, in the folder of another experiment.
        if (this.run !== this.toldRun) void this.update();
      }));
    }
    return run;
  }

  /** Waits until running engines have written a last checkpoint, then ends every one. */
  async shutdown(): Promise<void> {
    this.memory.cancel();
    this.tries.end();
    await Promise.all(this.allRuns.map(run => run.shutdown()));
    this.disposables.dispose();
  }

  private async update(): Promise<void> {
    this.memory.settingsAre(this.document?.file, this.document?.reading.values);
    if (this.document?.file !== this.triedFor) this.tries.end();
    this.triedFor = this.document?.file;
    if (this.document) this.runOf(this.document.file);
    this.toldRun = this.run;
    this.experimentChanged.fire();
    const [inspecting, loading] = [this.inspect(), this.loadLastRun()];
    this.showing = Promise.allSettled([this.showing, loading]).then(() => undefined);
    await Promise.all([inspecting, loading]);
  }

  /** Reads the checkpoint of the current experiment, if it is another one than before. */
  private async inspect(): Promise<void> {
    const document = this.document;
    const values = document?.reading.values;
    const dataset = document && values?.dataset.train ? { ...values.dataset, train: document.resolve(values.dataset.train), eval: values.dataset.eval && document.resolve(values.dataset.eval) } : undefined;
    const key = document && values?.base_model && vscode.workspace.isTrusted ? JSON.stringify([values.task, values.problem_type, document.resolve(values.base_model), dataset]) : undefined;
    const typed = this.modelOf === document?.file;
    this.modelOf = document?.file;
    if (key === this.modelKey) return;
    this.modelKey = key;
    this.inspection.abort();
    const { signal } = this.inspection = new AbortController();
    if (!key) return this.setModel({ state: 'none' });
    this.setModel({ state: 'loading' });
    if (typed) await sleep(TYPING_MS);
    if (signal.aborted) return;
    const folder = document!.resolve(values!.base_model);
    let state: ModelState;
    try {
      const inspection = await vscode.window.withProgress({ location: { viewId: 'loraLab.model' } }, () =>
        withEngine(this.engineOptions, engine => engine.request('inspect', { folder, task: values!.task, problem_type: values!.problem_type, dataset }), signal));
      state = { state: 'ready', model: inspection };
    } catch (error) {
      state = { state: 'error', error: toReport(error) };
    }
    // Another checkpoint may have been asked for meanwhile; only the latest answer counts.
    if (!signal.aborted) this.setModel(state);
  }

  private setModel(state: ModelState): void {
    this.modelState = state;
    this.experimentChanged.fire();
  }

  /**
   * After a reload of the window the run folder is all that is left of a run, and of one that another process trains it is all there is: show it.
   * Where the experiment names another folder later, a run that trains in the one before is none of its own any more.
   */
  private async loadLastRun(): Promise<void> {
    const { document } = this;
    if (!document) return;
    const run = this.runOf(document.file);
    const output = outputOf(document);
    if (this.run !== run) {
      // What was in the folder before is no longer there. What is in it now is looked for when it has ended.
      run.clear();
      this.outputs.delete(document.file);
      return;
    }
    const looked = this.outputs.has(document.file);
    if (looked && this.outputs.get(document.file) === output) return;
    this.outputs.set(document.file, output);
    if (!looked && run.view.status === 'none') {
      const last = output ?? await newestDefaultRun(document.name, workFolder(document.uri));
      if (last !== undefined) return showRun(run, last);
    }
    if (run.view.elsewhere?.own) run.clear();
    if (run.view.status === 'none') await this.lookForRun();
  }

  /** Shows what another process has begun in the current experiment's output folder since that was looked into. */
  async lookForRun(): Promise<void> {
    const { output, run } = this;
    if (!run || !output || run.active || run.view.elsewhere || !run.isOwn) return;
    const pid = await ownerOf(output);
    if (pid !== undefined && !liveEngines().some(engine => engine.pid === pid)) await run.load(output);
  }
}

function outputOf(document: ExperimentDocument): string | undefined {
  const { output_dir } = document.reading.values;
  return output_dir ? path.normalize(document.resolve(output_dir)) : undefined;
}

/** Takes up the run or sweep in a folder, if there is one. The folder of a sweep is none of a run. */
async function showRun(run: ExperimentRun, folder: string): Promise<void> {
  if (await readSweep(folder) ?? await readRunFolder(folder).catch(() => undefined)) await run.load(folder);
}

/** Throws in a restricted workspace: training reads and runs what the workspace names. */
export function requireTrust(): void {
  if (vscode.workspace.isTrusted) return;
  throw new ReportedError({ code: 'workspace.untrusted', cause: 'this workspace is in Restricted Mode, where LoRA Lab starts no engine', action: 'trust the workspace (command "Workspaces: Manage Workspace Trust")' });
}
