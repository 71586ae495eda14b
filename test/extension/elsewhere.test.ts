/** Runs that a terminal trains while the panel is open. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as vscode from 'vscode';
import { editJson } from '../../src/extension/jsonEdit';
import type { LabState } from '../../src/extension/state';
import { ENDLESS, inWorkspace, lab, runRoots, start, state, steps, until, useExperiment } from './support';

const children: ChildProcess[] = [];

/** Trains an experiment, or its sweep, as a person does in a terminal. */
function terminal(name: string, options: string[] = [], command: 'train' | 'sweep' = 'train'): ChildProcess {
  const cli = join(vscode.extensions.getExtension('lora-lab.lora-lab')!.extensionPath, 'dist/engine/cli.js');
  const node = [process.execPath, cli, command, inWorkspace(`${name}.lora.json`), ...options];
  // What shows the run comes first, on few cores too.
  const [program, ...args] = process.platform === 'win32' ? node : ['nice', '-n', '10', ...node];
  const child = spawn(program, args, { cwd: inWorkspace(), env: { ...process.env, ELECTRON_RUN_AS_NODE: '1' }, stdio: 'ignore' });
  children.push(child);
  return child;
}

const logged = (name: string): number => readFileSync(inWorkspace(`runs/${name}/metrics.jsonl`), 'utf8').split('\n').length - 1;
/** A process of its own reads packages and data before it makes a step, beside all else that is tested. */
const START_MS = 150_000;
const shows = (what: string, is: (run: LabState['run']) => boolean): Promise<LabState['run']> => until(what, async () => {
  const { run } = await state();
  return is(run) ? run : undefined;
}, START_MS);
/** Waits until the steps of a run elsewhere are shown as they are made. */
async function followed(beyond = 0): Promise<LabState['run']> {
  const first = await shows('it is followed', ({ status, step }) => status === 'elsewhere' && step > beyond);
  return shows('steps are shown while they are made', ({ status, step }) => status === 'elsewhere' && step > first.step);
}

