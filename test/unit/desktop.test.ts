/** The desktop VS Code of `npm start`, with a stand-in for its `code` command. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { inTemporaryFolder } from '../support/faults';
import { ROOT } from '../support/paths';

interface Desktop { command: string }
interface Tools { findDesktop(): Desktop | undefined; openDesktop(desktop: Desktop, folder: string, env: object): Promise<void> }

const windows = process.platform === 'win32';
/** Where none is looked for. */
const noWindow = !windows && (process.getuid!() === 0 || process.env.VSCODE_IPC_HOOK_CLI !== undefined);

test('VS Code in a folder with a space is found, and opens a folder without asking whether it is trusted', () => inTemporaryFolder(async folder => {
  const bin = join(folder, 'Program Files/bin');
  const command = join(bin, windows ? 'code.cmd' : 'code');
  mkdirSync(bin, { recursive: true });
  writeFileSync(command, windows ? '@echo %* > "%~dp0arguments"\r\n' : '#!/bin/sh\necho "$@" > "$(dirname "$0")/arguments"\n', { mode: 0o755 });
  const { findDesktop, openDesktop } = await import(pathToFileURL(join(ROOT, 'src/tools/desktop.mjs')).href) as Tools;
  const { PATH, DISPLAY } = process.env;
  Object.assign(process.env, { PATH: `${bin}${delimiter}${PATH}`, DISPLAY: ':0' });
  const found = findDesktop();
  Object.assign(process.env, { PATH, DISPLAY: DISPLAY ?? '' });
  if (!noWindow) assert.equal(found?.command, command);
  await openDesktop({ command }, join(folder, 'a workspace'), {});
  const given = readFileSync(join(bin, 'arguments'), 'utf8');
  assert.match(given, /--new-window.*--disable-workspace-trust.*a workspace/);
}));
