/** What is done with a trained adapter: saved elsewhere, merged into its base. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { formatBytes } from '../protocol/adapterMath';
import { copyFolderAtomic } from './copyFolder';
import { withEngine } from './engineClient';
import { freeName } from './freeName';
import { requireTrust, type Lab } from './lab';
import { ReportedError } from './reports';
import { baseOfAdapter, CHECKPOINT_NAME, isAdapter, isCheckpointFolder } from './runFolders';
import type { RunNode } from './runTree';
import { showFolder } from './showFolder';

export interface SaveArguments { from?: string; to?: string }
export interface MergeArguments { base?: string; adapter?: string; out?: string }

/** What the engine writes into a checkpoint beside the adapter, for a run to go on from. */
const RESUMING = ['manifest.json', 'optimizer.safetensors', 'trainer_state.json'];

/** Copies a PEFT folder to a chosen place. Arguments that are not given are asked for. Returns the new folder. */
export async function saveAdapter(lab: Lab, args: SaveArguments = {}): Promise<string | undefined> {
  const from = args.from ?? await chooseAdapter(lab, 'Save adapter');
  if (!from) return undefined;
  await requireAdapter(from);
  const to = args.to ?? await chooseNewFolder(lab, 'Save adapter as', 'adapter');
  if (!to) return undefined;
  await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title: 'Saving the adapter' }, () => copyFolderAtomic(from, to, CHECKPOINT_NAME.test(path.basename(from)) ? RESUMING : []));
  if (args.to === undefined) void offerToReveal(`Adapter saved in ${vscode.workspace.asRelativePath(to)}.`, to);
  return to;
}

/** Writes base + adapter as a new checkpoint. Arguments that are not given are asked for. Returns the new folder. */
export async function mergeAdapter(lab: Lab, args: MergeArguments = {}): Promise<string | undefined> {
  requireTrust();
  const adapter = args.adapter ?? await chooseAdapter(lab, 'Merge adapter');
  if (!adapter) return undefined;
  await requireAdapter(adapter);
  const base = args.base ?? await baseFor(lab, adapter);
  if (!base) return undefined;
  const out = args.out ?? await chooseNewFolder(lab, 'Write the merged model to', 'merged');
  if (!out) return undefined;
  const report = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: 'Merging the adapter', cancellable: true }, (progress, token) =>
    withEngine(lab.engineOptions, engine => {
      token.onCancellationRequested(() => void engine.cancel());
      let done = 0;
      engine.on('progress', ({ message, fraction }) => {
        const percent = 100 * (fraction ?? done / 100);
        progress.report({ message, increment: Math.max(0, percent - done) });
        done = Math.max(done, percent);
      });
      return engine.request('merge', { base, adapter, out }).catch(error => {
        if (token.isCancellationRequested) return undefined;
        throw error;
      });
    }));
  if (!report) return undefined;
  if (args.out === undefined) {
    void offerToReveal(`Merged ${report.merged_modules.length} modules into ${vscode.workspace.asRelativePath(report.out)} (${formatBytes(report.bytes)}, ${report.seconds.toFixed(1)} s).`, report.out);
  }
  return report.out;
}

/** The folder that a tree node's command is about. */
export function adapterOfNode(node: RunNode | undefined): string | undefined {
  if (!node) return undefined;
  if (node.kind === 'adapter' || node.kind === 'checkpoint' && node.adapter) return node.folder;
  return node.kind === 'run' ? node.run.adapter ?? undefined : undefined;
}

/** The base model of an adapter: what the adapter names, else, where that was moved, the current experiment's, else asked for. */
export async function baseFor(lab: Lab, adapter: string): Promise<string | undefined> {
  const { document } = lab;
  const folders = [...(document ? [document.folder] : []), ...(vscode.workspace.workspaceFolders ?? []).map(f => f.uri.fsPath)];
  const named = await baseOfAdapter(adapter, folders);
  if (named) return named;
  const own = document && document.reading.values.base_model ? document.resolve(document.reading.values.base_model) : undefined;
  if (own && await isCheckpointFolder(own)) return own;
  const picked = await vscode.window.showOpenDialog({ title: 'Base model of the adapter', canSelectFolders: true, canSelectFiles: false, openLabel: 'Use as base model' });
  return picked?.[0].fsPath;
}

/** The adapter of the current run, else a folder that the person chooses. */
export async function chooseAdapter(lab: Lab, title: string): Promise<string | undefined> {
  const own = lab.run?.view.adapter;
  if (own) return own;
  const picked = await vscode.window.showOpenDialog({ title: `${title}: choose a PEFT adapter folder`, canSelectFolders: true, canSelectFiles: false, openLabel: 'Use adapter' });
  return picked?.[0].fsPath;
}

async function chooseNewFolder(lab: Lab, title: string, what: string): Promise<string | undefined> {
  const suggestion = await freeName(defaultParent(lab), `${lab.document?.name ?? 'lora'}-${what}`);
  const uri = await vscode.window.showSaveDialog({ title, saveLabel: 'Save', defaultUri: vscode.Uri.file(suggestion) });
  return uri?.fsPath;
}

async function requireAdapter(folder: string): Promise<void> {
  if (await isAdapter(folder)) return;
  throw new ReportedError({
    code: 'adapter.not-peft', file: folder, cause: 'this is no PEFT adapter: adapter_config.json or adapter_model.safetensors is missing', action: 'choose the adapter folder of a run',
  });
}

async function offerToReveal(message: string, folder: string): Promise<void> {
  if (await vscode.window.showInformationMessage(message, 'Show folder')) await showFolder(folder);
}

const defaultParent = (lab: Lab): string => lab.document?.folder ?? vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? '';
