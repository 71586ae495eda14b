/** The experiment panel: one webview in the editor area that follows the current experiment. All its state lives in the host. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { EMPTY_RUN, isActive, PANEL_ACTIONS, TELEMETRY_KEPT, type PanelAction, type RunView, type Tried, type TryRequest, type WrittenPair } from '../protocol/panel';
import type { MetricRecord, TelemetrySample } from '../protocol/metrics';
import { settingAt } from '../protocol/experiment';
import { browse } from './browse';
import { Disposables, throttle } from './disposables';
import { ExperimentDocument, isExperimentFile } from './experimentDocument';
import type { ExperimentRun } from './experimentRun';
import type { Lab } from './lab';
import { panelHtml, panelOptions } from './panelHtml';
import { openOrNamed, ReportedError, toReport } from './reports';
import { stopWriting, tryTexts, writeAfter } from './tryAdapter';
import { WebviewConnection } from './webviewConnection';

const VIEW_TYPE = 'loraLab.experiment';
/** At most two batches of metrics a second, each with all steps since the last one: a message costs the same however many steps it tells of. */
const METRICS_MS = 500;
/** The state of a run follows a click. */
const RUN_MS = 100;
/** Written text comes at most 20 times a second. */
const TEXT_MS = 50;

/** The commands behind the panel's buttons. */
const COMMANDS: Record<PanelAction, string> = {
  start: 'loraLab.start', pause: 'loraLab.pause', resume: 'loraLab.resume', stop: 'loraLab.stop', saveCheckpoint: 'loraLab.saveCheckpoint',
  continueRun: 'loraLab.continueRun', saveAdapter: 'loraLab.saveAdapter', mergeAdapter: 'loraLab.mergeAdapter', openFile: 'loraLab.openFile', openRunFolder: 'loraLab.openRunFolder',
  copyMetrics: 'loraLab.copyMetrics', selectTargets: 'loraLab.selectTargetModules', pickExperiment: 'loraLab.pickExperiment', newExperiment: 'loraLab.newExperiment',
  showLog: 'loraLab.showLog', installRuntime: 'loraLab.installRuntime', previewData: 'loraLab.previewData', refreshModel: 'loraLab.refreshModel',
};

/** What goes to the run that trains, whatever is shown. */
const STEERING: PanelAction[] = ['pause', 'resume', 'stop', 'saveCheckpoint'];

export class ExperimentPanel implements vscode.WebviewPanelSerializer {
  private readonly disposables = new Disposables();
  private panel: { webview: vscode.WebviewPanel; connection: WebviewConnection; own: Disposables } | undefined;
  /** What waits for the next batch, and whether it replaces what is shown. */
  private waiting: { records: MetricRecord[]; samples: TelemetrySample[]; reset: boolean } = nothing();
  private followed: ExperimentRun | undefined;
  private following = new Disposables();
  private readonly sendExperiment = this.disposables.add(throttle(50, () => this.visible && this.panel?.connection.notify('experiment', { experiment: this.lab.experimentView() })));
  private readonly sendRun = this.disposables.add(throttle(RUN_MS, () => this.flushRun()));
  /** What the panel knows of the run. New metrics leave it as it is. */
  private sentRun: RunView | undefined;
  private readonly shownOrHidden = this.disposables.add(new vscode.EventEmitter<void>());
  readonly onDidChangeVisibility = this.shownOrHidden.event;
  /** The last try, whose result may come while the page is not there. */
  private tried: Tried | undefined;
  private readonly sendTried = this.disposables.add(throttle(TEXT_MS, () => this.visible && this.tried && this.panel?.connection.notify('tried', this.tried)));
  private readonly sendMetrics = this.disposables.add(throttle(METRICS_MS, () => this.flush()));

