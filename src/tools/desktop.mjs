/** The desktop VS Code of this machine: found, opened on a folder with our extension under development, or used to run its tests. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from './paths.mjs';
import { run } from './processes.mjs';

const windows = process.platform === 'win32';
/** As the shell of Windows, which alone runs `code.cmd`, takes a word with spaces. */
const word = (text) => (windows ? `"${text}"` : text);
/** Why a window cannot be opened here although `code` may be installed; undefined if it can. */
function noWindow() {
  if (process.env.VSCODE_IPC_HOOK_CLI) return 'this terminal belongs to a remote window of VS Code';
  if (process.platform === 'linux' && !process.env.DISPLAY && !process.env.WAYLAND_DISPLAY) return 'there is no display';
  if (process.platform === 'linux' && process.getuid() === 0) return 'VS Code does not run as root';
  return undefined;
}

/** The `code` command on the PATH with the program behind it; undefined if there is none that can open a window here. */
export function findDesktop() {
  if (noWindow()) return undefined;
  const command = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
    .map((folder) => join(folder, windows ? 'code.cmd' : 'code')).find((path) => existsSync(path) && !path.includes('remote-cli'));
  if (!command || spawnSync(word(command), ['--version'], { shell: windows, timeout: 20_000 }).status !== 0) return undefined;
  return { command, executable: programBehind(command) };
}

/** `code` is a script in the `bin` folder of the installation. */
function programBehind(command) {
  const bin = dirname(realpathSync(command));
  const candidates = {
    win32: [join(bin, '../Code.exe')],
    darwin: ['Electron', 'Code'].map((name) => join(bin, '../../../MacOS', name)),
  }[process.platform] ?? [join(bin, '../code')];
  return candidates.find((path) => existsSync(path));
}

/**
 * Opens a new window on `folder` with our extension under development, without asking whether that is trusted: whoever runs npm start runs what is in it.
 * Returns at once; the window stays.
 */
export async function openDesktop({ command }, folder, env) {
  const args = ['--new-window', '--disable-workspace-trust', `--extensionDevelopmentPath=${root}`, folder];
  await run(word(command), args.map(word), { env: { ...process.env, ...env }, shell: windows, quiet: true, timeout: 60_000 });
}

/**
 * The desktop VS Code that `npm test` uses, or undefined for the served workbench. `LORA_LAB_VSCODE_TESTS=download` fetches one,
 * `LORA_LAB_VSCODE_TESTS=served` passes over an installed one.
 * @returns {Promise<{ executable: string, runTests(options: object): Promise<void> } | undefined>}
 */
export async function findDesktopForTests() {
  const wish = process.env.LORA_LAB_VSCODE_TESTS;
  if (wish === 'served') return undefined;
  let executable = findDesktop()?.executable;
  if (wish === 'download') {
    const { downloadAndUnzipVSCode } = await import('@vscode/test-electron');
    executable = await downloadAndUnzipVSCode({ cachePath: join(root, '.vscode-test') });
  }
  return executable && { executable, runTests: (options) => runTests(executable, options) };
}

/** Runs the module `index` in the extension host of a window of its own; `watch` reads what it reports and ends with it. */
async function runTests(executable, { index, workspace, env, watch }) {
  const { runTests: runInEditor } = await import('@vscode/test-electron');
  const profile = mkdtempSync(join(tmpdir(), 'lora-lab-profile-'));
  const ended = runInEditor({
    vscodeExecutablePath: executable, extensionDevelopmentPath: root, extensionTestsPath: index, extensionTestsEnv: env,
    launchArgs: [
      workspace, '--user-data-dir', join(profile, 'data'), '--extensions-dir', join(profile, 'extensions'), '--disable-workspace-trust',
      ...(process.platform === 'linux' && process.getuid() === 0 ? ['--no-sandbox'] : []),
    ],
  }).then(() => undefined, (error) => error);
  try {
    // The report may be written a moment after the editor has gone; an editor that goes without one has failed.
    const early = ended.then(async (error) => {
      await sleep(2000);
      throw error ?? new Error('VS Code ended before its tests did');
    });
    await Promise.race([watch(), early]);
    await ended;
  } finally {
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
