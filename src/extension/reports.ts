/** Errors as a person meets them in the editor: file, place, cause, what to do, and a way to get there. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { ErrorReport } from '../protocol/engine';
import { LOCK_NAME } from '../machine/folderOwner';
import { formatReport, lineOf } from '../protocol/panel';
import type { ExperimentDocument } from './experimentDocument';
import { showFolder } from './showFolder';

/** An error with a report. What the engine answers and what the host finds wrong both arrive as one of these. */
export class ReportedError extends Error {
  constructor(readonly report: ErrorReport, options?: { cause?: unknown }) {
    super(formatReport(report), options);
    this.name = 'ReportedError';
  }
}

/** The report of any error. What is not a report already is a fault of ours, and says so. */
export function toReport(error: unknown): ErrorReport {
  if (error instanceof ReportedError) return error.report;
  if (error instanceof Error && 'code' in error && 'path' in error) {
    return { code: `file.${String(error.code).toLowerCase()}`, file: String(error.path), cause: error.message, action: 'check that the path exists and may be written' };
  }
  const cause = error instanceof Error ? error.message : String(error);
  return { code: 'extension.internal', cause, action: 'see the LoRA Lab log (command "LoRA Lab: Show log")' };
}

/** A folder that another process trains in: a terminal's, another window's, or a sweep that has not done with this member. */
export function heldBy(pid: number, folder: string, action: string): ErrorReport {
  return {
    code: 'run.active', file: folder, cause: `this run is in use by process ${pid}: it trains in a terminal or another window, or waits in a sweep`, action: `${action}; if that process is none of LoRA Lab's, delete ${LOCK_NAME} in the folder`,
  };
}

/** Shows a report as a notification; its button opens the file at the place. */
export async function showReport(report: ErrorReport): Promise<void> {
  const canOpen = report.file !== undefined && await isTextFile(report.file);
  const choice = await vscode.window.showErrorMessage(formatReport(shortened(report)), ...(canOpen ? ['Open file'] : []));
  if (choice) await openAt(report.file!, report.where).catch(error => vscode.window.showErrorMessage(String(error)));
}

/** Opens a file in a text editor, at the line or the JSON key that `where` names; a folder is shown where it lies. */
export async function openAt(file: string, where?: string): Promise<void> {
  const uri = vscode.Uri.file(file);
  if (!await isTextFile(file)) {
    await showFolder(file);
    return;
  }
  // Extensions get no text above 50 MB; the editor itself opens it.
  const document = await vscode.workspace.openTextDocument(uri).then(undefined, () => undefined);
  if (!document) {
    const start = lineOf(where) ?? 0;
    await vscode.commands.executeCommand('vscode.open', uri, { selection: new vscode.Range(start, 0, start, 0), preview: false });
    return;
  }
  const line = lineOf(where) ?? lineOfKey(document, where);
  const selection = line === undefined ? undefined : document.lineAt(Math.min(line, document.lineCount - 1)).range;
  await vscode.window.showTextDocument(document, { selection, preview: false });
}

/** As `openAt`; but what is not there is opened where the experiment names it. */
export async function openOrNamed(file: string, where: string | undefined, experiment: Pick<ExperimentDocument, 'file' | 'keyOf'> | undefined): Promise<void> {
  const missing = await vscode.workspace.fs.stat(vscode.Uri.file(file)).then(() => false, () => true);
  const key = missing ? experiment?.keyOf(file) : undefined;
  await (key ? openAt(experiment!.file, key) : openAt(file, where));
}

/** Line of the JSON key at the end of a place such as `lora.target_modules`. */
function lineOfKey(document: vscode.TextDocument, where: string | undefined): number | undefined {
  const key = where?.split(/[.:\s]+/).filter(Boolean).pop();
  if (!key) return undefined;
  const offset = document.getText().indexOf(`"${key}"`);
  return offset < 0 ? undefined : document.positionAt(offset).line;
}

async function isTextFile(file: string): Promise<boolean> {
  if (['.safetensors', '.bin', '.parquet', '.onnx'].includes(path.extname(file))) return false;
  try {
    return ((await vscode.workspace.fs.stat(vscode.Uri.file(file))).type & vscode.FileType.File) !== 0;
  } catch {
    return false;
  }
}

const shortened = (report: ErrorReport): ErrorReport => ({ ...report, file: report.file && vscode.workspace.asRelativePath(report.file, false) });