  constructor(private readonly lab: Lab) {
    this.disposables.add(vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, this));
    this.disposables.add(lab.onDidChangeExperiment(() => this.experimentChanged()));
    this.disposables.add(lab.onDidChangeRun(run => run === lab.run && this.sendRun()));
  }

  get open(): boolean { return this.panel !== undefined; }
  get visible(): boolean { return this.panel?.webview.visible ?? false; }

  /** Shows the panel, made anew if it was closed. */
  show(preserveFocus = false): void {
    if (this.panel) this.panel.webview.reveal(undefined, preserveFocus);
    else {
      this.adopt(vscode.window.createWebviewPanel(VIEW_TYPE, this.title, { viewColumn: vscode.ViewColumn.Active, preserveFocus }, this.options));
    }
  }

  /** Puts the cursor into the box where a text is tried. */
  focusTry(): void {
    this.show();
    this.panel?.connection.notify('focusTry', {});
  }

  async deserializeWebviewPanel(webview: vscode.WebviewPanel, state: unknown): Promise<void> {
    const file = (state as { file?: unknown } | undefined)?.file;
    if (typeof file === 'string' && !this.lab.document) {
      await this.lab.current.choose(vscode.Uri.file(file)).catch(() => undefined);
    }
    if (this.panel) webview.dispose();
    else {
      webview.webview.options = this.options;
      this.adopt(webview);
    }
  }

  dispose(): void {
    this.following.dispose();
    this.panel?.webview.dispose();
    this.disposables.dispose();
  }

  private get title(): string { return this.lab.document ? `LoRA: ${this.lab.document.name}` : 'LoRA Lab'; }

  private get options(): vscode.WebviewOptions { return panelOptions(this.lab.context.extensionUri); }

  private adopt(webview: vscode.WebviewPanel): void {
    const own = new Disposables();
    const connection = own.add(new WebviewConnection(webview.webview, {
      ready: () => {
        this.followRun();
        this.waiting = nothing();
        this.sentRun = this.lab.run?.view ?? EMPTY_RUN;
        return { ...this.lab.view(), tried: this.tried ?? null };
      },
      edit: async ({ experiment, changes }) => {
        const unknown = changes.find(({ path }) => !settingAt(path));
        if (unknown) throw new ReportedError({ code: 'panel.unknown-key', where: unknown.path.join('.'), cause: 'is no key of an experiment', action: 'report this as a fault of the extension' });
        const { document } = this.lab;
        const uri = vscode.Uri.file(experiment ?? '');
        // What was set right before another experiment was shown belongs to the one before.
        if (document?.file === experiment) await this.lab.edit(document, changes);
        else if (isExperimentFile(uri)) await this.lab.edit(await ExperimentDocument.open(uri), changes);
        return null;
      },
      browse: async ({ experiment, path }) => {
        this.requireShown(experiment);
        if (settingAt(path)?.path) await browse(this.lab, path);
        return null;
      },
      act: async ({ experiment, action }) => {
        if (!STEERING.includes(action)) this.requireShown(experiment);
        if (PANEL_ACTIONS.includes(action)) void this.command(action);
        return null;
      },
      predict: request => this.begin(request, async () => ({ classes: await tryTexts(this.lab, request) })),
      measure: async ({ experiment }) => {
        this.requireShown(experiment);
        await this.lab.measureMemory();
        return null;
      },
      cancelMeasure: async () => {
        this.lab.memory.cancel();
        return null;
      },
      startAnyway: async ({ experiment }) => {
        this.requireShown(experiment);
        void vscode.commands.executeCommand(COMMANDS.start, { anyway: true }).then(undefined, () => { /* the command has shown why */ });
        return null;
      },
      write: ({ settings, ...request }) => this.begin(request, async hear => ({ written: await writeAfter(this.lab, request.texts[0], settings, hear) })),
      stopWriting: () => {
        stopWriting(this.lab);
        return null;
      },
      open: async ({ file, where }) => {
        await openOrNamed(file, where, this.lab.document);
        return null;
      },
    }));
    webview.iconPath = vscode.Uri.joinPath(this.lab.context.extensionUri, 'media', 'lora.svg');
    webview.title = this.title;
    webview.webview.html = panelHtml(webview.webview, this.lab.context.extensionUri);
    // Hidden, a page is no longer there. It asks for everything when it is back; one that was only moved is sent what it missed.
    let shown = webview.visible;
    own.add(webview.onDidChangeViewState(() => {
      const was = shown;
      shown = webview.visible;
      if (was !== shown) this.shownOrHidden.fire();
      if (was || !shown) return;
      this.sendExperiment();
      this.sendRun();
      this.sendMetrics();
      this.sendTried();
    }));
    own.add(webview.onDidDispose(() => {
      stopWriting(this.lab);
      this.lab.tries.end();
      this.panel = this.tried = undefined;
      this.waiting = nothing();
      own.dispose();
      this.shownOrHidden.fire();
    }));
    this.panel = { webview, connection, own };
    this.shownOrHidden.fire();
  }

  /** Runs the command of a button; why it could not be done it has shown itself. */
  private async command(action: PanelAction): Promise<void> {
    const result = await vscode.commands.executeCommand(COMMANDS[action]);
    if (action === 'saveCheckpoint' && typeof result === 'string') this.panel?.connection.notify('saved', { checkpoint: path.basename(result) });
  }

  /** Throws where another experiment has become the current one since the panel asked: nobody has pressed a button for that one. */
  private requireShown(experiment: string | null): void {
    if (experiment === (this.lab.document?.file ?? null)) return;
    throw new ReportedError({ code: 'panel.other-experiment', file: experiment ?? undefined, cause: 'another experiment was shown before the click on a button of this one arrived, so nothing was done', action: 'show it again and click again' });
  }

  /** Begins a try, which takes the place of the last one, and tells of it while it goes on. */
  private begin({ of, texts, pairs }: TryRequest, work: (hear: (written: WrittenPair) => void) => Promise<Partial<Tried>>): null {
    const mine: Tried = this.tried = { of, texts, pairs, classes: null, written: null, error: null, busy: true };
    const tell = (part: Partial<Tried>): void => {
      Object.assign(mine, part);
      if (this.tried === mine) this.sendTried();
    };
    void work(written => tell({ written })).then(part => tell({ ...part, busy: false }), error => tell({ error: toReport(error), busy: false }));
    return null;
  }

  private experimentChanged(): void {
    if (this.panel) this.panel.webview.title = this.title;
    this.followRun();
    this.sendExperiment();
  }

  /** Subscribes to the metrics of the current experiment's run, and replaces the charts when it is another run. */
  private followRun(): void {
    const run = this.lab.run;
    if (run === this.followed) return;
    this.following.dispose();
    this.followed = run;
    if (run) {
      this.following.add(run.onDidAppend(({ records, reset }) => {
        if (!this.panel) return;
        if (reset) this.waiting = { records: [...records], samples: [...run.telemetry], reset: true };
        // One by one: of a log that was followed again after hours there are more than a call may have arguments.
        else for (const record of records) this.waiting.records.push(record);
        this.sendMetrics();
      }));
      this.following.add(run.onDidMeasure(sample => {
        if (!this.panel) return;
        // It goes with the next steps: the page is laid out once for both. Where an earlier one waits still, steps are slow.
        const late = this.waiting.samples.length > 0;
        this.waiting.samples = [...this.waiting.samples.slice(1 - TELEMETRY_KEPT), sample];
        if (late || run.metrics.length === 0) this.sendMetrics();
      }));
    }
    if (this.panel) this.waiting = { records: [...run?.metrics ?? []], samples: [...run?.telemetry ?? []], reset: true };
    this.sendMetrics();
    this.sendRun();
  }

  private flushRun(): void {
    const run = this.lab.run?.view ?? EMPTY_RUN;
    if (run === this.sentRun || !this.visible) return;
    // A run that has ended, or waits, shows its last step, and another run its own.
    if (this.waiting.reset || run.status === 'paused' || !isActive(run.status)) this.flush();
    this.sentRun = run;
    this.panel?.connection.notify('run', { run });
  }

  /** Nothing is sent to a hidden panel: it waits here until the panel is shown. */
  private flush(): void {
    if (!this.visible) return;
    const batch = this.waiting;
    this.waiting = nothing();
    if (batch.reset || batch.records.length || batch.samples.length) this.panel?.connection.notify('metrics', batch);
  }
}

const nothing = (): { records: MetricRecord[]; samples: TelemetrySample[]; reset: boolean } => ({ records: [], samples: [], reset: false });
