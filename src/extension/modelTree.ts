/** The Model tree: ticking writes `target_modules` of the experiment file, and the file's text ticks the tree. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { formatInteger } from '../protocol/adapterMath';
import { targetChanges } from '../protocol/targetNames';
import { Disposables } from './disposables';
import type { Lab } from './lab';
import { buildModuleTree, isTrained, nodeState, tickable, type ModuleNode, type NodeState } from './moduleNodes';
import { formatReport } from '../protocol/panel';
import { showReport, toReport } from './reports';

/**
 * VS Code forgets the rows below one that is drawn anew until it has asked for them again, and a click on one of them is lost meanwhile. It takes a
 * round trip for each level, which over SSH is a while. So rows that hold others wait for a pause of this length, and a series of clicks is not disturbed.
 */
const PARENTS_MS = 1000;

export class ModelTree implements vscode.TreeDataProvider<ModuleNode> {
  private readonly disposables = new Disposables();
  private readonly changed = this.disposables.add(new vscode.EventEmitter<ModuleNode | ModuleNode[] | undefined>());
  private readonly view: vscode.TreeView<ModuleNode>;
  private root: { model: unknown; node: ModuleNode } | undefined;
  private ticking: Promise<void> = Promise.resolve();
  /** What VS Code was last told of each row that it has asked for. */
  private readonly told = new Map<ModuleNode, string>();
  private pause: NodeJS.Timeout | undefined;

  readonly onDidChangeTreeData = this.changed.event;

  constructor(private readonly lab: Lab) {
    this.view = this.disposables.add(vscode.window.createTreeView('loraLab.model', {
      treeDataProvider: this, manageCheckboxStateManually: true, showCollapseAll: true, canSelectMany: true,
    }));
    this.disposables.add(this.view.onDidChangeCheckboxState(({ items }) => this.tick(items)));
    this.disposables.add(lab.onDidChangeExperiment(() => this.refresh()));
    this.refresh();
  }

  getChildren(node?: ModuleNode): ModuleNode[] {
    if (node) return node.children;
    return this.root ? [this.root.node] : [];
  }

  getParent(node: ModuleNode): ModuleNode | undefined {
    return node.parent;
  }

  getTreeItem(node: ModuleNode): vscode.TreeItem {
    const item = this.itemOf(node);
    this.told.set(node, JSON.stringify(item));
    return item;
  }

  private itemOf(node: ModuleNode, ticked = this.lab.ticked): vscode.TreeItem {
    const lora = this.lab.document!.reading.values.lora;
    const state = nodeState(node, ticked, lora);
    const item = new vscode.TreeItem(node.label, node.children.length === 0 ? vscode.TreeItemCollapsibleState.None
      : node.kind === 'model' || node.id === this.firstLayer()?.id || node.parent?.id === this.firstLayer()?.id ? vscode.TreeItemCollapsibleState.Expanded
        : vscode.TreeItemCollapsibleState.Collapsed);
    item.id = node.id;
    item.description = state.description;
    const whole = isTrained(node, lora);
    item.tooltip = tooltip(node, state, whole);
    item.contextValue = state.total === 0 ? 'fixed' : node.kind === 'module' ? 'adaptable' : 'adaptables';
    item.accessibilityInformation = { label: [node.label, state.description].filter(Boolean).join(', ') };
    if (state.total === 0) {
      // Rows with neither box nor icon would be drawn one level further left than their siblings.
      item.iconPath = new vscode.ThemeIcon(whole ? 'unlock' : 'lock');
    } else {
      const all = state.ticked === state.total;
      item.checkboxState = {
        state: all ? vscode.TreeItemCheckboxState.Checked : vscode.TreeItemCheckboxState.Unchecked,
        tooltip: node.module ? (all ? 'Has an adapter' : 'Has no adapter') : `${state.ticked} of ${state.total} have adapters`,
        accessibilityInformation: { label: `${state.ticked} of ${state.total} adapted` },
      };
    }
    return item;
  }

  /** One click may tick several items; they become one edit of the file. Clicks wait for each other: each starts from what the last one wrote. */
  tick(items: readonly (readonly [ModuleNode, vscode.TreeItemCheckboxState])[]): Promise<void> {
    return this.ticking = this.ticking.then(() => this.applyTicks(items));
  }

  dispose(): void {
    clearTimeout(this.pause);
    this.disposables.dispose();
  }

