/** Several runs beside each other, in a panel of its own. Those that are trained are followed while it is seen, the others looked at when it comes to be seen. */
import * as path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as vscode from 'vscode';
import type { Comparison, ComparisonNotifications, ComparisonRequests, KeptComparison } from '../protocol/comparison';
import type { MetricRecord } from '../protocol/metrics';
import { compare, type RunToCompare } from './comparison';
import { Disposables } from './disposables';
import type { Lab } from './lab';
import { MetricsTail } from './metricsTail';
import { panelHtml, panelOptions } from './panelHtml';
import { showReport, toReport } from './reports';
import { readJson, readRunFolder, readSummary } from './runFolders';
import { WebviewConnection } from './webviewConnection';

const VIEW_TYPE = 'loraLab.compare';
/** How often it is looked what the runs that are trained have logged since. */
const FOLLOW_MS = 2000;

/** One of the runs: what has been read of its folder, and how to read on. */
export interface FollowedRun { log: MetricsTail; read: RunToCompare }

const isTrained = ({ read: { state } }: FollowedRun): boolean => state === 'running' || state === 'waiting';

export class ComparePanel implements vscode.WebviewPanelSerializer {
  private panel: { webview: vscode.WebviewPanel; connection: WebviewConnection<ComparisonRequests, ComparisonNotifications>; own: Disposables } | undefined;
  private runs: readonly FollowedRun[] = [];
  private timer: NodeJS.Timeout | undefined;
  /** A log may not be read twice at a time. */
  private looking = false;
  /** One that had ended may have gone on meanwhile, or be gone. */
  private lookAtAll = false;

  private readonly serializer: vscode.Disposable;

  constructor(private readonly lab: Lab, private readonly openRun: (folder: string) => Promise<void>) {
    this.serializer = vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, this);
  }

  /** Shows these runs in place of those before. Returns what is shown. */
  show(runs: readonly FollowedRun[]): Comparison {
    this.runs = runs;
    if (this.panel) this.panel.webview.reveal();
    else this.adopt(vscode.window.createWebviewPanel(VIEW_TYPE, 'LoRA: compare runs', vscode.ViewColumn.Active, this.options));
    this.tell();
    return this.comparison();
  }

  /** The page of a window that was reloaded, with those of its runs that are still there. */
  async deserializeWebviewPanel(webview: vscode.WebviewPanel, state: unknown): Promise<void> {
    const kept = (state as Partial<KeptComparison> | undefined)?.runs ?? [];
    const runs = (await Promise.all(kept.map(readRun))).filter(({ read }) => read.state !== 'deleted');
    if (this.panel || !runs.length) return webview.dispose();
    this.runs = runs;
    webview.webview.options = this.options;
    this.adopt(webview);
    this.followSoon(FOLLOW_MS);
  }

  dispose(): void {
    this.serializer.dispose();
    this.panel?.webview.dispose();
  }

  private get options(): vscode.WebviewOptions { return panelOptions(this.lab.context.extensionUri); }

  /** What is shown. */
  comparison(): Comparison {
    return compare(this.runs.map(({ read }) => read));
  }

  private adopt(webview: vscode.WebviewPanel): void {
    const { extensionUri } = this.lab.context;
    const own = new Disposables();
    const connection = own.add(new WebviewConnection<ComparisonRequests, ComparisonNotifications>(webview.webview, {
      ready: () => this.comparison(),
      openRun: async ({ folder }) => {
        await this.openRun(folder).catch(error => void showReport(toReport(error)));
        return null;
      },
    }));
    webview.iconPath = vscode.Uri.joinPath(extensionUri, 'media', 'lora.svg');
    webview.webview.html = panelHtml(webview.webview, extensionUri, { script: 'compare.js', title: 'Compare runs' });
    own.add(webview.onDidChangeViewState(() => {
      this.lookAtAll = true;
      this.followSoon(0);
    }));
    own.add(webview.onDidDispose(() => {
      clearTimeout(this.timer);
      this.panel = undefined;
      this.runs = [];
      own.dispose();
    }));
    this.panel = { webview, connection, own };
  }

  private tell(): void {
    this.panel?.connection.notify('comparison', this.comparison());
    this.followSoon(FOLLOW_MS);
  }

  /** A page that is hidden is not there; it asks for everything when it is back. */
  private followSoon(wait: number): void {
    clearTimeout(this.timer);
    if (this.panel?.webview.visible && (this.lookAtAll || this.runs.some(isTrained))) this.timer = setTimeout(() => void this.follow(), wait);
  }

  private async follow(): Promise<void> {
    if (this.looking) return this.followSoon(FOLLOW_MS);
    const { runs, lookAtAll } = this;
    this.looking = true;
    this.lookAtAll = false;
    const now = await Promise.all(runs.map(run => (lookAtAll || isTrained(run) ? look(run) : run))).finally(() => { this.looking = false; });
    // Others may have been chosen meanwhile.
    if (this.runs !== runs) return;
    this.runs = now;
    // A page that is drawn again loses what is selected or read there.
    if (now.some((run, i) => run !== runs[i])) this.tell();
    else this.followSoon(FOLLOW_MS);
  }
}

/** A run as its folder tells; its state is `deleted` where that holds none. */
export async function readRun({ folder, experiment }: KeptComparison['runs'][number]): Promise<FollowedRun> {
  return look({
    log: new MetricsTail(path.join(folder, 'metrics.jsonl')),
    read: { folder, experiment, state: 'waiting', settings: await readJson(folder, 'experiment.json'), records: [], summary: null },
  });
}

/** The run as its folder tells now, the same one where that is nothing new; one that is gone keeps what it had. */
async function look(run: FollowedRun): Promise<FollowedRun> {
  const { log, read } = run;
  const folder = await readRunFolder(read.folder).catch(() => undefined);
  if (!folder) return read.state === 'deleted' ? run : { ...run, read: { ...read, state: 'deleted' } };
  const [{ records, reset }, summary] = await Promise.all([log.read(), readSummary(read.folder)]);
  const all: readonly MetricRecord[] = reset ? records : [...read.records, ...records];
  const state = folder.status !== 'active' ? folder.status : all.length ? 'running' : 'waiting';
  if (!reset && records.length === 0 && state === read.state && isDeepStrictEqual(summary, read.summary)) return run;
  return { ...run, read: { ...read, state, records: all, summary } };
}
