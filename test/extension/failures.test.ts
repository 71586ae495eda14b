import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import * as vscode from 'vscode';
import { ExperimentDocument } from '../../src/extension/experimentDocument';
import { openAt, openOrNamed } from '../../src/extension/reports';
import { ENDLESS, inWorkspace, isAlive, state, until, useExperiment } from './support';

const start = (): Thenable<unknown> => vscode.commands.executeCommand('loraLab.start', {});

suite('What goes wrong', () => {
  teardown(() => until('no engine is left', async () => (await state()).engines.length === 0));

  test('an engine that is killed fails its run with a report, and the next start works', async () => {
    await useExperiment('killed', ENDLESS);
    const ended = start();
    await until('steps are made', async () => (await state()).run.step > 2);
    const [pid] = (await state()).engines;
    process.kill(pid, 'SIGKILL');
    await ended;
    const { run } = await state();
    assert.equal(run.status, 'failed');
    assert.equal(run.error?.code, 'engine.died');
    assert.match(run.error?.cause ?? '', /SIGKILL.*memory/);
    assert.ok(run.error?.action);
    assert.equal(run.adapter, null);
    await useExperiment('killed');
    await start();
    assert.equal((await state()).run.status, 'finished', JSON.stringify((await state()).run.error));
  });

  test('a crash in native code is named with the last checkpoint, and one click goes on from it', async () => {
    await useExperiment('crashed', [{ path: ['training', 'max_steps'], value: 400 }, { path: ['training', 'eval_strategy'], value: 'no' }, { path: ['training', 'save_strategy'], value: 'steps' }, { path: ['training', 'save_steps'], value: 2 }]);
    const ended = start();
    await until('a checkpoint is there and steps after it', async () => (await state()).run.step > 4);
    process.kill((await state()).engines[0], 'SIGSEGV');
    await ended;
    const { run } = await state();
    assert.deepEqual([run.status, run.error?.code, run.resumable], ['failed', 'engine.died', true]);
    assert.match(run.error?.cause ?? '', /SIGSEGV: a crash in native code$/);
    assert.doesNotMatch(run.error!.action, /engine\.device/, 'a run on the CPU is not sent to the CPU');
    assert.match(run.error?.lastGoodCheckpoint ?? '', /checkpoint-\d+$/);
    await vscode.commands.executeCommand('loraLab.continueRun');
    const after = (await state()).run;
    assert.deepEqual([after.status, after.summary?.steps], ['finished', 400], JSON.stringify(after.error));
  });

  test('a target module that does not exist fails with the nearest names, before anything is written', async () => {
    await useExperiment('unknown-target', [{ path: ['lora', 'target_modules'], value: ['query', 'valeu'] }]);
    await start();
    const { run } = await state();
    assert.equal(run.status, 'failed');
    assert.match(`${run.error?.cause} ${run.error?.action}`, /valeu.*value/s);
    assert.match(run.error?.file ?? '', /unknown-target\.lora\.json$/);
    assert.match(run.error?.where ?? '', /target_modules/);
    assert.equal(existsSync(inWorkspace('runs/unknown-target')), false);
  });

  test('a bad line of the data is named with its number', async () => {
    writeFileSync(inWorkspace('torn.jsonl'), '{"text": "fine", "label": "positive"}\n{"text": "torn", "lab\n');
    await useExperiment('bad-data', [{ path: ['dataset', 'train'], value: 'torn.jsonl' }]);
    await start();
    const { error } = (await state()).run;
    assert.match(error?.file ?? '', /torn\.jsonl$/);
    assert.match(error?.where ?? '', /2/);
  });

  test('a data file that is too long for extensions is opened where an error is in it', async () => {
    const file = inWorkspace('long.jsonl');
    writeFileSync(file, Buffer.alloc(51 * 2 ** 20, '{"text": "fine"}\n'));
    try {
      await openAt(file, 'line 3');
      await until('it is opened', () => (vscode.window.tabGroups.activeTabGroup.activeTab?.input as { uri?: vscode.Uri } | undefined)?.uri?.fsPath === file);
    } finally {
      await vscode.commands.executeCommand('workbench.action.closeActiveEditor');
      rmSync(file);
    }
  });

  test('a base model that is not there is opened where the experiment names it', async () => {
    const file = await useExperiment('moved-base', [{ path: ['base_model'], value: 'gone/model' }], 'error');
    await openOrNamed(inWorkspace('gone/model'), undefined, await ExperimentDocument.open(vscode.Uri.file(file)));
    const editor = vscode.window.activeTextEditor!;
    assert.equal(editor.document.uri.fsPath, file);
    assert.match(editor.document.getText(editor.selection), /"base_model": "gone\/model"/);
  });

  test('a problem in the file keeps the run from starting and is told to the caller', async () => {
    await useExperiment('bad-value', [{ path: ['training', 'learning_rate'], value: 'fast' }]);
    await assert.rejects(async () => start(), /training\.learning_rate.*give a number above 0/is);
    assert.equal((await state()).run.status, 'none');
    assert.equal(existsSync(inWorkspace('runs/bad-value')), false);
  });

  test('Stop right after Start ends the run', async () => {
    await useExperiment('hasty', ENDLESS);
    const ended = start();
    const pid = await until('an engine works', async () => (await state()).engines[0]);
    await vscode.commands.executeCommand('loraLab.stop');
    await ended;
    const { status, error } = (await state()).run;
    // Whether there was a first step to save is a matter of milliseconds.
    assert.ok(status === 'none' || status === 'stopped', status);
    assert.equal(error, null);
    await until('its engine has ended', () => !isAlive(pid));
  });
});
