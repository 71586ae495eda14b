import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { inWorkspace, lab, state, until } from './support';

suite('Start of the extension', () => {
  test('every command of the manifest is registered, and no other', async () => {
    const { packageJSON } = vscode.extensions.getExtension('lora-lab.lora-lab')!;
    await lab();
    // VS Code itself adds commands for views: `loraLab.model.focus` and the like.
    const registered = (await vscode.commands.getCommands(true)).filter(id => /^loraLab\.\w+$/.test(id));
    const contributed = (packageJSON.contributes.commands as { command: string }[]).map(({ command }) => command);
    assert.deepEqual(registered.sort(), contributed.sort());
  });

  test('the only experiment of the workspace becomes the current one, and its checkpoint is read', async () => {
    await until('the model is ready', async () => (await state()).model.state === 'ready');
    const { experiment, problems, ticked, model } = await state();
    assert.equal(experiment, inWorkspace('sentiment.lora.json'));
    assert.deepEqual(problems, []);
    assert.equal(ticked.length, 8);
    assert.ok(model.modules > ticked.length);
    await until('the engine that read the checkpoint has ended', async () => (await state()).engines.length === 0);
  });

  test('a command that cannot do anything says why', async () => {
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.saveAdapter', { from: inWorkspace('model'), to: inWorkspace('nowhere') }), /no PEFT adapter/);
  });
});
