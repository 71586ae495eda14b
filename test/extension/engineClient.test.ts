import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { EngineClient } from '../../src/extension/engineClient';
import { inWorkspace, useExperiment } from './support';

suite('The channel to the engine', () => {
  test('every handler of a notification is called, in the order in which they were added', async () => {
    const experiment_file = await useExperiment('handlers');
    const log = vscode.window.createOutputChannel('Test of the engine channel', { log: true });
    const { extensionPath } = vscode.extensions.getExtension('lora-lab.lora-lab')!;
    const engine = await EngineClient.start({ extensionPath, cwd: inWorkspace(), runtimes: inWorkspace('runtimes'), log });
    const heard: string[] = [];
    try {
      for (const name of ['first', 'second']) engine.on('started', () => heard.push(name));
      await engine.request('train', { experiment_file, resume: false });
    } finally {
      // The channel stays until VS Code ends: the engine's own end is logged.
      engine.kill();
    }
    assert.deepEqual(heard, ['first', 'second']);
  });
});