suite('Runs of a terminal', () => {
  suiteSetup(() => vscode.commands.executeCommand('loraLab.openPanel'));
  teardown(async () => {
    for (const child of children.splice(0)) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await vscode.commands.executeCommand('loraLab.openPanel');
  });

  test('a run that a terminal begins is followed step by step, cannot be started twice, and is shown with its end; what goes on from it, too', async () => {
    await useExperiment('beside', ENDLESS);
    assert.equal((await state()).run.status, 'none');
    const first = terminal('beside');
    const run = await followed();
    assert.deepEqual([run.folder, run.total_steps, run.error, run.resumable, (await state()).engines], [inWorkspace('runs/beside'), 100_000, null, false, []]);
    await assert.rejects(async () => start(), /in use by process \d+.*Stop it there/);
    assert.equal((await state()).run.status, 'elsewhere');
    first.kill('SIGTERM');
    const ended = await shows('it has ended', ({ resumable }) => resumable);
    assert.deepEqual([ended.status, ended.metrics, ended.summary?.steps], ['stopped', logged('beside'), ended.step]);
    assert.ok(ended.adapter);

    const second = terminal('beside', ['--resume']);
    assert.equal((await followed(ended.step)).summary, null);
    second.kill('SIGKILL');
    const killed = await shows('it is known to be dead', ({ status }) => status === 'failed');
    assert.equal(killed.error?.code, 'run.no-summary');
    await shows('it can go on', ({ resumable }) => resumable);
    // A killed process may leave a line that is not whole.
    assert.equal(killed.metrics, logged('beside'));

    // Goes back to the checkpoint: the lines after it are written anew.
    terminal('beside', ['--resume']);
    const again = await followed();
    assert.ok(again.step < killed.step + 10_000 && again.metrics === again.step, JSON.stringify([again.step, again.metrics]));
  });

  test('a run that begins in a folder outside of the workspace is followed too', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'lora-lab-outside-'));
    try {
      await useExperiment('outside', [...ENDLESS, { path: ['output_dir'], value: join(outside, 'run') }]);
      const child = terminal('outside');
      assert.equal((await followed()).folder, join(outside, 'run'));
      const ended = once(child, 'close');
      child.kill('SIGKILL');
      await ended;
      await shows('it is known to be dead', ({ status }) => status === 'failed');
    } finally {
      rmSync(outside, { recursive: true, force: true });
    }
  });

  test('nothing is read of the log while the panel is hidden; when it is back all steps are there', async () => {
    await useExperiment('unseen', ENDLESS);
    terminal('unseen');
    await followed();
    await vscode.window.showTextDocument(vscode.Uri.file(inWorkspace('unseen.lora.json')), { viewColumn: vscode.ViewColumn.Active });
    await until('the panel is hidden', async () => !(await state()).panel.visible);
    await new Promise(resolve => setTimeout(resolve, 1500));
    const [hidden, made] = [await steps(), logged('unseen')];
    await until('steps are made', () => logged('unseen') > made + 20);
    assert.equal(await steps(), hidden);
    const now = logged('unseen');
    await vscode.commands.executeCommand('loraLab.openPanel');
    await shows('all steps are shown', ({ metrics }) => metrics >= now);
  });

  test('a sweep of a terminal is followed member by member, and shown with its ranking when it has ended', async () => {
    await useExperiment('swept', [{ path: ['sweep'], value: { 'lora.r': [2, 4] } }, { path: ['training', 'max_steps'], value: 120 }, { path: ['training', 'eval_strategy'], value: 'no' }]);
    terminal('swept', [], 'sweep');
    const [one, two] = ['01-r-2', '02-r-4'];
    const first = await shows('a member is followed', ({ status, metrics, curves }) => status === 'elsewhere' && metrics > 0 && one in curves);
    assert.deepEqual([first.total_steps, Object.keys(first.curves).sort()], [120, [one, two]]);
    const second = await shows('the other one is followed, beside all of the first', ({ status, metrics, curves }) => status === 'finished' || status === 'elsewhere' && metrics > 0 && curves[one] === 120);
    assert.ok(second.metrics > 0);
    const ended = await shows('it has ended', ({ status, adapter }) => status === 'finished' && adapter !== null);
    assert.deepEqual(ended.curves, { [one]: 120, [two]: 120 });
  });

  test('a start that is stopped at once shows the run of another process again that was open, and the next start trains', async () => {
    const mine = await useExperiment('mine', ENDLESS);
    const theirs = inWorkspace('theirs.lora.json');
    writeFileSync(theirs, editJson(readFileSync(mine, 'utf8'), [{ path: ['output_dir'], value: 'runs/theirs' }]));
    terminal('theirs');
    await until('it trains', () => existsSync(inWorkspace('runs/theirs/metrics.jsonl')), START_MS);
    // As that of somebody else: what an experiment of the workspace trains is shown with that experiment.
    rmSync(theirs);
    const node = await until('it is in the tree', async () => (await runRoots()).find(row => row.kind === 'run' && row.run.name === 'theirs' && !row.experiment));
    await vscode.commands.executeCommand('loraLab.openRun', node);
    await followed();
    const ended = start();
    await until('its engine starts', async () => (await state()).engines.length > 0);
    await vscode.commands.executeCommand('loraLab.stop');
    await ended;
    assert.equal((await followed()).folder, inWorkspace('runs/theirs'));
    await until('no engine is left', async () => (await state()).engines.length === 0);
    const trained = start();
    await shows('it trains', ({ status, step }) => status === 'running' && step > 0);
    await vscode.commands.executeCommand('loraLab.stop');
    await trained;
    assert.deepEqual([(await state()).run.status, (await state()).run.folder], ['stopped', inWorkspace('runs/mine')]);
  });

  test('the row of a run elsewhere says its latest loss, and an experiment that names another folder is free to start', async () => {
    await useExperiment('moved-on', ENDLESS);
    terminal('moved-on');
    const { step } = await followed();
    const { runTree } = await lab();
    const described = await until('the tree has it', async () => (await runRoots()).flatMap(node => (node.kind === 'run' && node.run.name === 'moved-on' ? [runTree.getTreeItem(node)] : []))[0]);
    assert.match(`${described.description} ${described.contextValue}`, /^running elsewhere · loss \d\.\d+ run-active/);
    assert.ok(step > 0);
    await useExperiment('moved-on', [...ENDLESS, { path: ['output_dir'], value: 'runs/moved-there' }]);
    await shows('no run is shown', ({ status }) => status === 'none');
  });
});
