/** The extension as the tests see it, and experiments of their own in the test workspace. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as vscode from 'vscode';
import type { LabExports } from '../../src/extension/extension';
import { editJson } from '../../src/extension/jsonEdit';
import type { SettingChange } from '../../src/protocol/experiment';
import type { ModuleNode } from '../../src/extension/moduleNodes';
import type { RunNode } from '../../src/extension/runTree';
import type { LabState } from '../../src/extension/state';

export const WORKSPACE = process.env.LORA_LAB_TEST_WORKSPACE!;
export const inWorkspace = (...parts: string[]): string => join(WORKSPACE, ...parts);

export async function lab(): Promise<LabExports> {
  const extension = vscode.extensions.getExtension<LabExports>('lora-lab.lora-lab');
  assert.ok(extension, 'the extension is not installed');
  return extension.activate();
}

export const state = async (): Promise<LabState> => (await lab()).state();

/** Waits until `read` gives a value that is not false, null or undefined, and returns it. */
export async function until<T>(what: string, read: () => T | Promise<T>, timeout = 150_000): Promise<NonNullable<T>> {
  for (const end = Date.now() + timeout; ; await new Promise(resolve => setTimeout(resolve, 20))) {
    const value = await read();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${timeout / 1000} s: ${what}; the state is ${JSON.stringify(await state())}`);
  }
}

/** Settings that make a run of a second or two out of the sample. */
const QUICK: SettingChange[] = [
  { path: ['dataset', 'train'], value: 'few.jsonl' },
  { path: ['dataset', 'eval'], value: 'few.jsonl' },
  { path: ['training', 'max_steps'], value: 8 },
  { path: ['training', 'warmup_steps'], value: 0 },
];
/** A run that goes on until it is stopped; it leaves cores to the extension host, if there are more. */
export const ENDLESS: SettingChange[] = [
  { path: ['training', 'max_steps'], value: 100_000 }, { path: ['training', 'eval_strategy'], value: 'no' }, { path: ['training', 'save_strategy'], value: 'no' }, { path: ['engine', 'threads'], value: 1 },
];

/** Writes `<name>.lora.json`, the sample's experiment with changes and an output folder of its own, and makes it the current one. */
export async function useExperiment(name: string, changes: SettingChange[] = [], model: 'ready' | 'error' = 'ready'): Promise<string> {
  const few = inWorkspace('few.jsonl');
  if (!existsSync(few)) writeFileSync(few, readFileSync(inWorkspace('eval.jsonl'), 'utf8').split('\n').slice(0, 64).join('\n'));
  const file = inWorkspace(`${name}.lora.json`);
  const text = editJson(readFileSync(inWorkspace('sentiment.lora.json'), 'utf8'), [...QUICK, { path: ['output_dir'], value: `runs/${name}` }, ...changes]);
  const open = vscode.workspace.textDocuments.find(document => document.uri.fsPath === file);
  if (open) await replaceText(open, text);
  else writeFileSync(file, text);
  await vscode.commands.executeCommand('loraLab.openExperiment', vscode.Uri.file(file));
  await until(`${name} is the current experiment, its model ${model}`, async () => {
    const now = await state();
    return now.experiment === file && now.model.state === model;
  });
  return file;
}

/** As an editor does it: VS Code takes its time to notice that another program wrote a file. */
async function replaceText(document: vscode.TextDocument, text: string): Promise<void> {
  const edit = new vscode.WorkspaceEdit();
  edit.replace(document.uri, new vscode.Range(0, 0, document.lineCount, 0), text);
  assert.ok(await vscode.workspace.applyEdit(edit));
  assert.ok(!document.isDirty || await document.save());
}

export const start = (args: object = {}): Thenable<unknown> => vscode.commands.executeCommand('loraLab.start', args);
export const steps = async (): Promise<number> => (await state()).run.step;

/** Trains an experiment of its own to the end; it is the current one then. */
export async function train(name: string, changes: SettingChange[] = []): Promise<LabState['run']> {
  await useExperiment(name, changes);
  await start();
  const { run } = await state();
  assert.equal(run.status, 'finished', JSON.stringify(run.error));
  return run;
}

/** Starts a run that has no end, and returns when it has made some steps; `ended` resolves once it has been stopped. */
export async function startEndless(name: string): Promise<{ ended: Thenable<unknown> }> {
  await useExperiment(name, ENDLESS);
  const ended = start();
  await until('steps are made', async () => (await state()).run.status === 'running' && await steps() > 3);
  return { ended };
}

/** Stops what runs and waits for its end. */
export async function stop(ended: Thenable<unknown>): Promise<LabState['run']> {
  await vscode.commands.executeCommand('loraLab.stop');
  await ended;
  const { run } = await state();
  assert.equal(run.status, 'stopped', JSON.stringify(run.error));
  return run;
}

export const textOf = async (file: string): Promise<string> => (await vscode.workspace.openTextDocument(file)).getText();

/** The line of an experiment file that holds a key, without comment and indentation. */
export async function lineOf(file: string, key: string): Promise<string | undefined> {
  return (await textOf(file)).split('\n').find(line => line.includes(`"${key}":`))?.replace(/\s*\/\/.*/, '').trim();
}

/** The rows of Runs as the disk tells now. */
export async function runRoots(): Promise<RunNode[]> {
  const { runTree } = await lab();
  await runTree.refresh();
  return runTree.getChildren();
}

/** The node of the Model tree at a path of labels, starting below the checkpoint: `node('layer 0', 'attention', 'self.query')`. */
export async function node(...labels: string[]): Promise<ModuleNode> {
  const { modelTree } = await lab();
  let found = modelTree.getChildren()[0];
  assert.ok(found, 'the Model tree is empty');
  for (const label of labels) {
    const inside = modelTree.getChildren(found);
    found = inside.find(child => child.label === label)!;
    assert.ok(found, `"${label}" is not among ${inside.map(child => child.label).join(', ')}`);
  }
  return found;
}

export async function itemOf(...labels: string[]): Promise<vscode.TreeItem> {
  return (await lab()).modelTree.getTreeItem(await node(...labels));
}

/** Whether the box of a tree item is ticked; undefined if it has none. */
export function isTicked({ checkboxState }: vscode.TreeItem): boolean | undefined {
  if (checkboxState === undefined) return undefined;
  return (typeof checkboxState === 'object' ? checkboxState.state : checkboxState) === vscode.TreeItemCheckboxState.Checked;
}

export const tooltipOf = ({ tooltip }: vscode.TreeItem): string => (typeof tooltip === 'object' ? tooltip.value.replaceAll('&emsp;', '') : tooltip ?? '');

/** Everything that hovering over the first `word` after `after` of a document says. */
export async function hoverText(uri: vscode.Uri, word: string, after = ''): Promise<string> {
  const document = await vscode.workspace.openTextDocument(uri);
  const offset = document.getText().indexOf(word, document.getText().indexOf(after)) + 1;
  assert.ok(offset > 0, `${word} is not in ${uri.path}`);
  const hovers = await vscode.commands.executeCommand<vscode.Hover[]>('vscode.executeHoverProvider', uri, document.positionAt(offset));
  return hovers.flatMap(hover => hover.contents).map(part => (typeof part === 'string' ? part : part.value)).join('\n\n');
}

export const isAlive = (pid: number): boolean => {
  try { return process.kill(pid, 0); } catch { return false; }
};

/** Whether the menu of a row of Runs has a command. */
export function offered(command: string, { contextValue }: vscode.TreeItem): boolean {
  const menu = vscode.extensions.getExtension('lora-lab.lora-lab')!.packageJSON.contributes.menus['view/item/context'] as { command: string; when: string }[];
  return menu.some(entry => entry.command === `loraLab.${command}` && entry.when.includes('loraLab.runs') && new RegExp(/viewItem =~ \/(.*)\//.exec(entry.when)?.[1] ?? '').test(contextValue!));
}

/** Runs `use` while the Save dialog answers by itself; `answer` gets the file that it offers. */
export async function withSaveDialog<T>(answer: (offered: string) => string, use: () => Thenable<T>): Promise<T> {
  const { showSaveDialog } = vscode.window;
  Object.assign(vscode.window, { showSaveDialog: async ({ defaultUri }: vscode.SaveDialogOptions) => vscode.Uri.file(answer(defaultUri!.fsPath)) });
  try { return await use(); } finally { Object.assign(vscode.window, { showSaveDialog }); }
}

/** Runs `use` while a list of several answers by itself; `answer` gets its items and returns those that are ticked. */
export async function withQuickPick<T>(answer: (items: vscode.QuickPickItem[]) => vscode.QuickPickItem[], use: () => Thenable<T>): Promise<T> {
  const { showQuickPick } = vscode.window;
  Object.assign(vscode.window, { showQuickPick: async (items: vscode.QuickPickItem[]) => answer(items) });
  try { return await use(); } finally { Object.assign(vscode.window, { showQuickPick }); }
}
