/** "Preview data": a read-only document of what training would read, kept up to date while it is open. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as vscode from 'vscode';
import { formatReport } from '../protocol/panel';
import { Disposables } from './disposables';
import { withEngine } from './engineClient';
import { experimentName, isExperimentFile } from './experimentDocument';
import { requireTrust, type Lab } from './lab';
import { previewText, type PreviewText, type Span } from './previewText';
import { ReportedError, toReport } from './reports';

const SCHEME = 'lora-lab-data';
/** A slider of the panel saves the experiment many times while it is moved. */
const SETTLE_MS = 300;

interface Shown extends PreviewText {
  /** The training file; undefined where it is not known which that is. */
  data?: string;
}

/** Arguments of a test or a keybinding. */
export interface PreviewArguments { examples?: number }

export class DataPreviews implements vscode.TextDocumentContentProvider {
  private readonly disposables = new Disposables();
  private readonly changed = this.disposables.add(new vscode.EventEmitter<vscode.Uri>());
  private readonly learned = this.disposables.add(vscode.window.createTextEditorDecorationType({ backgroundColor: new vscode.ThemeColor('diffEditor.insertedTextBackground') }));
  private readonly special = this.disposables.add(vscode.window.createTextEditorDecorationType({ color: new vscode.ThemeColor('descriptionForeground'), fontStyle: 'italic' }));
  private readonly shown = new Map<string, Shown>();
  /** What is being read again. */
  private readonly readings = new Map<string, AbortController>();

  readonly onDidChange = this.changed.event;

  constructor(private readonly lab: Lab) {
    this.disposables.add(vscode.workspace.registerTextDocumentContentProvider(SCHEME, this));
    this.disposables.add(vscode.window.onDidChangeVisibleTextEditors(() => this.decorate()));
    this.disposables.add(vscode.workspace.onDidChangeTextDocument(({ document }) => { if (document.uri.scheme === SCHEME) this.decorate(); }));
    this.disposables.add(vscode.workspace.onDidCloseTextDocument(({ uri }) => this.forget(uri.toString())));
    this.disposables.add(vscode.workspace.onDidSaveTextDocument(({ uri }) => this.follow(uri.fsPath)));
  }

  /** Opens the preview of an experiment, the current one if none is named. Throws where `Lab.train` would about file and data. */
  async open(target?: vscode.Uri | PreviewArguments): Promise<void> {
    requireTrust();
    const { lab } = this;
    if (target instanceof vscode.Uri && isExperimentFile(target)) await lab.current.choose(target);
    const document = await lab.current.require();
    if (!document) return;
    const [problem] = document.reading.problems;
    if (problem) throw new ReportedError({ code: 'experiment.problem', file: document.file, where: problem.path.join('.') || undefined, cause: problem.cause, action: problem.action });
    await document.save();
    const examples = target instanceof vscode.Uri ? undefined : target?.examples;
    const uri = vscode.Uri.file(`${document.file.replace(/\.lora\.json$/, '')} (data)`).with({ scheme: SCHEME, query: JSON.stringify({ file: document.file, examples }) });
    this.show(uri, await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title: 'Reading the data' }, () => this.read(uri)));
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: false });
  }

  /** What has been read, or after a reload of the window is read now. */
  async provideTextDocumentContent(uri: vscode.Uri): Promise<string> {
    const key = uri.toString();
    if (!this.shown.has(key)) this.shown.set(key, await this.read(uri).catch(faultText));
    return this.shown.get(key)!.text;
  }

  dispose(): void {
    [...this.readings.keys()].forEach(key => this.forget(key));
    this.disposables.dispose();
  }

  private async read(uri: vscode.Uri, signal?: AbortSignal): Promise<Shown> {
    requireTrust();
    const { file, examples } = JSON.parse(uri.query) as PreviewArguments & { file: string };
    const preview = await withEngine(this.lab.engineOptions, engine => engine.request('preview', { experiment_file: file, examples }), signal);
    return { ...previewText(preview, experimentName(file)), data: preview.file };
  }

  private show(uri: vscode.Uri, shown: Shown): void {
    this.shown.set(uri.toString(), shown);
    this.changed.fire(uri);
  }

  /** Reads what is open again after a file that it is of was saved. */
  private follow(file: string): void {
    for (const { uri } of vscode.workspace.textDocuments) {
      const key = uri.toString();
      const before = this.shown.get(key);
      if (!before || file !== before.data && file !== (JSON.parse(uri.query) as { file: string }).file) continue;
      this.readings.get(key)?.abort();
      const reading = new AbortController();
      this.readings.set(key, reading);
      void this.readAgain(uri, before.data, reading.signal);
    }
  }

  /** An error takes the place of what was shown; `data` is the file that may mend it. */
  private async readAgain(uri: vscode.Uri, data: string | undefined, signal: AbortSignal): Promise<void> {
    await sleep(SETTLE_MS);
    if (signal.aborted) return;
    const shown = await this.read(uri, signal).catch(error => ({ data, ...faultText(error) }));
    if (!signal.aborted) this.show(uri, shown);
  }

  private forget(key: string): void {
    this.readings.get(key)?.abort();
    this.readings.delete(key);
    this.shown.delete(key);
  }

  private decorate(): void {
    for (const editor of vscode.window.visibleTextEditors) {
      const { document } = editor;
      const shown = this.shown.get(document.uri.toString());
      // The text follows the event that it has changed.
      if (document.uri.scheme !== SCHEME || document.getText() !== shown?.text) continue;
      const ranges = (spans: Span[]): vscode.Range[] => spans.map(([begin, end]) => new vscode.Range(document.positionAt(begin), document.positionAt(end)));
      editor.setDecorations(this.learned, ranges(shown.learned));
      editor.setDecorations(this.special, ranges(shown.special));
    }
  }
}

/** The document says what is wrong, and gets right when that is. */
const faultText = (error: unknown): Shown => ({ text: `The data cannot be read.\n\n${formatReport(toReport(error))}\n`, learned: [], special: [] });
