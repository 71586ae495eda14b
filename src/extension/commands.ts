/** Every command of the extension: id → what it does. Titles and conditions stand in package.json. */
import * as vscode from 'vscode';
import type { WriteSettings } from '../protocol/panel';
import { adapterOfNode, chooseAdapter, mergeAdapter, saveAdapter, type MergeArguments, type SaveArguments } from './adapterCommands';
import type { ComparePanel } from './comparePanel';
import { compareRuns } from './compareRuns';
import { continueAdapter } from './continueAdapter';
import type { DataPreviews, PreviewArguments } from './dataPreview';
import type { ExperimentPanel } from './experimentPanel';
import { isExperimentFile } from './experimentDocument';
import type { Lab } from './lab';
import type { ModelTree } from './modelTree';
import type { ModuleNode } from './moduleNodes';
import { installRuntime, type RuntimeArguments } from './installRuntime';
import { newExperiment, type NewExperimentArguments } from './newExperiment';
import { showReport, toReport } from './reports';
import { copyMetrics, deleteRuns, folderOfNode, openRun, pause, resume, resumeRun, reveal, runOf, saveCheckpoint, start, stop, type StartArguments } from './runCommands';
import type { RunNode, RunTree } from './runTree';
import { pickTargets, select, setOverride } from './targetCommands';
import { askAndTry, chooseForTry, taskFor, tryTexts, writeAfter, writes } from './tryAdapter';

export interface Parts { lab: Lab; panel: ExperimentPanel; comparePanel: ComparePanel; modelTree: ModelTree; runTree: RunTree; previews: DataPreviews }

type Command = (...args: never[]) => unknown;

export function commandTable({ lab, panel, comparePanel, runTree, previews }: Parts): Record<string, Command> {
  const chosen = <Node>(node?: Node, many?: Node[]): Node[] => (many?.length ? many : node ? [node] : []);
  return {
    start: (args?: StartArguments) => start(lab, panel, plain(args)),
    continueRun: () => start(lab, panel, { resume: true }),
    pause: () => pause(lab),
    resume: () => resume(lab),
    stop: () => stop(lab),
    saveCheckpoint: () => saveCheckpoint(lab),

    openExperiment: (uri?: vscode.Uri) => openExperiment(lab, panel, uri),
    pickExperiment: () => lab.current.pick(),
    newExperiment: async (args?: NewExperimentArguments) => {
      const file = await newExperiment(lab, plain(args));
      if (file) panel.show();
      return file;
    },
    previewData: (target?: vscode.Uri | PreviewArguments) => previews.open(target instanceof vscode.Uri ? target : plain(target)),
    openPanel: (experimentFile?: string) => openPanel(lab, panel, experimentFile),
    openFile: () => lab.document && vscode.window.showTextDocument(lab.document.uri),

    selectTargetModules: () => pickTargets(lab),
    selectQueryValue: () => select(lab, 'default'),
    selectAttention: () => select(lab, 'attention'),
    selectAllLinear: () => select(lab, 'all'),
    selectNone: () => select(lab, 'none'),
    setRank: (node?: ModuleNode, many?: ModuleNode[], value?: number) => setOverride(lab, 'r', chosen(node, many), value),
    setAlpha: (node?: ModuleNode, many?: ModuleNode[], value?: number) => setOverride(lab, 'lora_alpha', chosen(node, many), value),
    refreshModel: () => lab.refreshModel(),

    saveAdapter: (args?: SaveArguments | RunNode) => saveAdapter(lab, isNode(args) ? { from: adapterOfNode(args) } : plain(args)),
    mergeAdapter: (args?: MergeArguments | RunNode) => mergeAdapter(lab, isNode(args) ? { adapter: adapterOfNode(args) } : plain(args)),
    tryAdapter: (args?: TryArguments | RunNode) => tryAdapter(lab, panel, args),

    openRun: (node: RunNode, _many?: RunNode[], preserveFocus?: boolean) => openRun(lab, panel, node, preserveFocus === true),
    compareRuns: (node?: RunNode, many?: RunNode[]) => compareRuns(comparePanel, runTree, isNode(node) ? chosen(node, many) : []),
    resumeRun: (node: RunNode) => resumeRun(lab, panel, node),
    deleteRun: (node?: RunNode, many?: RunNode[], confirmed?: boolean) => deleteRuns(lab, runTree, node ? chosen(node, many) : runTree.view.selection, confirmed === true),
    continueAdapter: async (node: RunNode) => {
      const file = await continueAdapter(lab, runOf(node), adapterOfNode(node)!);
      if (file) panel.show();
      return file;
    },
    revealRun: (node: RunNode) => reveal(folderOfNode(node)),
    openRunFolder: () => reveal(lab.run?.view.folder),
    refreshRuns: () => runTree.refresh(),
    copyMetrics: () => copyMetrics(lab),
    installRuntime: (args?: RuntimeArguments) => installRuntime(lab, plain(args)),
    showLog: () => lab.log.show(),
  };
}

