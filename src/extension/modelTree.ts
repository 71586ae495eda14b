/** The Model tree: ticking writes `target_modules` of the experiment file, and the file's text ticks the tree. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { formatInteger, isSaved } from '../protocol/adapterMath';
import { targetChanges } from '../protocol/targetNames';
import { Disposables } from './disposables';
import type { Lab } from './lab';
import { buildModuleTree, nodeState, tickable, type ModuleNode, type NodeState } from './moduleNodes';
import { formatReport } from '../protocol/panel';
import { showReport, toReport } from './reports';

export class ModelTree implements vscode.TreeDataProvider<ModuleNode> {
  private readonly disposables = new Disposables();
  private readonly changed = this.disposables.add(new vscode.EventEmitter<ModuleNode | undefined>());
  private readonly view: vscode.TreeView<ModuleNode>;
  private root: { model: unknown; node: ModuleNode } | undefined;
  private ticking: Promise<void> = Promise.resolve();

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
    const lora = this.lab.document!.reading.values.lora;
    const state = nodeState(node, this.lab.ticked, lora);
    const item = new vscode.TreeItem(node.label, node.children.length === 0 ? vscode.TreeItemCollapsibleState.None
      : node.kind === 'model' || node.id === this.firstLayer()?.id || node.parent?.id === this.firstLayer()?.id ? vscode.TreeItemCollapsibleState.Expanded
        : vscode.TreeItemCollapsibleState.Collapsed);
    item.id = node.id;
    item.description = state.description;
    item.tooltip = tooltip(node, state);
    item.contextValue = state.total === 0 ? 'fixed' : node.kind === 'module' ? 'adaptable' : 'adaptables';
    item.accessibilityInformation = { label: [node.label, state.description].filter(Boolean).join(', ') };
    if (state.total === 0) {
      // Rows with neither box nor icon would be drawn one level further left than their siblings.
      item.iconPath = new vscode.ThemeIcon(node.module && isSaved(node.module, lora) ? 'unlock' : 'lock');
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
    this.disposables.dispose();
  }

  private refresh(): void {
    const { model, document } = this.lab;
    if (model.state === 'ready' && document) {
      if (this.root?.model !== model.model) this.root = { model: model.model, node: buildModuleTree(model.model, path.basename(model.model.folder)) };
    } else {
      this.root = undefined;
    }
    const count = this.lab.count;
    this.view.description = document && count ? `${document.name} · ${(100 * count.trainable_parameters / count.all_parameters).toFixed(2)} % trainable` : document?.name;
    this.view.message = model.state === 'error' ? formatReport(model.error) : model.state === 'loading' ? 'Reading the checkpoint…' : undefined;
    this.changed.fire(undefined);
  }

  private async applyTicks(items: readonly (readonly [ModuleNode, vscode.TreeItemCheckboxState])[]): Promise<void> {
    const { document, model } = this.lab;
    if (!document || model.state !== 'ready') return;
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
      this.changed.fire(undefined);
    }
  }

  private firstLayer(): ModuleNode | undefined {
    return this.root?.node.children.find(c => c.kind === 'layer');
  }
}

/** Writes the shortest `target_modules` that match exactly these modules. */
export async function setTicked(lab: Lab, ticked: ReadonlySet<string>): Promise<void> {
  const { document, model } = lab;
  if (!document || model.state !== 'ready') return;
  await lab.edit(document, targetChanges(model.model, document.reading.values.lora, ticked));
}

function tooltip(node: ModuleNode, state: NodeState): vscode.MarkdownString {
  const text = new vscode.MarkdownString();
  const { module } = node;
  if (!module) {
    text.appendMarkdown(`**${escape(node.label)}**\n\n${state.total ? `${state.ticked} of ${state.total} modules have adapters` : 'Nothing here can be adapted'}`);
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
