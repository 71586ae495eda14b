/** Commands that start, steer and clean up runs. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { metricsCsv } from '../protocol/panel';
import { experimentName } from './experimentDocument';
import type { ExperimentPanel } from './experimentPanel';
import type { Lab } from './lab';
import { requireTrust } from './lab';
import { heldBy, ReportedError } from './reports';
import { ownerOf } from './runFolders';
import type { RunNode, RunTree } from './runTree';
import { showFolder } from './showFolder';

/** How long the status bar says what is no fault. */
const PASSING_MS = 5000;

export interface StartArguments {
  /** Experiment file; default: the current experiment. */
  experiment?: string;
  /** Goes on from the newest checkpoint. */
  resume?: boolean;
  /** Also if it does not fit in memory. */
  anyway?: boolean;
}

/** Trains the current experiment with the panel open. Returns when the run has ended. */
export async function start(lab: Lab, panel: ExperimentPanel, { experiment, resume = false, anyway = false }: StartArguments = {}): Promise<void> {
  requireTrust();
  if (experiment) await lab.current.choose(vscode.Uri.file(experiment));
  const document = await lab.current.require();
  if (!document) return;
  panel.show(true);
  // What goes on keeps what is shown of it.
  await lab.shown;
  await lab.train(document, resume, anyway);
}

export async function pause(lab: Lab): Promise<void> { await activeRun(lab).pause(); }
export async function resume(lab: Lab): Promise<void> { await activeRun(lab).resume(); }
export async function stop(lab: Lab): Promise<void> { await activeRun(lab).stop(); }
export async function saveCheckpoint(lab: Lab): Promise<string | undefined> { return activeRun(lab).saveCheckpoint(); }

/** Shows a run of the tree in the panel. Error `run.active` while that shows another run, which trains; a click on a row (`clicked`) tells of that in passing. */
export async function openRun(lab: Lab, panel: ExperimentPanel, node: RunNode, clicked = false): Promise<void> {
  const { run, experiment } = runOf(node);
  if (experiment) await lab.current.choose(vscode.Uri.file(experiment));
  // The panel is one of an experiment, also where it shows a run that is of none.
  else if (!await lab.current.require()) return;
  await lab.shown;
  const shown = lab.run;
  // Another click has come meanwhile.
  if (!shown || experiment && shown.experimentFile !== vscode.Uri.file(experiment).fsPath) return;
  if (!shown.view.folder || path.normalize(shown.view.folder) !== run.folder) {
    if (shown.active) {
      const cause = `the panel shows the run of ${experimentName(shown.experimentFile)}, which is still training`;
      if (clicked) {
        vscode.window.setStatusBarMessage(`${run.name} can be shown later: ${cause}`, PASSING_MS);
        return panel.show(true);
      }
      throw new ReportedError({ code: 'run.active', file: run.folder, cause, action: 'show this one when that has ended, or stop that first' });
    }
    await shown.load(run.folder, experiment !== undefined);
  }
  shown.tryWith(null);
  panel.show(clicked);
}

/** Shows the run of a folder in the panel. Error `run.gone`. */
export async function openRunIn(lab: Lab, panel: ExperimentPanel, tree: RunTree, folder: string): Promise<void> {
  const node = (await tree.allRuns()).find(({ run }) => run.folder === folder);
  if (!node) throw new ReportedError({ code: 'run.gone', file: folder, cause: 'this folder holds no run any more: it was deleted or moved', action: 'choose another run' });
  await openRun(lab, panel, node);
}

/** Goes on with a run of the tree from its newest checkpoint. */
export async function resumeRun(lab: Lab, panel: ExperimentPanel, node: RunNode): Promise<void> {
  const { run, experiment } = runOf(node);
  if (!experiment) {
    throw new ReportedError({ code: 'run.no-experiment', file: run.folder, cause: 'no experiment in this workspace has this folder as its output_dir', action: `set output_dir of an experiment to "${path.basename(run.folder)}"'s path, then resume` });
  }
  await start(lab, panel, { experiment, resume: true });
}

