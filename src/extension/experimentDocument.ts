/** One experiment file as an open text document. What the tree and the panel change is a text edit like any other. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { inputPaths, type SettingChange } from '../protocol/experiment';
import { editJson, readExperiment, type Reading } from './jsonEdit';
import { ReportedError } from './reports';

export const EXPERIMENT_GLOB = '**/*.lora.json';
export const isExperimentFile = (uri: vscode.Uri): boolean => uri.scheme === 'file' && uri.path.endsWith('.lora.json');

/** The name of an experiment, by which it is called and its runs are. */
export const experimentName = (file: string): string => path.basename(file).replace(/\.lora\.json$/, '');
/** Where the engine works for an experiment, and puts runs that are told no folder: beside an experiment that lies in no folder of the workspace. Undefined without an experiment if no folder is open. */
export const workFolder = (uri?: vscode.Uri): string | undefined =>
  (uri ? vscode.workspace.getWorkspaceFolder(uri)?.uri.fsPath ?? path.dirname(uri.fsPath) : vscode.workspace.workspaceFolders?.[0]?.uri.fsPath);

export class ExperimentDocument {
  private cached: { version: number; reading: Reading } | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(private document: vscode.TextDocument) {}

  static async open(uri: vscode.Uri): Promise<ExperimentDocument> {
    return new ExperimentDocument(await vscode.workspace.openTextDocument(uri));
  }

  get uri(): vscode.Uri { return this.document.uri; }
  get file(): string { return this.document.uri.fsPath; }
  get folder(): string { return path.dirname(this.file); }
  get name(): string { return experimentName(this.file); }

  /** Values and problems of the text as it stands, saved or not. */
  get reading(): Reading {
    if (this.cached?.version !== this.document.version) this.cached = { version: this.document.version, reading: readExperiment(this.document.getText()) };
    return this.cached.reading;
  }

  /** A path of the file (relative to it) as an absolute path. */
  resolve(relative: string): string {
    return path.resolve(this.folder, relative);
  }

  /** The key that names this file or folder, as `dataset.train`. */
  keyOf(file: string): string | undefined {
    return inputPaths(this.reading.values).find(([, given]) => this.resolve(given) === path.normalize(file))?.[0];
  }

  /**
   * Applies changes as one edit (one undo). A document without other unsaved changes is saved, as the Settings editor does.
   * Throws if the text is not valid JSON.
   */
  edit(changes: readonly SettingChange[]): Promise<void> {
    const result = this.queue.then(() => this.apply(changes));
    this.queue = result.catch(() => undefined);
    return result;
  }

  /** Writes unsaved changes: the engine reads the file from disk. */
  async save(): Promise<void> {
    await this.queue;
    await this.reopenIfClosed();
    if (this.document.isDirty && !await this.document.save()) {
      throw new ReportedError({ code: 'experiment.not-saved', file: this.file, cause: 'the file could not be saved', action: 'save it yourself, then try again' });
    }
  }

  private async apply(changes: readonly SettingChange[]): Promise<void> {
    await this.reopenIfClosed();
    const before = this.document.getText();
    if (this.reading.syntaxError) {
      const line = this.document.positionAt(this.reading.problems[0].span.start).line + 1;
      throw new ReportedError({ code: 'experiment.syntax', file: this.file, where: `line ${line}`, cause: this.reading.problems[0].cause, action: this.reading.problems[0].action });
    }
    const after = editJson(before, changes);
    if (after === before) return;
    const wasDirty = this.document.isDirty;
    const edit = new vscode.WorkspaceEdit();
    const { start, end, text } = changedPart(before, after);
    edit.replace(this.uri, new vscode.Range(this.document.positionAt(start), this.document.positionAt(end)), text);
    if (!await vscode.workspace.applyEdit(edit)) {
      throw new ReportedError({ code: 'experiment.read-only', file: this.file, cause: 'the file could not be changed', action: 'check that it is not read-only' });
    }
    if (!wasDirty) await this.document.save();
  }

  /** VS Code closes documents that no editor shows; a closed one no longer follows the file. */
  private async reopenIfClosed(): Promise<void> {
    if (this.document.isClosed) {
      this.document = await vscode.workspace.openTextDocument(this.uri);
      this.cached = undefined;
    }
  }

  /** Takes up a document that VS Code opened anew for the same file. */
  adopt(document: vscode.TextDocument): void {
    if (document === this.document) return;
    this.document = document;
    this.cached = undefined;
  }
}

/** The smallest stretch in which two texts differ. */
function changedPart(before: string, after: string): { start: number; end: number; text: string } {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let same = 0;
  while (same < before.length - start && same < after.length - start && before[before.length - 1 - same] === after[after.length - 1 - same]) same++;
  return { start, end: before.length - same, text: after.slice(start, after.length - same) };
}