  private refresh(): void {
    const { model, document } = this.lab;
    const shown = this.root?.model;
    if (model.state === 'ready' && document) {
      if (shown !== model.model) this.root = { model: model.model, node: buildModuleTree(model.model, path.basename(model.model.folder)) };
    } else {
      this.root = undefined;
    }
    if (this.root?.model !== shown) this.redraw();
    else this.update();
    const count = this.lab.count;
    this.view.description = document && count ? `${document.name} · ${(100 * count.trainable_parameters / count.all_parameters).toFixed(2)} % trainable` : document?.name;
    this.view.message = model.state === 'error' ? formatReport(model.error) : model.state === 'loading' ? 'Reading the checkpoint…' : undefined;
  }

  private redraw(): void {
    clearTimeout(this.pause);
    this.told.clear();
    this.changed.fire(undefined);
  }

  /** Draws the rows anew that say something else now: modules at once, what holds others after a pause. */
  private update(): void {
    const modules = this.outdated().filter(node => node.module);
    if (modules.length) this.changed.fire(modules);
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.updateAll(), PARENTS_MS);
  }

  /** Again while anything is outdated: VS Code ignores rows that it has forgotten at the moment. */
  private updateAll(tries = 10): void {
    const rows = this.outdated();
    if (!rows.length || tries === 0) return;
    // It will ask for what is below them, if that is to be seen.
    for (const node of this.told.keys()) if (rows.some(row => isBelow(node, row))) this.told.delete(node);
    this.changed.fire(rows);
    this.pause = setTimeout(() => this.updateAll(tries - 1), PARENTS_MS);
  }

  private outdated(): ModuleNode[] {
    const { ticked } = this.lab;
    return [...this.told].filter(([node, item]) => JSON.stringify(this.itemOf(node, ticked)) !== item).map(([node]) => node);
  }

  private async applyTicks(items: readonly (readonly [ModuleNode, vscode.TreeItemCheckboxState])[]): Promise<void> {
    const { document, model } = this.lab;
    if (!document || model.state !== 'ready') return;
    // A click that was lost is told of without its row, which shows it all the same.
    if (!items.length) return this.redraw();
    const lora = document.reading.values.lora;
    const ticked = new Set(this.lab.ticked);
    for (const [node, state] of items) {
      for (const { name } of tickable(node, lora)) {
        if (state === vscode.TreeItemCheckboxState.Checked) ticked.add(name);
        else ticked.delete(name);
      }
    }
    try {
      await setTicked(this.lab, ticked);
    } catch (error) {
      void showReport(toReport(error));
    } finally {
      // Where the edit failed the boxes must show what the file says.
      for (const [node] of items) if (this.told.has(node)) this.told.set(node, '');
      this.update();
    }
  }

  private firstLayer(): ModuleNode | undefined {
    return this.root?.node.children.find(c => c.kind === 'layer');
  }
}

const isBelow = (node: ModuleNode, row: ModuleNode): boolean => node.parent !== undefined && (node.parent === row || isBelow(node.parent, row));

/** Writes the shortest `target_modules` that match exactly these modules. */
export async function setTicked(lab: Lab, ticked: ReadonlySet<string>): Promise<void> {
  const { document, model } = lab;
  if (!document || model.state !== 'ready') return;
  await lab.edit(document, targetChanges(model.model, document.reading.values.lora, ticked));
}

/** `whole`: something in the node is trained whole. */
function tooltip(node: ModuleNode, state: NodeState, whole: boolean): vscode.MarkdownString {
  const text = new vscode.MarkdownString();
  const { module } = node;
  if (!module) {
    text.appendMarkdown(`**${escape(node.label)}**\n\n${state.total ? `${state.ticked} of ${state.total} modules have adapters` : whole ? 'Trained whole, without adapters' : 'Nothing here can be adapted'}`);
    return text;
  }
  const rows = [
    ['weight', `\`[${module.shape.join(', ')}]\` ${module.dtype ?? 'starts at random (not in the checkpoint)'}`],
    ['parameters', formatInteger(module.parameters)],
  ];
  if (state.adapter) {
    const { A, B, parameters, lora_alpha, r, scaling } = state.adapter;
    const root = scaling === lora_alpha / r ? '' : '√';
    rows.push(['A', `\`[${A.join(', ')}]\``], ['B', `\`[${B.join(', ')}]\``], ['adapter', `${formatInteger(parameters)} parameters`],
      [`scaling α / ${root}r`, `${lora_alpha} / ${root}${r} = ${Number(scaling.toPrecision(4))}`]);
  }
  // Columns of a table in a hover have next to no space between them.
  text.appendMarkdown(`**${escape(module.name)}** · ${module.type}\n\n| | |\n|---|---|\n${rows.map(([k, v]) => `| ${k}&emsp; | ${v} |`).join('\n')}\n`);
  return text;
}

const escape = (text: string): string => text.replace(/[\\`*_{}[\]()#+!|<>-]/g, '\\$&');