/** Moves the folders of runs and whole sweeps to the trash after asking once. `confirmed` skips the question. Errors `run.active`: nothing is deleted then. */
export async function deleteRuns(lab: Lab, tree: RunTree, nodes: readonly RunNode[], confirmed = false): Promise<void> {
  const inSweep = (folder: string): boolean => nodes.some(node => node.kind === 'sweep' && node.folder === path.dirname(folder));
  const chosen = nodes.filter(node => node.kind === 'sweep' || node.kind === 'run').filter(node => !inSweep(folderOfNode(node)));
  if (chosen.length === 0) return void vscode.window.setStatusBarMessage('No run is selected in Runs: Enter selects the row at the cursor', PASSING_MS);
  const folders = chosen.map(folderOfNode);
  const refuseActive = async (): Promise<void> => {
    const training = chosen.find(node => node.active);
    if (training) throw new ReportedError({ code: 'run.active', file: folderOfNode(training), cause: `this ${training.kind} is still training`, action: 'stop it first' });
    for (const folder of folders) await refuseHeld(folder, 'stop it there first');
  };
  await refuseActive();
  const runs = chosen.reduce((count, node) => count + (node.kind === 'sweep' ? node.runs.length : 1), 0);
  const what = `Delete ${chosen.length > 1 ? `the ${runs} runs that are selected, with their checkpoints and adapters` : inWords(chosen[0])}?`;
  if (!confirmed && await vscode.window.showWarningMessage(what, { modal: true, detail: folders.join('\n') }, 'Delete') !== 'Delete') return;
  await refuseActive();
  try {
    for (const folder of folders) await deleteRun(lab, folder);
  } finally { await tree.refresh(); }
}

async function deleteRun(lab: Lab, folder: string): Promise<void> {
  const uri = vscode.Uri.file(folder);
  // Not every file system has a trash; the question has been answered, so then it is deleted for good.
  await vscode.workspace.fs.delete(uri, { recursive: true, useTrash: true }).then(undefined, () => vscode.workspace.fs.delete(uri, { recursive: true }));
  lab.allRuns.filter(({ view }) => view.folder !== null && [view.folder, path.dirname(view.folder)].includes(folder)).forEach(run => run.clear());
}

const inWords = (node: RunNode & { kind: 'run' | 'sweep' }): string => (node.kind === 'sweep'
  ? `the sweep "${path.basename(node.folder)}" with its ${node.runs.length} runs`
  : `the run "${node.run.name}" with its ${node.run.checkpoints.length} checkpoints${node.run.adapter ? ' and its adapter' : ''}`);

/** Error `run.active` where another process writes in the folder: a terminal's, another window's, or a sweep that has not done with this member. */
async function refuseHeld(folder: string, action: string): Promise<void> {
  const pid = await ownerOf(folder);
  if (pid === undefined) return;
  throw new ReportedError(heldBy(pid, folder, action));
}

export async function reveal(folder: string | null | undefined): Promise<void> {
  if (folder) await showFolder(folder);
}

export const folderOfNode = (node: RunNode): string => (node.kind === 'run' ? node.run.folder : node.folder);

/** Puts every metric of the current run on the clipboard. Returns the CSV. */
export async function copyMetrics(lab: Lab): Promise<string> {
  const csv = metricsCsv(lab.run?.metrics ?? []);
  await vscode.env.clipboard.writeText(csv);
  vscode.window.setStatusBarMessage('$(check) Metrics copied as CSV', 3000);
  return csv;
}

function activeRun(lab: Lab) {
  const run = lab.activeRun;
  if (!run) throw new ReportedError({ code: 'run.none', cause: 'no run is active', action: 'start one (command "LoRA Lab: Start LoRA fine-tune")' });
  return run;
}

/** The run of a row: its own, or that of a checkpoint or adapter below it. Error `run.sweep`. */
export function runOf(node: RunNode): RunNode & { kind: 'run' } {
  if (node.kind === 'sweep') throw new ReportedError({ code: 'run.sweep', file: node.folder, cause: 'this is a sweep, which is several runs', action: 'choose one of the runs below it' });
  return node.kind === 'run' ? node : runOf(node.parent);
}
