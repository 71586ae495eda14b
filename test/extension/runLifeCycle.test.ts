/** Starts, stops and continuations that come close to each other, and runs that are not the current experiment's own. */
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { ENDLESS, isAlive, start, state, steps, stop, until, useExperiment } from './support';

const none = (): Promise<unknown> => until('no engine is left', async () => (await state()).engines.length === 0);
suite('Runs one after the other', () => {
  teardown(async () => {
    if ((await state()).engines.length) await vscode.commands.executeCommand('loraLab.stop');
    await none();
  });

  test('of two starts at once one trains and the other is refused, and Stop ends what trains', async () => {
    await useExperiment('twice', ENDLESS);
    const said = [start(), start()].map(begun => begun.then(() => 'ended', (error: Error) => error.message));
    await until('steps are made', async () => (await state()).run.status === 'running' && await steps() > 3);
    const { engines } = await state();
    assert.equal(engines.length, 1, 'one engine trains');
    await vscode.commands.executeCommand('loraLab.stop');
    const answers = await Promise.all(said);
    assert.equal(answers.filter(answer => answer === 'ended').length, 1, answers.join());
    assert.match(answers.join(), /still training/);
    assert.equal((await state()).run.status, 'stopped', JSON.stringify((await state()).run.error));
    await until('its engine has ended', () => !isAlive(engines[0]));
  });
});
