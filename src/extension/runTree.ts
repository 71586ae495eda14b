/** The Runs tree: run folders of the workspace, with their checkpoints and adapters. */
import * as path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as vscode from 'vscode';
import { LOCK_NAME } from '../machine/folderOwner';
import { shownMetrics, type SweepSummary } from '../protocol/metrics';
import { Disposables, throttle } from './disposables';
import { experimentName, workFolder } from './experimentDocument';
import type { ExperimentRun } from './experimentRun';
import type { Lab } from './lab';
import { readExperiment, type Reading } from './jsonEdit';
import { defaultRuns, isAdapter, listRunFolders, listSweepFolders, newestDefaultRun, type RunFolder } from './runFolders';

export type RunNode =
  | { kind: 'sweep'; folder: string; sweep: SweepSummary; time: number; active: boolean; runs: RunNode[] }
  | { kind: 'run'; run: RunFolder; experiment: string | undefined; active: ExperimentRun | undefined; followed: ExperimentRun | undefined; parent?: RunNode }
  | { kind: 'checkpoint'; folder: string; step: number; adapter: boolean; parent: RunNode }
  | { kind: 'adapter'; folder: string; parent: RunNode };

/** The rows, newest first; among them that of the run that is training, or else followed; the folders of all. */
type RunsRead = { roots: RunNode[]; active: RunNode | undefined; folders: string[] };

/** The row of a run that is training, or followed, says its latest loss at this pace. */
const ROW_MS = 1000;

export class RunTree implements vscode.TreeDataProvider<RunNode> {
  private readonly disposables = new Disposables();
  private readonly changed = this.disposables.add(new vscode.EventEmitter<RunNode | undefined>());
  private readonly refreshSoon = this.disposables.add(throttle(500, () => void this.refresh()));
  private readonly updateSoon = this.disposables.add(throttle(ROW_MS, () => this.view.visible && this.shown?.active && this.changed.fire(this.shown.active)));
  /** What the disk held when it was last read; undefined until then, and where it could not be read. */
  private shown: RunsRead | undefined;
  private first: Promise<RunsRead> | undefined;
  private reading: Promise<void> | undefined;
  private stale = false;
  /** Statuses and folders of this window's runs when they were last told. */
  private listed = '';
  /** The current experiment and its output folder, when they were last told. */
  private experiment = '';
  readonly onDidChangeTreeData = this.changed.event;
  readonly view: vscode.TreeView<RunNode>;

  constructor(private readonly lab: Lab) {
    this.view = this.disposables.add(vscode.window.createTreeView('loraLab.runs', { treeDataProvider: this, showCollapseAll: true, canSelectMany: true }));
    this.disposables.add(this.view.onDidChangeVisibility(({ visible }) => visible && this.refreshSoon()));
    this.disposables.add(lab.onDidChangeRun(() => this.runChanged()));
    this.disposables.add(lab.onDidChangeExperiment(() => this.experimentChanged()));
    const watcher = this.disposables.add(vscode.workspace.createFileSystemWatcher(`**/{summary.json,sweep.json,adapter_config.json,${LOCK_NAME}}`));
    for (const event of [watcher.onDidCreate, watcher.onDidChange, watcher.onDidDelete]) this.disposables.add(event(() => this.refreshSoon()));
    // Of a folder that is deleted or renamed with all that is in it the watcher tells only the folder, and of one outside of the workspace nothing.
    const gone = this.disposables.add(vscode.workspace.createFileSystemWatcher('**/*', true, true));
    this.disposables.add(gone.onDidDelete(({ fsPath }) => this.shown?.folders.some(folder => folder === fsPath || folder.startsWith(fsPath + path.sep)) && this.refreshSoon()));
    this.disposables.add(vscode.window.onDidChangeWindowState(({ focused }) => focused && this.view.visible && this.refreshSoon()));
  }

  /**
   * Reads the disk, and has VS Code draw the rows anew where there is something new. From then until it has asked for them no row counts as selected,
   * and Delete or a menu would find nothing to do. Fulfilled when what the disk holds now is shown.
   */
  refresh(): Promise<void> {
    this.stale = true;
    return this.reading ??= this.readWhileStale();
  }

  async getChildren(node?: RunNode): Promise<RunNode[]> {
    if (!node) {
      const first = this.shown ?? await (this.first ??= this.read().finally(() => { this.first = undefined; }));
      return (this.shown ??= first).roots;
    }
    if (node.kind === 'sweep') return node.runs;
    if (node.kind !== 'run') return [];
    const { adapter, checkpoints } = node.run;
    return [
      ...(adapter ? [{ kind: 'adapter' as const, folder: adapter, parent: node }] : []),
      // Where the whole model is trained they hold no adapter.
      ...(await Promise.all(checkpoints.map(async c => ({ kind: 'checkpoint' as const, ...c, adapter: await isAdapter(c.folder), parent: node })))).reverse(),
    ];
  }

