/** Starts, stops and continuations that come close to each other, and runs that are not the current experiment's own. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as vscode from 'vscode';
import { EngineClient } from '../../src/extension/engineClient';
import { editJson } from '../../src/extension/jsonEdit';
import type { SettingChange } from '../../src/protocol/experiment';
import type { RunNode } from '../../src/extension/runTree';
import type { TryResult } from '../../src/protocol/panel';
import { ENDLESS, inWorkspace, isAlive, lab, runRoots, start, startEndless, state, steps, stop, textOf, train, until, useExperiment } from './support';

const SWEEP: SettingChange[] = [{ path: ['sweep'], value: { 'lora.r': [2, 4] } }];

const go = (): Thenable<unknown> => vscode.commands.executeCommand('loraLab.continueRun');
const none = (): Promise<unknown> => until('no engine is left', async () => (await state()).engines.length === 0);
/** The row of a run in the tree, once there is one. */
const row = async (name: string): Promise<RunNode & { kind: 'run' }> => {
  return until(`${name} is in the tree`, async () => (await runRoots()).flatMap(node => (node.kind === 'run' && node.run.name === name ? [node] : []))[0]);
};

/** Puts the sample's model into another folder, with a last weight of another value where it is to be `changed`. */
function copyModel(name: string, { changed = false } = {}): void {
  cpSync(inWorkspace('model'), inWorkspace(name), { recursive: true });
  if (!changed) return;
  const weights = inWorkspace(name, 'model.safetensors');
  const bytes = readFileSync(weights);
  bytes[bytes.length - 4] ^= 1;
  writeFileSync(weights, bytes);
}

