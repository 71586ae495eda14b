/** The Runs tree: run folders of the workspace, with their checkpoints and adapters. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { isEvalRecord, shownMetrics } from '../protocol/metrics';
import { Disposables, throttle } from './disposables';
import type { ExperimentRun } from './experimentRun';
import type { Lab } from './lab';
import { readExperiment } from './jsonEdit';
import { listRunFolders, type RunFolder } from './runFolders';

export type RunNode =
  | { kind: 'run'; run: RunFolder; experiment: string | undefined; active: ExperimentRun | undefined }
  | { kind: 'checkpoint'; folder: string; step: number; parent: RunNode }
  | { kind: 'adapter'; folder: string; parent: RunNode };

export class RunTree implements vscode.TreeDataProvider<RunNode> {
  private readonly disposables = new Disposables();
  private readonly changed = this.disposables.add(new vscode.EventEmitter<RunNode | undefined>());
  private readonly refreshSoon = this.disposables.add(throttle(500, () => this.changed.fire(undefined)));
  private readonly updateSoon = this.disposables.add(throttle(500, () => this.shownActive && this.changed.fire(this.shownActive)));
  /** The row of the run that is training; statuses and folders of all runs when the disk was last read. */
  private shownActive: RunNode | undefined;
  private listed = '';
  readonly onDidChangeTreeData = this.changed.event;
  readonly view: vscode.TreeView<RunNode>;

  constructor(private readonly lab: Lab) {
    this.view = this.disposables.add(vscode.window.createTreeView('loraLab.runs', { treeDataProvider: this, showCollapseAll: true }));
    this.disposables.add(lab.onDidChangeRun(() => this.runChanged()));
    this.disposables.add(lab.onDidChangeExperiment(() => this.refreshSoon()));
    const watcher = this.disposables.add(vscode.workspace.createFileSystemWatcher('**/{summary.json,adapter_config.json}'));
    for (const event of [watcher.onDidCreate, watcher.onDidChange, watcher.onDidDelete]) this.disposables.add(event(() => this.refreshSoon()));
  }

  refresh(): void {
    this.changed.fire(undefined);
  }

  async getChildren(node?: RunNode): Promise<RunNode[]> {
    if (!node) return this.runs();
    if (node.kind !== 'run') return [];
    const { adapter, checkpoints } = node.run;
    return [
      ...(adapter ? [{ kind: 'adapter' as const, folder: adapter, parent: node }] : []),
      ...checkpoints.map(c => ({ kind: 'checkpoint' as const, ...c, parent: node })).reverse(),
    ];
  }

  getParent(node: RunNode): RunNode | undefined {
    return node.kind === 'run' ? undefined : node.parent;
  }

  getTreeItem(node: RunNode): vscode.TreeItem {
    if (node.kind === 'run') return runItem(node);
    const item = new vscode.TreeItem(node.kind === 'adapter' ? 'adapter' : `checkpoint ${node.step}`);
    item.id = node.folder;
    item.iconPath = new vscode.ThemeIcon(node.kind === 'adapter' ? 'package' : 'save');
    item.description = node.kind === 'adapter' ? 'PEFT' : undefined;
    item.contextValue = node.kind;
    item.tooltip = node.folder;
    return item;
  }

  dispose(): void {
    this.disposables.dispose();
  }

  /** A step changes one row. Only another status or folder makes it worth reading the disk again. */
  private runChanged(): void {
    const now = this.lab.allRuns.map(({ view }) => `${view.status} ${view.folder}`).join();
    if (now === this.listed) this.updateSoon();
    else this.refreshSoon();
    this.listed = now;
  }

  private async runs(): Promise<RunNode[]> {
    const experiments = await Promise.all((await this.lab.current.list()).map(async uri => ({ file: uri.fsPath, output: await outputFolder(uri) })));
    const mine = this.lab.allRuns.flatMap(run => run.view.folder ?? []);
    const parents = [...new Set([
      ...(vscode.workspace.workspaceFolders ?? []).map(folder => folder.uri.fsPath),
      ...experiments.map(({ file }) => path.dirname(file)),
    ])].map(folder => path.join(folder, '.lora', 'runs'));
    // An earlier run in the same output_dir was moved to a folder beside it.
    parents.push(...experiments.flatMap(({ output }) => (output ? path.dirname(output) : [])));
    const folders = [...mine, ...experiments.flatMap(({ output }) => output ?? [])].map(folder => path.normalize(folder));
    const runs = await listRunFolders(folders, [...new Set(parents)]);
    const nodes = runs.map((run): RunNode => {
      const owner = this.lab.allRuns.find(r => r.view.folder && path.normalize(r.view.folder) === run.folder);
      const active = owner?.active ? owner : undefined;
      const experiment = owner?.experimentFile ?? experiments.find(e => e.output && path.normalize(e.output) === run.folder)?.file;
      return { kind: 'run', run: active ? { ...run, status: 'active' } : run, experiment, active };
    });
    this.shownActive = nodes.find(node => node.kind === 'run' && node.active);
    return nodes;
  }
}

async function outputFolder(uri: vscode.Uri): Promise<string | undefined> {
  try {
    const text = Buffer.from(await vscode.workspace.fs.readFile(uri)).toString('utf8');
    const output = readExperiment(text).values.output_dir;
    return output ? path.resolve(path.dirname(uri.fsPath), output) : undefined;
  } catch {
    return undefined;
  }
}

const ICONS: Record<RunFolder['status'], vscode.ThemeIcon> = {
  finished: new vscode.ThemeIcon('pass', new vscode.ThemeColor('testing.iconPassed')),
  stopped: new vscode.ThemeIcon('debug-stop'),
  failed: new vscode.ThemeIcon('error', new vscode.ThemeColor('testing.iconFailed')),
  active: new vscode.ThemeIcon('sync~spin'),
};

function runItem(node: RunNode & { kind: 'run' }): vscode.TreeItem {
  const { run, active } = node;
  const item = new vscode.TreeItem(run.name, run.adapter || run.checkpoints.length ? vscode.TreeItemCollapsibleState.Collapsed : vscode.TreeItemCollapsibleState.None);
  const records = active?.metrics ?? [];
  const train = records.findLast(r => !isEvalRecord(r));
  const loss = train && 'loss' in train ? Number(train.loss) : run.last_loss;
  const last = records.findLast(isEvalRecord);
  const metrics = last ? shownMetrics(last) : run.metrics;
  const status = active ? active.view.status : run.status;
  const numbers = [...metrics.slice(0, 1).map(({ name, text }) => `${name} ${text}`), ...(loss === null ? [] : [`loss ${loss.toFixed(3)}`])];
  const parts = [status, ...metrics.map(({ name, text }) => `${name} ${text}`), ...(loss === null ? [] : [`loss ${loss.toFixed(3)}`])];
  item.id = run.folder;
  // The icon says "finished" and "running" as well, and a side bar is narrow.
  item.description = (status === 'finished' || status === 'running' ? numbers : [status, ...numbers]).join(' · ');
  item.iconPath = ICONS[run.status];
  item.contextValue = `run-${run.status}${run.adapter ? '-adapter' : ''}${run.checkpoints.length ? '-checkpoint' : ''}`;
  item.tooltip = `${run.folder}\n${parts.join(', ')}, ${run.steps} steps`;
  item.accessibilityInformation = { label: `run ${run.name}, ${parts.join(', ')}` };
  return item;
}