  /** Every run of the workspace, those of sweeps among them. */
  async allRuns(): Promise<(RunNode & { kind: 'run' })[]> {
    return (await this.read()).roots.flatMap(node => (node.kind === 'sweep' ? node.runs : [node])).filter(node => node.kind === 'run');
  }

  getParent(node: RunNode): RunNode | undefined {
    return node.kind === 'sweep' ? undefined : node.parent;
  }

  getTreeItem(node: RunNode): vscode.TreeItem {
    if (node.kind === 'run') return runItem(node);
    if (node.kind === 'sweep') return sweepItem(node);
    const item = new vscode.TreeItem(node.kind === 'adapter' ? 'adapter' : `checkpoint ${node.step}`);
    item.id = node.folder;
    item.iconPath = new vscode.ThemeIcon(node.kind === 'adapter' ? 'package' : 'save');
    item.description = node.kind === 'adapter' ? 'PEFT' : undefined;
    item.contextValue = node.kind === 'checkpoint' && node.adapter ? 'checkpoint-adapter' : node.kind;
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

  /** Of an experiment only the place of its runs matters here, not every key that is typed. */
  private experimentChanged(): void {
    const now = `${this.lab.document?.file} ${this.lab.output}`;
    if (now !== this.experiment) this.refreshSoon();
    this.experiment = now;
  }

  private async readWhileStale(): Promise<void> {
    while (this.stale) {
      this.stale = false;
      const read = await this.read().catch(() => undefined);
      if (!isDeepStrictEqual(read?.roots, this.shown?.roots)) {
        this.shown = read;
        this.changed.fire(undefined);
      } else if (this.shown?.active) this.changed.fire(this.shown.active);
    }
    this.reading = undefined;
  }

  private async read(): Promise<RunsRead> {
    const { document } = this.lab;
    const readingOf = async (uri: vscode.Uri): Promise<Reading> => (uri.fsPath === document?.file ? document.reading : readExperiment(Buffer.from(await vscode.workspace.fs.readFile(uri)).toString('utf8')));
    const experiments = await Promise.all((await this.lab.current.list()).map(async uri => ({ file: uri.fsPath, output: await readingOf(uri).then(reading => outputFolder(uri, reading)).catch(() => undefined) })));
    const mine = this.lab.allRuns.flatMap(run => run.view.folder ?? []);
    const parents = [...new Set([
      ...(vscode.workspace.workspaceFolders ?? []).map(folder => folder.uri.fsPath),
      ...experiments.map(({ file }) => path.dirname(file)),
    ])].map(defaultRuns);
    // An earlier run in the same output_dir was moved to a folder beside it.
    parents.push(...experiments.flatMap(({ output }) => (output ? path.dirname(output) : [])));
    const folders = [...mine, ...experiments.flatMap(({ output }) => output ?? [])].map(folder => path.normalize(folder));
    const sweeps = await listSweepFolders([...folders, ...mine.map(folder => path.dirname(path.normalize(folder)))], [...new Set(parents)]);
    const runs = await listRunFolders([...folders, ...sweeps.flatMap(({ folder, sweep }) => sweep.members.map(({ name }) => path.join(folder, name)))], [...new Set(parents)]);
    const ofSweep = (folder: string): string | undefined => sweeps.find(sweep => sweep.folder === path.dirname(folder))?.folder;
    const nodes = runs.map(run => {
      const owner = this.lab.allRuns.find(r => r.view.folder && path.normalize(r.view.folder) === run.folder);
      const active = owner?.active ? owner : undefined;
      const followed = owner?.view.elsewhere ? owner : undefined;
      // The panel of an experiment may also show a run that is none of its own.
      const experiment = (owner?.isOwn ? owner.experimentFile : undefined) ?? experiments.find(e => e.output && [run.folder, ofSweep(run.folder)].includes(path.normalize(e.output)))?.file;
      return { kind: 'run' as const, run: active ? { ...run, status: 'active' as const } : run, experiment, active, followed, parent: undefined as RunNode | undefined };
    });
    const groups = sweeps.map(({ folder, sweep, time, held }) => {
      // The best first, as the sweep ranks them.
      const members = sweep.members.flatMap(({ name }) => nodes.find(node => node.run.folder === path.join(folder, name)) ?? []);
      const group: RunNode & { kind: 'sweep' } = { kind: 'sweep', folder, sweep, time, active: held || members.some(node => node.active), runs: members };
      for (const node of members) node.parent = group;
      return group;
    });
    return {
      roots: [...groups, ...nodes.filter(node => !node.parent)].sort((a, b) => timeOf(b) - timeOf(a)),
      active: nodes.find(node => node.active) ?? nodes.find(node => node.followed),
      folders: [...sweeps, ...runs].map(({ folder }) => folder),
    };
  }
}

/** Where the run of an experiment lies that Continue goes on with; undefined if it has none. */
async function outputFolder(uri: vscode.Uri, { values: { output_dir } }: Reading): Promise<string | undefined> {
  return output_dir ? path.resolve(path.dirname(uri.fsPath), output_dir) : newestDefaultRun(experimentName(uri.fsPath), workFolder(uri));
}

const timeOf = (node: RunNode & { kind: 'sweep' | 'run' }): number => (node.kind === 'sweep' ? node.time : node.run.time);

/** A sweep: how many of its members have ended, and the best value so far. */
function sweepItem({ folder, sweep, active }: RunNode & { kind: 'sweep' }): vscode.TreeItem {
  const item = new vscode.TreeItem(path.basename(folder), vscode.TreeItemCollapsibleState.Expanded);
  const status = active ? 'running' : sweep.state === 'running' ? 'failed' : sweep.state;
  const ended = sweep.members.filter(({ state }) => ['finished', 'halved', 'failed'].includes(state)).length;
  const best = sweep.members[0]?.value;
  item.id = folder;
  item.description = [`sweep ${ended}/${sweep.members.length}`, ...(best === null || best === undefined ? [] : [`best ${sweep.metric} ${best.toFixed(3)}`])].join(' · ');
  item.iconPath = ICONS[status === 'running' ? 'active' : status];
  item.contextValue = `sweep-${status}`;
  item.tooltip = `${folder}\n${status}, ${item.description}`;
  item.accessibilityInformation = { label: `sweep ${path.basename(folder)}, ${status}, ${item.description}` };
  return item;
}

const ICONS: Record<RunFolder['status'], vscode.ThemeIcon> = {
  finished: new vscode.ThemeIcon('pass', new vscode.ThemeColor('testing.iconPassed')),
  stopped: new vscode.ThemeIcon('debug-stop'),
  failed: new vscode.ThemeIcon('error', new vscode.ThemeColor('testing.iconFailed')),
  // Still: an icon that turns has the whole window composed anew sixty times a second, on the processor that trains where there is no GPU.
  active: new vscode.ThemeIcon('pulse', new vscode.ThemeColor('charts.blue')),
};

/** A run that this window does not train: a member of a sweep that is to go on, or one of a terminal or another window. */
const whereHeld = ({ parent }: RunNode & { kind: 'run' }): string => (parent?.kind === 'sweep' && parent.runs.some(node => node.kind === 'run' && node.active) ? 'waiting' : 'running elsewhere');

function runItem(node: RunNode & { kind: 'run' }): vscode.TreeItem {
  const { run, active, followed } = node;
  const item = new vscode.TreeItem(run.name, run.adapter || run.checkpoints.length ? vscode.TreeItemCollapsibleState.Collapsed : vscode.TreeItemCollapsibleState.None);
  // A run is not followed while the panel is hidden: the folder may know more.
  const { trained, evaluated } = (active ?? (followed && (followed.latest.trained?.step ?? 0) >= run.steps ? followed : undefined))?.latest ?? {};
  const loss = trained ? Number(trained.loss) : run.last_loss;
  const metrics = evaluated ? shownMetrics(evaluated) : run.metrics;
  const status = active ? active.view.status : run.status === 'active' ? whereHeld(node) : run.status;
  const numbers = [...metrics.slice(0, 1).map(({ name, text }) => `${name} ${text}`), ...(loss === null ? [] : [`loss ${loss.toFixed(3)}`])];
  const parts = [status, ...metrics.map(({ name, text }) => `${name} ${text}`), ...(loss === null ? [] : [`loss ${loss.toFixed(3)}`])];
  item.id = run.folder;
  // The icon says "finished" and "running" as well, and a side bar is narrow.
  item.description = (status === 'finished' || status === 'running' ? numbers : [status, ...numbers]).join(' · ');
  item.iconPath = ICONS[run.status];
  item.contextValue = `run-${run.status}${run.adapter ? '-adapter' : ''}${run.checkpoints.length ? '-checkpoint' : ''}`;
  // The keyboard stays in the list, where the next row may be wanted.
  item.command = { command: 'loraLab.openRun', title: 'Show in panel', arguments: [node, undefined, true] };
  item.tooltip = `${run.folder}\n${parts.join(', ')}, ${run.steps} steps`;
  item.accessibilityInformation = { label: `run ${run.name}, ${parts.join(', ')}` };
  return item;
}