/** Starts something, and stops it as soon as its engine is there, or as soon as it is shown that it begins. */
async function cancelled(begin: () => Thenable<unknown>, stopped: 'engine' | 'shown' = 'engine'): Promise<void> {
  await none();
  const ended = begin();
  // Between the two nothing but promises is waited for.
  if (stopped === 'shown') for (let turns = 0; turns < 1000 && (await state()).run.status !== 'preparing'; turns++);
  else await until('its engine starts', async () => (await state()).engines.length > 0);
  await until('it is being prepared', async () => (await state()).run.status === 'preparing');
  await vscode.commands.executeCommand('loraLab.stop');
  await ended;
  await none();
}

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

  test('a continued run that is stopped while it still starts is shown as it was, and can go on', async () => {
    const before = await stop((await startEndless('resumed')).ended);
    const shown = ({ status, resumable, folder, adapter, metrics, step }: typeof before): unknown[] => [status, resumable, folder, adapter, metrics, step];
    for (const when of ['engine', 'shown'] as const) {
      await cancelled(go, when);
      assert.deepEqual(shown((await state()).run), shown(before), when);
    }
    // Nor has a new run done anything to it by then.
    await cancelled(start);
    assert.deepEqual(shown((await state()).run), shown(before));
    const ended = go();
    await until('it goes on', async () => (await state()).run.status === 'running' && await steps() > before.step);
    assert.equal((await stop(ended)).folder, before.folder);
  });

  test('a start that fails before it writes anything says why, and leaves the run before it as it was', async () => {
    const wrong: SettingChange = { path: ['lora', 'target_modules'], value: ['query', 'valeu'] };
    const left = ({ folder, adapter, metrics, step, resumable, summary }: Awaited<ReturnType<typeof train>>): unknown[] => [folder, adapter, metrics, step, resumable, summary];
    const before = await train('untouched', [{ path: ['training', 'save_strategy'], value: 'steps' }, { path: ['training', 'save_steps'], value: 4 }]);
    assert.ok(before.adapter && !before.resumable);
    await useExperiment('untouched', [wrong]);
    for (const _ of ['once', 'again']) {
      await start();
      const { run } = await state();
      assert.deepEqual([run.status, run.error?.code], ['failed', 'lora.target-not-found']);
      assert.deepEqual(left(run), left(before));
    }
    const stopped = await stop((await startEndless('untouched')).ended);
    await useExperiment('untouched', [...ENDLESS, wrong]);
    for (const [begin, code] of [[start, 'lora.target-not-found'], [go, 'resume.experiment-changed']] as const) {
      await begin();
      const { run } = await state();
      assert.deepEqual([run.status, run.error?.code], ['failed', code]);
      assert.deepEqual(left(run), left(stopped));
    }
    await useExperiment('untouched', ENDLESS);
    const ended = go();
    await until('it goes on', async () => (await state()).run.status === 'running' && await steps() > stopped.step);
    assert.equal((await stop(ended)).folder, stopped.folder);
  });

  test('an earlier run that is opened is shown without a way to continue it, and the experiment\'s own with one', async () => {
    await stop((await startEndless('earlier')).ended);
    const latest = await stop((await startEndless('earlier')).ended);
    await vscode.commands.executeCommand('loraLab.openRun', await row('earlier.1'));
    const { run } = await state();
    assert.deepEqual([run.folder, run.status, run.resumable], [inWorkspace('runs/earlier.1'), 'stopped', false]);
    assert.ok(run.metrics > 3 && run.adapter);
    // Nor does the tree take the experiment for its own because the panel shows it: it would resume the other one.
    await vscode.commands.executeCommand('loraLab.resumeRun', await row('earlier.1'));
    assert.equal((await state()).run.folder, run.folder);
    await vscode.commands.executeCommand('loraLab.openRun', await row('earlier'));
    const own = (await state()).run;
    assert.deepEqual([own.folder, own.resumable, own.step], [latest.folder, true, latest.step]);
  });

  test('while the panel shows a run that trains it says so of another one that it is to show, and shows it afterwards', async () => {
    await train('shown');
    const { ended } = await startEndless('shown');
    const open = async (): Promise<unknown> => vscode.commands.executeCommand('loraLab.openRun', await row('shown.1'), {});
    await assert.rejects(open, /the panel shows the run of shown, which is still training\. Show this one when that has ended/);
    await stop(ended);
    await open();
    assert.equal((await state()).run.folder, inWorkspace('runs/shown.1'));
  });

  test('a run of no experiment is shown in the panel of one that is asked for where none is current', async () => {
    // Of several none is taken for the current one.
    await useExperiment('beside-without');
    await train('without');
    cpSync(inWorkspace('runs/without'), inWorkspace('runs/of-none'), { recursive: true });
    rmSync(inWorkspace('without.lora.json'));
    await until('none is current', async () => (await state()).experiment === null);
    const opened = vscode.commands.executeCommand('loraLab.openRun', await row('of-none'));
    await until('one is chosen', async () => {
      await vscode.commands.executeCommand('workbench.action.acceptSelectedQuickOpenItem');
      return (await state()).experiment;
    });
    await opened;
    assert.equal((await state()).run.folder, inWorkspace('runs/of-none'));
  });

  test('an adapter that was chosen in the tree is tried until the own one is asked for, a run is shown or one begins', async () => {
    await train('tried');
    const { adapter } = await train('tried');
    const earlier = await row('tried.1');
    const tried = async (): Promise<string | null> => (await state()).run.tried;
    const choose = async (): Promise<void> => {
      await vscode.commands.executeCommand('loraLab.tryAdapter', earlier);
      assert.equal(await tried(), inWorkspace('runs/tried.1/adapter'));
    };
    await choose();
    await vscode.commands.executeCommand('loraLab.tryAdapter');
    assert.equal(await tried(), adapter, 'asked for');
    await choose();
    await vscode.commands.executeCommand('loraLab.openRun', await row('tried'));
    assert.equal(await tried(), adapter, 'shown');
    await choose();
    await train('tried');
    assert.equal(await tried(), adapter, 'trained anew');
  });

  test('a classifier of pairs is tried with both texts', async () => {
    const rows = readFileSync(inWorkspace('eval.jsonl'), 'utf8').split('\n').slice(0, 32).map(line => JSON.parse(line) as { text: string });
    writeFileSync(inWorkspace('pairs.jsonl'), rows.map((row, i) => `${JSON.stringify({ ...row, second: rows[31 - i].text })}\n`).join(''));
    const pairs: SettingChange[] = [{ path: ['dataset', 'train'], value: 'pairs.jsonl' }, { path: ['dataset', 'eval'], value: 'pairs.jsonl' }, { path: ['dataset', 'text_pair_column'], value: 'second' }];
    await train('pairs', pairs);
    const tried = (args: object): Thenable<TryResult> => vscode.commands.executeCommand('loraLab.tryAdapter', { text: 'A wonderful evening.', ...args });
    const [alone, pair] = [await tried({}), await tried({ text_pair: 'I left after an hour.' })];
    for (const side of ['base', 'adapter'] as const) assert.notDeepEqual(pair[side][0].probabilities, alone[side][0].probabilities, side);
  });

  test('an earlier run is tried on the base that it was trained on', async () => {
    await train('based');
    copyModel('other-model', { changed: true });
    await train('based', [{ path: ['base_model'], value: 'other-model' }]);
    await vscode.commands.executeCommand('loraLab.openRun', await row('based.1'));
    const { base, adapter } = await vscode.commands.executeCommand<TryResult>('loraLab.tryAdapter', { text: 'A wonderful evening.' });
    assert.notDeepEqual(base[0].probabilities, adapter[0].probabilities);
  });

  test('a run is tried and merged on the base that it was trained on, whatever the experiment names since; where that was moved, on the experiment\'s', async () => {
    copyModel('trained-on');
    copyModel('named-since', { changed: true });
    await train('rebased', [{ path: ['base_model'], value: 'trained-on' }]);
    const text = 'A wonderful evening.';
    const { adapter } = await vscode.commands.executeCommand<TryResult>('loraLab.tryAdapter', { text });
    await useExperiment('rebased', [{ path: ['base_model'], value: 'named-since' }]);
    assert.deepEqual((await vscode.commands.executeCommand<TryResult>('loraLab.tryAdapter', { text })).adapter, adapter);
    const out = inWorkspace('rebased-merged');
    assert.equal(await vscode.commands.executeCommand('loraLab.mergeAdapter', { out }), out);
    renameSync(inWorkspace('trained-on'), inWorkspace('moved-to'));
    await useExperiment('rebased', [{ path: ['base_model'], value: 'moved-to' }]);
    assert.deepEqual((await vscode.commands.executeCommand<TryResult>('loraLab.tryAdapter', { text })).adapter, adapter);
  });

  test('what this window trains is steered from every experiment that names its folder, and shown there with its end', async () => {
    const { ended } = await startEndless('shared');
    await useExperiment('shared-copy', [...ENDLESS, { path: ['output_dir'], value: 'runs/shared' }]);
    assert.equal((await state()).run.status, 'running');
    const seen = await steps();
    await until('its steps are shown', async () => await steps() > seen);
    await vscode.commands.executeCommand('loraLab.pause');
    await until('it is paused', async () => (await state()).run.status === 'paused');
    // As in the panel, which shows that run.
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.selectAttention', {}), /settings are fixed while a run is active/);
    await vscode.commands.executeCommand('loraLab.stop');
    await ended;
    const run = await until('its end is shown', async () => { const now = (await state()).run; return now.resumable ? now : undefined; });
    assert.deepEqual([run.status, run.folder, run.summary?.steps], ['stopped', inWorkspace('runs/shared'), run.step]);
    // What the copy trains there next, the first one shows in the place of its own.
    const next = start();
    await until('steps are made', async () => (await state()).run.status === 'running' && await steps() > 0);
    await useExperiment('shared', ENDLESS);
    assert.equal((await state()).run.status, 'running');
    await vscode.commands.executeCommand('loraLab.stop');
    await next;
    const summary: unknown = JSON.parse(readFileSync(inWorkspace('runs/shared/summary.json'), 'utf8'));
    await until('the new end is shown', async () => isDeepStrictEqual((await state()).run.summary, summary));
  });

  test('the newest run of an experiment that names no folder is shown after a reload, and goes on from its row', async () => {
    const nowhere: SettingChange[] = [...ENDLESS, { path: ['output_dir'], value: undefined }];
    await useExperiment('nowhere', nowhere);
    const ended = start();
    await until('steps are made', async () => (await state()).run.status === 'running' && await steps() > 3);
    const before = await stop(ended);
    // Under names that this window has not seen, as it has seen none after a reload.
    const named = (name: string): string => before.folder!.replace(/nowhere$/, name);
    cpSync(before.folder!, named('found-again'), { recursive: true });
    await useExperiment('found-again', nowhere);
    const run = await until('the run is shown', async () => { const now = (await state()).run; return now.resumable ? now : undefined; });
    assert.deepEqual([run.folder, run.status, run.step, run.metrics], [named('found-again'), 'stopped', before.step, before.metrics]);

    cpSync(before.folder!, named('untouched'), { recursive: true });
    const file = inWorkspace('untouched.lora.json');
    writeFileSync(file, editJson(await textOf(inWorkspace('nowhere.lora.json')), [{ path: ['training', 'max_steps'], value: before.step + 5 }]));
    await vscode.commands.executeCommand('loraLab.resumeRun', await row(basename(named('untouched'))));
    const now = await state();
    assert.deepEqual([now.experiment, now.run.folder, now.run.status, now.run.step], [file, named('untouched'), 'finished', before.step + 5]);
  });

  test('a sweep that goes on keeps the curves of the members that had ended', async () => {
    await train('curves', SWEEP);
    const file = inWorkspace('runs/curves/sweep.json');
    const sweep = JSON.parse(readFileSync(file, 'utf8')) as { state: string; members: { name: string; state: string }[] };
    sweep.state = sweep.members[1].state = 'stopped';
    rmSync(inWorkspace('runs/curves', sweep.members[1].name), { recursive: true });
    writeFileSync(file, JSON.stringify(sweep));
    await useExperiment('curves-on', [...SWEEP, { path: ['output_dir'], value: 'runs/curves' }]);
    await until('the sweep can go on', async () => (await state()).run.resumable);
    assert.deepEqual((await state()).run.curves, { [sweep.members[0].name]: 8, [sweep.members[1].name]: 0 });
    await go();
    const { run } = await state();
    assert.equal(run.status, 'finished', JSON.stringify(run.error));
    assert.deepEqual(run.curves, { [sweep.members[0].name]: 8, [sweep.members[1].name]: 8 });
  });

  test('a member of a sweep that is shown from the tree stays shown, also where the window has not shown the sweep before', async () => {
    const best = basename((await train('members', SWEEP)).folder!);
    // A file that this window has not seen, as every file after a reload.
    cpSync(inWorkspace('runs/members'), inWorkspace('runs/members-unseen'), { recursive: true });
    const file = inWorkspace('members-unseen.lora.json');
    writeFileSync(file, (await textOf(inWorkspace('members.lora.json'))).replace('runs/members', 'runs/members-unseen'));
    const { runTree } = await lab();
    const other = await until('the sweep is in the tree', async () => {
      const sweep = (await runRoots()).find(node => node.kind === 'sweep' && node.folder === inWorkspace('runs/members-unseen'));
      const members = sweep ? await runTree.getChildren(sweep) : [];
      return members.flatMap(node => (node.kind === 'run' && node.experiment === file && node.run.name !== best ? [node] : []))[0];
    });
    await vscode.commands.executeCommand('loraLab.openRun', other);
    // What is read of the sweep beside it has been read by then.
    await sleep(500);
    const { experiment, run } = await state();
    assert.deepEqual([experiment, run.folder, run.metrics > 0], [file, other.run.folder, true]);
  });

  test('the best member of a sweep whose folder was copied or renamed is tried from where it lies now', async () => {
    const { folder } = await train('swept-here', SWEEP);
    const show = async (name: string): Promise<string> => {
      await useExperiment(name, [...SWEEP, { path: ['output_dir'], value: `runs/${name}` }]);
      return until(`${name} is loaded`, async () => (await state()).run.adapter);
    };
    const best = folder!.slice(inWorkspace('runs/swept-here').length + 1);
    cpSync(inWorkspace('runs/swept-here'), inWorkspace('runs/swept-copy'), { recursive: true });
    assert.equal(await show('swept-copy'), inWorkspace('runs/swept-copy', best, 'adapter'));
    renameSync(inWorkspace('runs/swept-here'), inWorkspace('runs/swept-moved'));
    assert.equal(await show('swept-moved'), inWorkspace('runs/swept-moved', best, 'adapter'));
  });

  test('a run that another process trains is no failed one, is not deleted, is shown while it trains, and with its end', async () => {
    await useExperiment('foreign', ENDLESS);
    const log = vscode.window.createOutputChannel('Another process', { log: true });
    const engine = await EngineClient.start({ extensionPath: vscode.extensions.getExtension('lora-lab.lora-lab')!.extensionPath, cwd: inWorkspace(), runtimes: inWorkspace('runtimes'), log });
    try {
      const stepped = new Promise<void>(resolve => engine.on('metrics', () => resolve()));
      const ended = engine.request('train', { experiment_file: inWorkspace('foreign.lora.json'), resume: false });
      await stepped;
      const { runTree } = await lab();
      const node = await row('foreign');
      const { description, contextValue } = runTree.getTreeItem(node);
      assert.match(`${contextValue} ${description}`, /^run-active.* running elsewhere/);
      await vscode.commands.executeCommand('loraLab.deleteRun', node, undefined, true);
      assert.ok(existsSync(inWorkspace('runs/foreign/metrics.jsonl')));
      // A file that this window has not seen, as every file after a reload.
      await useExperiment('foreign-again', [...ENDLESS, { path: ['output_dir'], value: 'runs/foreign' }]);
      await until('the run is shown', async () => (await state()).run.status === 'elsewhere' && await steps() > 0);
      await engine.request('stop', {});
      await ended;
      await until('the run is shown and can go on', async () => (await state()).run.resumable);
      assert.deepEqual([(await state()).run.folder, (await state()).run.status], [inWorkspace('runs/foreign'), 'stopped']);
    } finally { engine.kill(); }
    await vscode.commands.executeCommand('loraLab.deleteRun', await row('foreign'), undefined, true);
    assert.equal(existsSync(inWorkspace('runs/foreign')), false);
  });
});