/** Registers the table. An error is shown to the person; a caller that passed arguments gets it as well. */
export function registerCommands(parts: Parts): vscode.Disposable {
  return vscode.Disposable.from(...Object.entries(commandTable(parts)).map(([name, command]) =>
    vscode.commands.registerCommand(`loraLab.${name}`, async (...args: unknown[]) => {
      try {
        return await (command as (...args: unknown[]) => unknown)(...args);
      } catch (error) {
        parts.lab.log.error(error instanceof Error ? error : String(error));
        void showReport(toReport(error));
        if (args.some(isArguments)) throw error;
        return undefined;
      }
    })));
}

async function openExperiment(lab: Lab, panel: ExperimentPanel, uri: vscode.Uri | undefined): Promise<void> {
  if (uri instanceof vscode.Uri && isExperimentFile(uri)) await lab.current.choose(uri);
  else if ((await lab.current.list()).length > 1 && !await lab.current.pick()) return;
  if (await lab.current.require()) panel.show();
}

/** Shows the panel, with a certain experiment if one is named; where its file is no longer there, with the current one. */
async function openPanel(lab: Lab, panel: ExperimentPanel, experimentFile: string | undefined): Promise<void> {
  if (typeof experimentFile === 'string') await lab.current.choose(vscode.Uri.file(experimentFile)).catch(() => undefined);
  panel.show();
}

export interface TryArguments { adapter?: string; text?: string; text_pair?: string; settings?: WriteSettings }

/** With a text: returns what base and adapter make of it. Without: shows the panel's box, or asks for a text where there is no experiment. */
async function tryAdapter(lab: Lab, panel: ExperimentPanel, args: TryArguments | RunNode | undefined): Promise<unknown> {
  const given = isNode(args) ? adapterOfNode(args) : plain(args)?.adapter;
  const { text, text_pair, settings = {} } = (isNode(args) ? undefined : plain(args)) ?? {};
  const adapter = given ?? lab.run?.view.adapter ?? undefined;
  if (text !== undefined) return adapter && writes(await taskFor(lab, adapter)) ? writeAfter(lab, text, settings, undefined, adapter) : tryTexts(lab, { texts: [text], pairs: text_pair === undefined ? undefined : [text_pair] }, adapter);
  const chosen = adapter ?? await chooseAdapter(lab, 'Try adapter');
  if (!chosen) return undefined;
  if (!lab.document) await lab.current.initialize();
  if (!lab.document) return askAndTry(lab, chosen);
  await lab.shown;
  await chooseForTry(lab, chosen);
  return panel.focusTry();
}

const isNode = (value: unknown): value is RunNode => typeof value === 'object' && value !== null && 'kind' in value;
/** Arguments of a test or a keybinding; what views and menus pass along is something else. */
const isArguments = (value: unknown): boolean => typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype && !('kind' in value);
const plain = <T extends object>(value: T | undefined): T | undefined => (isArguments(value) ? value : undefined);
