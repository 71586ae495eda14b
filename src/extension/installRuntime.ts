/** "Install GPU runtime…": asks what and from where, and lets an engine process fetch, check and unpack it into the extension's storage. */
import * as vscode from 'vscode';
import type { EngineRequests, InstallReport, InstallRequest, ProxySettings, RuntimeName } from '../protocol/engine';
import { withEngine, type EngineClient } from './engineClient';
import { requireTrust, type Lab } from './lab';
import { ReportedError } from './reports';

/** `remove` takes the runtime away instead. */
export type RuntimeArguments = Partial<InstallRequest> & { remove?: boolean };
type States = EngineRequests['runtimes'][1];
interface Choice extends vscode.QuickPickItem { request?: RuntimeArguments & { runtime: RuntimeName } }

/** An engine that does not heed a cancel is ended after this. */
const CANCEL_MS = 5000;
const TITLE = 'Install GPU runtime';

/** Installs or removes what the arguments or the person say. Returns the engine's report; undefined after a cancel or a removal. */
export async function installRuntime(lab: Lab, { runtime, remove, ...rest }: RuntimeArguments = {}): Promise<InstallReport | undefined> {
  requireTrust();
  if (lab.activeRun) throw new ReportedError({ code: 'run.active', file: lab.activeRun.experimentFile, cause: 'a run is still training, and may be using what would be replaced', action: 'stop it first, or wait until it has ended' });
  lab.tries.end();
  return withEngine(lab.engineOptions, async engine => {
    const chosen = runtime ? { runtime, remove, ...rest } : await ask(await engine.request('runtimes', {}));
    if (!chosen) return undefined;
    if (chosen.remove) {
      const { removed } = await engine.request('uninstall', { runtime: chosen.runtime });
      void vscode.window.showInformationMessage(removed ? `${nameOf(chosen.runtime)} was removed.` : `${nameOf(chosen.runtime)} is not installed.`);
      return undefined;
    }
    const from = chosen.from === undefined && !chosen.link ? await askPlace(chosen.runtime) : chosen.from ?? mirror();
    if (from === undefined) return undefined;
    return install(lab, engine, { ...chosen, from, proxy: proxy() });
  });
}

async function install(lab: Lab, engine: EngineClient, request: InstallRequest): Promise<InstallReport | undefined> {
  try {
    const report = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: `Installing ${nameOf(request.runtime)}`, cancellable: true }, (progress, token) => {
      engine.on('progress', ({ message, fraction }) => progress.report({ message: fraction === null ? message : `${message} (${Math.round(100 * fraction)} %)` }));
      token.onCancellationRequested(() => {
        void engine.request('cancelInstall', {}).catch(() => undefined);
        setTimeout(() => engine.kill(), CANCEL_MS).unref();
      });
      return engine.request('install', request);
    });
    for (const checked of report.checked) lab.log.info(`installed ${report.runtime}: ${checked}`);
    const what = `${nameOf(report.runtime)} ${report.version}`;
    if (report.works) void vscode.window.showInformationMessage(`${what} is installed and works: ${report.detail}.`);
    else void vscode.window.showWarningMessage(`${what} is installed, but cannot be used yet: ${report.detail}.`);
    return report;
  } catch (error) {
    if (error instanceof ReportedError && error.report.code === 'runtime.cancelled') return undefined;
    throw error;
  }
}

async function ask({ runtimes, python, nvidia }: States): Promise<Choice['request']> {
  const state = (runtime: RuntimeName): string => {
    const { version, missing } = runtimes.find(found => found.runtime === runtime)!;
    return version === null ? '' : missing ? `installed, but ${missing} is missing: install again to repair` : `installed: ${version}`;
  };
  const noCard = nvidia ? '' : ' No NVIDIA driver was found on this machine.';
  const items: Choice[] = [
    { label: '$(circuit-board) CUDA for ONNX Runtime', description: state('cuda'), detail: `"device": "cuda". Needs CUDA 12 and cuDNN 9.${noCard}`, request: { runtime: 'cuda' } },
    { label: '$(circuit-board) TensorFlow with CUDA', description: state('tensorflow'), detail: `"device": "tensorflow" by tfjs-node-gpu. Needs CUDA 11 and cuDNN 8.${noCard}`, request: { runtime: 'tensorflow', variant: 'gpu' } },
    { label: '$(chip) TensorFlow for the CPU', description: state('tensorflow'), detail: '"device": "tensorflow" by tfjs-node.', request: { runtime: 'tensorflow', variant: 'cpu' } },
    ...python ? [{ label: `$(link) TensorFlow ${python.version} of Python`, detail: `Links with ${python.folder}, with the CUDA that it was made for.`, request: { runtime: 'tensorflow' as const, link: python.folder } }] : [],
    ...runtimes.filter(({ version }) => version !== null).map(({ runtime }): Choice => ({ label: `$(trash) Remove ${nameOf(runtime)}`, request: { runtime, remove: true } })),
  ];
  return (await vscode.window.showQuickPick(items, { title: TITLE, placeHolder: 'WebGPU needs none of these. All of them need Linux on x64; TensorFlow needs a C++ compiler.' }))?.request;
}

/** The published place or the mirror (null), a file or a folder; undefined if the person chose nothing. */
async function askPlace(runtime: RuntimeName): Promise<string | null | undefined> {
  const archive = runtime === 'cuda' ? 'Microsoft.ML.OnnxRuntime.Gpu.Linux, a .nupkg' : 'libtensorflow, a .tar.gz';
  const download = { label: '$(cloud-download) Download', detail: mirror() ?? 'from the places where they are published', id: 'download' };
  const choice = await vscode.window.showQuickPick([
    download, { label: '$(file-zip) Choose a file…', detail: archive, id: 'file' }, { label: '$(folder) Choose a folder of downloads…', detail: 'for machines without internet', id: 'folder' },
  ], { title: TITLE });
  if (!choice) return undefined;
  if (choice.id === 'download') return mirror();
  const [uri] = await vscode.window.showOpenDialog({ title: TITLE, canSelectFiles: choice.id === 'file', canSelectFolders: choice.id === 'folder', openLabel: 'Install' }) ?? [];
  return uri?.fsPath;
}

/**
 * The proxy of the settings, undefined where they leave it to the environment. VS Code puts it under the requests of its extension host only,
 * and here an engine process asks. Proxies that the system or a PAC script names are known to VS Code alone.
 */
function proxy(): ProxySettings | undefined {
  const settings = vscode.workspace.getConfiguration('http');
  if (settings.get<string>('proxySupport') === 'off') return { url: null, except: [] };
  const url = settings.get<string>('proxy')?.trim();
  return url ? { url, except: settings.get<string[]>('noProxy') ?? [], authorization: settings.get<string | null>('proxyAuthorization') } : undefined;
}

const mirror = (): string | null => vscode.workspace.getConfiguration('loraLab').get<string>('runtimeMirror')?.trim() || null;
const nameOf = (runtime: RuntimeName): string => (runtime === 'cuda' ? 'CUDA for ONNX Runtime' : 'TensorFlow');
