import { randomBytes } from 'node:crypto';
import * as vscode from 'vscode';

/** What a panel may do, and load from. */
export const panelOptions = (extension: vscode.Uri): vscode.WebviewOptions => ({ enableScripts: true, enableForms: false, localResourceRoots: [webviewRoot(extension)] });

const webviewRoot = (extension: vscode.Uri): vscode.Uri => vscode.Uri.joinPath(extension, 'dist', 'webview');

/** The page of a panel. Only scripts and styles with this page's nonce run; nothing is fetched from outside. */
export function panelHtml(webview: vscode.Webview, extension: vscode.Uri, { script, title }: { script: string; title: string } = { script: 'main.js', title: 'LoRA experiment' }): string {
  const nonce = randomBytes(16).toString('base64');
  const asset = (name: string): string => webview.asWebviewUri(vscode.Uri.joinPath(webviewRoot(extension), name)).toString();
  const policy = [
    "default-src 'none'", `img-src ${webview.cspSource} data:`, `font-src ${webview.cspSource}`,
    `style-src ${webview.cspSource} 'nonce-${nonce}'`, `script-src 'nonce-${nonce}'`,
  ].join('; ');
  // The toolkit reads its nonce from the `csp-nonce` property.
  return `<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta http-equiv="Content-Security-Policy" content="${policy}">
  <meta property="csp-nonce" content="${nonce}">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <link rel="stylesheet" nonce="${nonce}" href="${asset('panel.css')}">
  <title>${title}</title>
</head>
<body>
  <main id="panel" aria-busy="true"></main>
  <script nonce="${nonce}" src="${asset(script)}"></script>
</body>
</html>`;
}
