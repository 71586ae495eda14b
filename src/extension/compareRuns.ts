/** Which runs are compared: those of the rows that were chosen, or those that a person picks. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { MOST_COMPARED, type Comparison } from '../protocol/comparison';
import { readRun, type ComparePanel } from './comparePanel';
import { experimentName } from './experimentDocument';
import { ReportedError } from './reports';
import { runOf } from './runCommands';
import type { RunNode, RunTree } from './runTree';

type Run = RunNode & { kind: 'run' };

/**
 * Shows runs beside each other: of a sweep its members, of a checkpoint or adapter its run. Without `nodes` a person picks them. Returns what is shown, undefined where nothing was picked.
 * Errors `compare.none`, `compare.one`, `compare.many`, `compare.gone`, `compare.no-metrics`.
 */
export async function compareRuns(panel: ComparePanel, tree: RunTree, nodes: readonly RunNode[]): Promise<Comparison | undefined> {
  const chosen = nodes.length ? nodes.flatMap(runsOf) : await pick(tree);
  if (!chosen) return undefined;
  const runs = chosen.filter((run, i) => chosen.findIndex(({ run: { folder } }) => folder === run.run.folder) === i);
  if (runs.length < 2) throw new ReportedError({ code: 'compare.one', file: runs[0]?.run.folder, cause: `${runs.length ? 'only one run was' : 'no run was'} chosen, and a comparison needs two`, action: 'choose several rows of Runs with Ctrl (⌘ on a Mac) or Shift, then Compare…' });
  if (runs.length > MOST_COMPARED) throw new ReportedError({ code: 'compare.many', cause: `${runs.length} runs were chosen, and more than ${MOST_COMPARED} lines cannot be told apart`, action: `choose at most ${MOST_COMPARED}` });
  const all = await Promise.all(runs.map(({ run: { folder }, experiment }) => readRun({ folder, experiment: experiment ? experimentName(experiment) : null })));
  const read = all.map(run => run.read);
  const gone = read.find(({ state }) => state === 'deleted');
  if (gone) throw new ReportedError({ code: 'compare.gone', file: gone.folder, cause: 'this folder holds no run any more: it was deleted or moved', action: 'refresh Runs and choose again' });
  if (read.every(({ records }) => records.length === 0)) throw new ReportedError({ code: 'compare.no-metrics', file: path.join(read[0].folder, 'metrics.jsonl'), cause: 'none of these runs has logged a step, so there is nothing to compare', action: 'compare them when they have trained' });
  return panel.show(all);
}

const runsOf = (node: RunNode): Run[] => (node.kind === 'sweep' ? node.runs.flatMap(runsOf) : [runOf(node)]);

/** Asks which of all runs, those of the selected rows ticked. */
async function pick(tree: RunTree): Promise<Run[] | undefined> {
  const [all, selected] = [await tree.allRuns(), tree.view.selection.flatMap(runsOf)];
  if (all.length < 2) throw new ReportedError({ code: 'compare.none', cause: `there ${all.length ? 'is only one run' : 'is no run'} in this workspace, and a comparison needs two`, action: 'train another one' });
  const items = all.map(node => {
    const { description, iconPath } = tree.getTreeItem(node);
    return {
      node, label: node.run.name, description: [node.experiment && experimentName(node.experiment), description].filter(Boolean).join(' · '), detail: vscode.workspace.asRelativePath(node.run.folder),
      iconPath: iconPath as vscode.ThemeIcon, picked: selected.some(({ run }) => run.folder === node.run.folder),
    };
  });
  return (await vscode.window.showQuickPick(items, { canPickMany: true, matchOnDescription: true, matchOnDetail: true, title: 'Compare runs', placeHolder: `Choose 2 to ${MOST_COMPARED} runs` }))?.map(({ node }) => node);
}
