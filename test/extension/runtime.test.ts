import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import * as vscode from 'vscode';
import type { InstallReport } from '../../src/protocol/engine';
import { zip } from '../support/archives';
import { PROVIDER_FILES } from '../support/registry';
import { inWorkspace, state, until } from './support';

const install = (args: object): Thenable<InstallReport | undefined> => vscode.commands.executeCommand('loraLab.installRuntime', args);

suite('GPU runtimes', () => {
  suiteSetup(function () { if (process.platform !== 'linux' || process.arch !== 'x64') this.skip(); });
  teardown(() => until('no engine is left', async () => (await state()).engines.length === 0));

  test('a given package is installed into the storage of the extension, and removed again', async () => {
    const file = inWorkspace('gpu.nupkg');
    writeFileSync(file, zip(PROVIDER_FILES));
    const report = await install({ runtime: 'cuda', from: file });
    assert.ok(report);
    assert.match(report.folder, /globalStorage.lora-lab\.lora-lab.runtime.cuda$/);
    assert.equal(readdirSync(report.folder).length, 3);
    // Its libraries are words in a file: the probe step says so, and takes nothing else with it.
    assert.equal(report.works, false);
    await install({ runtime: 'cuda', remove: true });
    assert.equal(existsSync(report.folder), false);
  });

  test('the mirror of the settings is asked, and what it lacks is named', async () => {
    mkdirSync(inWorkspace('downloads'), { recursive: true });
    const settings = vscode.workspace.getConfiguration('loraLab');
    await settings.update('runtimeMirror', inWorkspace('downloads'), vscode.ConfigurationTarget.Global);
    try { await assert.rejects(async () => install({ runtime: 'cuda', from: null }), /downloads.*lacks api\.nuget\.org.*wget -x/); } finally { await settings.update('runtimeMirror', undefined, vscode.ConfigurationTarget.Global); }
  });

  test('the proxy of the editor is the one that downloads are asked through', async () => {
    const settings = vscode.workspace.getConfiguration('http');
    await settings.update('proxy', 'http://127.0.0.1:9', vscode.ConfigurationTarget.Global);
    try { await assert.rejects(async () => install({ runtime: 'cuda', from: null }), /api\.nuget\.org, asked through the proxy 127\.0\.0\.1:9 \(http\.proxy\), cannot be reached: ECONNREFUSED/); } finally { await settings.update('proxy', undefined, vscode.ConfigurationTarget.Global); }
  });
});
