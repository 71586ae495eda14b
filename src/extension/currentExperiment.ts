/** Which experiment the trees and commands speak of, and the diagnostics of every open experiment file. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { Disposables } from './disposables';
import { ExperimentDocument, EXPERIMENT_GLOB, isExperimentFile } from './experimentDocument';
import { readExperiment } from './jsonEdit';

/** Folders that hold copies or other people's files. */
const EXCLUDED = '**/{node_modules,.git}/**';

export class CurrentExperiment {
  private readonly disposables = new Disposables();
  private readonly changed = this.disposables.add(new vscode.EventEmitter<void>());
  private readonly diagnostics = this.disposables.add(vscode.languages.createDiagnosticCollection('lora-lab'));
  private current: ExperimentDocument | undefined;
  /** The last choice, and how many there have been: one after the other, so that the last one holds, however long each takes to be read. */
  private choosing: Promise<void> = Promise.resolve();
  private choices = 0;

  /** Another experiment became current, or the text of the current one changed. */
  readonly onDidChange = this.changed.event;

  constructor(private readonly memory: vscode.Memento) {
    const add = <T extends vscode.Disposable>(item: T): T => this.disposables.add(item);
    add(vscode.window.onDidChangeActiveTextEditor(editor => void this.follow(editor)));
    add(vscode.workspace.onDidOpenTextDocument(document => this.read(document)));
    add(vscode.workspace.onDidChangeTextDocument(event => this.read(event.document)));
    add(vscode.workspace.onDidCloseTextDocument(document => this.diagnostics.delete(document.uri)));
    const watcher = add(vscode.workspace.createFileSystemWatcher(EXPERIMENT_GLOB));
    add(watcher.onDidCreate(() => void this.initialize()));
    add(watcher.onDidChange(uri => void this.reread(uri)));
    add(watcher.onDidDelete(uri => this.forget(uri)));
    add(vscode.workspace.onDidRenameFiles(({ files }) => void this.followRename(files)));
    vscode.workspace.textDocuments.forEach(document => this.read(document));
  }

  get document(): ExperimentDocument | undefined { return this.current; }

  /** Chooses at start: the active editor's file, the one chosen last time, else the only one in the workspace. */
  async initialize(): Promise<void> {
    if (this.current) return;
    const active = vscode.window.activeTextEditor?.document.uri;
    if (active && isExperimentFile(active)) return this.choose(active);
    const { choices } = this;
    const files = await this.list();
    const last = this.memory.get<string>('experiment');
    const uri = files.find(file => file.fsPath === last) ?? (files.length === 1 ? files[0] : undefined);
    // A person may have chosen another one while the folders were listed.
    if (choices !== this.choices) await this.choosing.catch(() => undefined);
    else if (uri) await this.choose(uri);
  }

  async list(): Promise<vscode.Uri[]> {
    const files = await vscode.workspace.findFiles(EXPERIMENT_GLOB, EXCLUDED);
    return files.sort((a, b) => a.fsPath.localeCompare(b.fsPath));
  }

  choose(uri: vscode.Uri): Promise<void> {
    this.choices += 1;
    return this.choosing = this.choosing.catch(() => undefined).then(() => this.take(uri));
  }

  private async take(uri: vscode.Uri): Promise<void> {
    if (this.current?.uri.toString() === uri.toString()) return;
    this.current = await ExperimentDocument.open(uri);
    await this.memory.update('experiment', uri.fsPath);
    this.changed.fire();
  }

  /** The current experiment; asks if there are several and none is current. Undefined if there is none or nothing was picked. */
  async require(): Promise<ExperimentDocument | undefined> {
    if (!this.current) await this.initialize();
    if (!this.current) await this.pick();
    return this.current;
  }

  /** Lets the person pick among the experiments of the workspace, or make one. Returns whether there was a choice. */
  async pick(): Promise<boolean> {
    const files = await this.list();
    const items = [
      ...files.map(uri => ({ label: `$(beaker) ${vscode.workspace.asRelativePath(uri)}`, uri })),
      { label: '$(add) New experiment…', uri: undefined },
    ];
    const picked = files.length === 0 ? items[0] : await vscode.window.showQuickPick(items, { title: 'LoRA experiment', placeHolder: 'Which experiment?' });
    if (!picked) return false;
    if (!picked.uri) return await vscode.commands.executeCommand('loraLab.newExperiment') !== undefined;
    await this.choose(picked.uri);
    return true;
  }

  dispose(): void {
    this.disposables.dispose();
  }

  private async follow(editor: vscode.TextEditor | undefined): Promise<void> {
    if (editor && isExperimentFile(editor.document.uri)) await this.choose(editor.document.uri);
  }

  /** Goes along with the current file, which is renamed itself or lies in a folder that is. Its deletion under the old name is told later, or earlier. */
  private async followRename(files: readonly { oldUri: vscode.Uri; newUri: vscode.Uri }[]): Promise<void> {
    const file = this.memory.get<string>('experiment');
    for (const { oldUri, newUri } of files) {
      if (file !== oldUri.fsPath && !file?.startsWith(oldUri.fsPath + path.sep)) continue;
      const uri = vscode.Uri.file(newUri.fsPath + file.slice(oldUri.fsPath.length));
      if (isExperimentFile(uri)) await this.choose(uri);
    }
  }

  /** Underlines the problems of a document, and tells listeners if it is the current experiment. */
  private read(document: vscode.TextDocument): void {
    if (!isExperimentFile(document.uri)) return;
    const { problems } = readExperiment(document.getText());
    this.diagnostics.set(document.uri, problems.map(({ path, cause, action, span }) => {
      const range = new vscode.Range(document.positionAt(span.start), document.positionAt(span.end));
      const diagnostic = new vscode.Diagnostic(range, `${path.join('.') || 'experiment'} ${cause}: ${action}`, vscode.DiagnosticSeverity.Error);
      diagnostic.source = 'LoRA Lab';
      return diagnostic;
    }));
    if (this.current?.uri.toString() !== document.uri.toString()) return;
    this.current.adopt(document);
    this.changed.fire();
  }

  /** Another program wrote the file. VS Code reloads only documents that it still holds open. */
  private async reread(uri: vscode.Uri): Promise<void> {
    if (this.current?.uri.toString() === uri.toString()) this.read(await vscode.workspace.openTextDocument(uri));
  }

  private forget(uri: vscode.Uri): void {
    this.diagnostics.delete(uri);
    if (this.current?.uri.toString() !== uri.toString()) return;
    this.current = undefined;
    this.changed.fire();
    void this.initialize();
  }
}
