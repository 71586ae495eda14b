/** Where a file or folder lies, for the person to look at. */
import * as path from 'node:path';
import * as vscode from 'vscode';

/**
 * Shows a file or folder in the system's file manager. In a remote window and in a browser that one is on another machine: there the explorer
 * shows what is in the workspace, and of anything else a message offers its folder in a new window, or its path.
 */
export async function showFolder(file: string): Promise<void> {
  const uri = vscode.Uri.file(file);
  if (vscode.env.remoteName === undefined && vscode.env.uiKind === vscode.UIKind.Desktop) {
    await vscode.commands.executeCommand('revealFileInOS', uri);
  } else if (vscode.workspace.getWorkspaceFolder(uri)) {
    await vscode.commands.executeCommand('revealInExplorer', uri);
  } else {
    await offerFolder(uri);
  }
}

async function offerFolder(uri: vscode.Uri): Promise<void> {
  const open = 'Open in new window', copy = 'Copy path';
  const choice = await vscode.window.showInformationMessage(`${uri.fsPath} lies outside of this workspace.`, open, copy);
  if (choice === copy) await vscode.env.clipboard.writeText(uri.fsPath);
  if (choice !== open) return;
  const isFolder = await vscode.workspace.fs.stat(uri).then(({ type }) => (type & vscode.FileType.Directory) !== 0, () => false);
  await vscode.commands.executeCommand('vscode.openFolder', isFolder ? uri : vscode.Uri.file(path.dirname(uri.fsPath)), { forceNewWindow: true });
}
