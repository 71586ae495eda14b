/** Starts and ends the extension. Its parts are listed in `activate`; commands stand in commands.ts. */
import * as vscode from 'vscode';
import { registerCommands } from './commands';
import { ComparePanel } from './comparePanel';
import { followContextKeys } from './contextKeys';
import { DataPreviews } from './dataPreview';
import { liveEngines } from './engineClient';
import { ExperimentPanel } from './experimentPanel';
import { registerHovers } from './hovers';
import { Lab } from './lab';
import type { MemoryProbe } from './memoryProbe';
import { ModelTree } from './modelTree';
import { openAtStart } from './openAtStart';
import { openRunIn } from './runCommands';
import { RunFollower } from './runFollower';
import { RunTree } from './runTree';
import { StatusBar } from './statusBar';
import { readState, type LabState } from './state';

let lab: Lab | undefined;

/** What tests see of the extension: facts, the trees and the comparison that VS Code itself cannot be asked about, and what the panel's button does. */
export interface LabExports { state(): LabState; modelTree: ModelTree; runTree: RunTree; comparePanel: ComparePanel; measureMemory(): Promise<void>; memory: MemoryProbe }

export async function activate(context: vscode.ExtensionContext): Promise<LabExports> {
  const log = vscode.window.createOutputChannel('LoRA Lab', { log: true });
  const current = lab = new Lab(context, log);
  const panel = new ExperimentPanel(current);
  const modelTree = new ModelTree(current);
  const runTree = new RunTree(current);
  const comparePanel = new ComparePanel(current, folder => openRunIn(current, panel, runTree, folder));
  const previews = new DataPreviews(current);
  context.subscriptions.push(
    log, panel, comparePanel, modelTree, runTree, previews,
    new StatusBar(current, panel),
    new RunFollower(current, panel),
    followContextKeys(current),
    registerHovers(current),
    registerCommands({ lab: current, panel, comparePanel, modelTree, runTree, previews }),
  );
  void current.current.initialize().then(() => openAtStart(current, panel)).catch(error => log.error(error));
  return { state: () => readState(current, panel), modelTree, runTree, comparePanel, measureMemory: () => current.measureMemory(), memory: current.memory };
}

/** Ends every engine: one that trains writes a last checkpoint first, one that merges removes what is unfinished. */
export async function deactivate(): Promise<void> {
  const merging = liveEngines().filter(engine => engine.merging);
  await Promise.all([lab?.shutdown(), ...merging.map(engine => engine.cancel())]);
  for (const engine of liveEngines()) engine.kill();
}
