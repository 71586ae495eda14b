import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as vscode from 'vscode';
import type { SettingChange } from '../../src/protocol/experiment';
import { inWorkspace, isAlive, isTicked, itemOf, lab, node, offered, runRoots, start, startEndless, state, steps, stop, textOf, train, until, useExperiment } from './support';

const SWEEP: SettingChange[] = [{ path: ['sweep'], value: { 'lora.r': [2, 4] } }];

const statusIs = async (status: string): Promise<boolean> => (await state()).run.status === status;
const metricsOf = (folder: string): Record<string, number>[] => readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n').map(line => JSON.parse(line));

/** The rows of the Runs tree, as they are written. */
async function runRows(): Promise<string[]> {
  const { runTree } = await lab();
  return (await runRoots()).map(node => runTree.getTreeItem(node)).map(item => `${item.label}: ${item.description}`);
}

suite('Runs', () => {
  teardown(async () => {
    if ((await state()).engines.length) await vscode.commands.executeCommand('loraLab.stop');
    await until('no engine is left', async () => (await state()).engines.length === 0);
  });

  test('memory is measured in an engine of its own, which a change of the settings or a run ends', async () => {
    await useExperiment('measured');
    const { measureMemory } = await lab();
    await measureMemory();
    const { memory: { measured, measuring } } = await state();
    assert.ok(measured && measured.peak_memory_bytes > 5e7 && measured.longest > 2, JSON.stringify(measured));
    assert.deepEqual([measuring, existsSync(inWorkspace('runs/measured'))], [false, false]);
    await until('its engine has ended', async () => !(await state()).engines.length);

    const going = measureMemory();
    await until('an engine measures', async () => (await state()).engines[0]);
    await useExperiment('measured', [{ path: ['training', 'max_length'], value: 32 }]);
    await going;
    await until('it was ended', async () => !(await state()).engines.length && !(await state()).memory.measuring);
  });

  test('Start trains the experiment and leaves an adapter', async () => {
    await useExperiment('first');
    const finished = start();
    const pid = await until('an engine works', async () => (await state()).engines[0]);
    await finished;
    const { run, panel } = await state();
    assert.equal(run.status, 'finished', JSON.stringify(run.error));
    assert.equal(run.error, null);
    assert.equal(run.folder, inWorkspace('runs/first'));
    assert.equal(run.summary?.steps, 8);
    assert.equal(run.summary?.trainable_parameters, 16642);
    assert.deepEqual(readdirSync(run.adapter!).sort().filter(name => name.startsWith('adapter')), ['adapter_config.json', 'adapter_model.safetensors']);
    assert.equal(metricsOf(run.folder!).filter(line => 'loss' in line).length, 8);
    assert.equal(run.metrics, metricsOf(run.folder!).length, 'the panel has every line of metrics.jsonl');
    assert.equal(panel.open, true);
    await until('the engine has ended', () => !isAlive(pid));
    await until('the run is in the tree', async () => (await runRows()).some(row => /^first: accuracy \d+\.\d % · loss \d\.\d{3}$/.test(row)));
  });

  test('a second run in the same folder moves the first aside, and both are listed', async () => {
    await train('again');
    const before = readFileSync(inWorkspace('runs/again/metrics.jsonl'), 'utf8');
    await train('again');
    assert.equal(readFileSync(inWorkspace('runs/again.1/metrics.jsonl'), 'utf8'), before);
    assert.ok(existsSync(inWorkspace('runs/again.1/adapter')));
    await until('both are in the tree', async () => (await runRows()).filter(row => /^again(\.1)?: accuracy/.test(row)).length === 2);
  });

  test('Pause holds the run, Resume goes on, Stop leaves a checkpoint and an adapter', async () => {
    const { ended } = await startEndless('steered');
    await vscode.commands.executeCommand('loraLab.pause');
    await until('it is paused', () => statusIs('paused'));
    const held = await steps();
    // Paused means that no step comes, for which there is nothing to wait for but time.
    await new Promise(resolve => setTimeout(resolve, 300));
    assert.equal(await steps(), held);
    await vscode.commands.executeCommand('loraLab.resume');
    await until('steps are made again', async () => await steps() > held);
    assert.equal(await statusIs('running'), true);
    const run = await stop(ended);
    assert.ok(existsSync(join(run.adapter!, 'adapter_model.safetensors')));
    assert.ok(readdirSync(run.folder!).some(name => name === `checkpoint-${run.summary!.steps}`));
    assert.equal(run.resumable, true);
  });

  test('a stopped run goes on from its checkpoint with all its history', async () => {
    const before = await stop((await startEndless('continued')).ended);
    await useExperiment('continued', [{ path: ['training', 'max_steps'], value: before.summary!.steps + 5 }, { path: ['training', 'eval_strategy'], value: 'no' }]);
    await vscode.commands.executeCommand('loraLab.continueRun');
    const { run } = await state();
    assert.equal(run.status, 'finished', JSON.stringify(run.error));
    assert.equal(run.summary?.steps, before.summary!.steps + 5);
    const numbers = metricsOf(run.folder!).filter(line => 'loss' in line).map(line => line.step);
    assert.deepEqual(numbers, Array.from({ length: before.summary!.steps + 5 }, (_, i) => i + 1));
  });

  test('a checkpoint can be written while it trains', async () => {
    const { ended } = await startEndless('saving');
    const checkpoint = await vscode.commands.executeCommand<string>('loraLab.saveCheckpoint');
    assert.match(checkpoint, /checkpoint-\d+$/);
    assert.ok(existsSync(checkpoint));
    assert.equal(await statusIs('running'), true);
    await stop(ended);
  });

  test('one run at a time: a second start is refused and the first goes on', async () => {
    const { ended } = await startEndless('busy');
    await assert.rejects(async () => start({}), /still training/);
    const seen = await steps();
    await until('the first goes on', async () => await steps() > seen);
    await stop(ended);
  });

  test('while a run trains or is paused no tick and no command changes its settings, so that it can go on', async () => {
    const { ended } = await startEndless('fixed');
    const file = inWorkspace('fixed.lora.json');
    const before = await textOf(file);
    const refused = async (): Promise<void> => {
      for (const [command, ...args] of [['selectAttention', {}], ['selectTargetModules', {}], ['setRank', await node('layer 0'), undefined, 4, {}]] as const) {
        await assert.rejects(async () => vscode.commands.executeCommand(`loraLab.${command}`, ...args), /settings are fixed while a run is active\. Stop it/, command);
      }
      await (await lab()).modelTree.tick([[await node('layer 0', 'attention', 'self.key'), vscode.TreeItemCheckboxState.Checked]]);
      assert.equal(isTicked(await itemOf('layer 0', 'attention', 'self.key')), false);
      assert.equal(await textOf(file), before);
    };
    await refused();
    await vscode.commands.executeCommand('loraLab.pause');
    await until('it is paused', () => statusIs('paused'));
    await refused();
    await stop(ended);
    await vscode.commands.executeCommand('loraLab.selectAttention', {});
    assert.notEqual(await textOf(file), before, 'afterwards they can be changed');
  });

  test('the run of an experiment that lies in no folder of the workspace, and names none, lies beside it', async () => {
    await useExperiment('inside');
    const outside = realpathSync(mkdtempSync(join(tmpdir(), 'lora-lab-outside-')));
    const experiment = join(outside, 'alone.lora.json');
    writeFileSync(experiment, JSON.stringify({ base_model: inWorkspace('model'), dataset: { train: inWorkspace('few.jsonl') }, training: { max_steps: 2 } }));
    try {
      await start({ experiment });
      const { run } = await state();
      assert.equal(run.status, 'finished', JSON.stringify(run.error));
      assert.equal(join(run.folder!, '..'), join(outside, '.lora', 'runs'));
    } finally {
      await useExperiment('inside');
      rmSync(outside, { recursive: true, maxRetries: 5 });
    }
  });

  test('metrics can be copied as CSV', async () => {
    await train('copied');
    const csv = await vscode.commands.executeCommand<string>('loraLab.copyMetrics');
    const [head, ...lines] = csv.trimEnd().split('\n').map(line => line.split(','));
    assert.deepEqual(head.slice(0, 8), ['step', 'epoch', 'loss', 'grad_norm', 'learning_rate', 'tokens', 'tokens_per_second', 'time']);
    assert.ok(head.includes('eval_f1_per_class.negative'), head.join());
    assert.equal(lines.length, (await state()).run.metrics);
    assert.ok(lines.every(line => line.length === head.length && line.every(field => Number.isFinite(Number(field)))), csv);
    assert.equal(await vscode.env.clipboard.readText(), csv);
  });

  test('a run can be deleted from the tree', async () => {
    await train('unwanted');
    const node = await until('the run is in the tree', async () => (await runRoots()).find(run => run.kind === 'run' && run.run.name === 'unwanted'));
    await vscode.commands.executeCommand('loraLab.deleteRun', node, undefined, true);
    assert.equal(existsSync(inWorkspace('runs/unwanted')), false);
    assert.ok((await runRows()).every(row => !row.startsWith('unwanted:')));
    assert.equal((await state()).run.status, 'none');
  });

  test('the row of a run goes with its folder, and is named anew with it, however that is done', async () => {
    for (const name of ['gone', 'moved']) await train(name);
    const { runTree } = await lab();
    const listed = async (...names: string[]): Promise<unknown> => until(`of these rows there are just ${names.join()}`, async () => {
      const labels = (await runRows()).map(row => row.split(':')[0]);
      return ['gone', 'moved', 'moved-here'].every(name => labels.includes(name) === names.includes(name));
    });
    await listed('gone', 'moved');
    // What the runs themselves changed has been told by then.
    await new Promise(resolve => setTimeout(resolve, 1500));
    const refreshed = async (change: () => void): Promise<void> => {
      const told = new Promise<void>(resolve => { const listener = runTree.onDidChangeTreeData(node => { if (node === undefined) { listener.dispose(); resolve(); } }); });
      change();
      await told;
    };
    await refreshed(() => rmSync(inWorkspace('runs/gone'), { recursive: true, maxRetries: 5 }));
    await refreshed(() => renameSync(inWorkspace('runs/moved'), inWorkspace('runs/moved-here')));
    await listed('moved-here');
  });

  test('what is typed in an experiment has no run folder read again, but for its output_dir', async () => {
    await useExperiment('typed-in');
    const tree = (await lab()).runTree as unknown as { read(): Promise<unknown> };
    const { read } = tree;
    let reads = 0;
    tree.read = () => { reads += 1; return read.call(tree); };
    try {
      // What came before has been read by then.
      await new Promise(resolve => setTimeout(resolve, 1500));
      reads = 0;
      await useExperiment('typed-in', [{ path: ['training', 'seed'], value: 7 }]);
      await new Promise(resolve => setTimeout(resolve, 1500));
      assert.equal(reads, 0);
      await useExperiment('typed-in', [{ path: ['output_dir'], value: 'runs/typed-elsewhere' }]);
      await until('they are read again', () => reads > 0);
    } finally { tree.read = read; }
  });

  test('rows of Runs are drawn anew only where the disk tells something new, so that none loses the selection', async () => {
    await train('drawn');
    const { runTree } = await lab();
    await runTree.refresh();
    // What the run itself changed has been told by then.
    await new Promise(resolve => setTimeout(resolve, 1500));
    let drawn = 0;
    const listener = runTree.onDidChangeTreeData(() => { drawn += 1; });
    try {
      await runTree.refresh();
      assert.equal(drawn, 0);
      rmSync(inWorkspace('runs/drawn'), { recursive: true, maxRetries: 5 });
      await runTree.refresh();
      assert.equal(drawn, 1);
    } finally { listener.dispose(); }
  });

  test('Start on a sweep trains its members, and the tree shows them below it, the best first', async () => {
    const run = await train('swept', SWEEP);
    const { runTree } = await lab();
    const sweep = await until('the sweep is in the tree', async () => (await runRoots()).find(node => node.kind === 'sweep' && node.sweep.folder === inWorkspace('runs/swept') && node.sweep.state === 'finished'));
    assert.match(String(runTree.getTreeItem(sweep).description), /^sweep 2\/2 · best eval_loss \d\.\d{3}$/);
    const members = await runTree.getChildren(sweep);
    const labels = members.map(node => runTree.getTreeItem(node).label);
    assert.deepEqual([...labels].sort(), ['01-r-2', '02-r-4']);
    assert.equal((await runRoots()).some(node => node.kind === 'run' && /^0\d-r-/.test(node.run.name)), false, 'members are listed once');
    assert.equal(run.folder, inWorkspace('runs/swept', String(labels[0])), 'the best one can be tried, saved and merged');
    assert.equal(run.metrics, metricsOf(run.folder!).length);
    const { peak_memory_bytes } = JSON.parse(readFileSync(inWorkspace('runs/swept/sweep.json'), 'utf8')) as { peak_memory_bytes: number };
    assert.equal((await state()).memory.measured?.peak_memory_bytes, peak_memory_bytes, 'what the sweep needed is remembered');
    assert.equal((await runTree.getChildren(members[1])).some(node => node.kind === 'adapter'), true);
  });

  test('a sweep is deleted with its runs', async () => {
    await train('swept-unwanted', SWEEP);
    const { runTree } = await lab();
    const sweep = await until('the sweep is in the tree', async () => (await runRoots()).find(node => node.kind === 'sweep' && node.folder === inWorkspace('runs/swept-unwanted') && !node.active));
    assert.ok(offered('deleteRun', runTree.getTreeItem(sweep)));
    await vscode.commands.executeCommand('loraLab.deleteRun', sweep, [sweep, ...await runTree.getChildren(sweep)], true);
    assert.equal(existsSync(inWorkspace('runs/swept-unwanted')), false);
    assert.ok((await runRows()).every(row => !row.startsWith('swept-unwanted:')));
    assert.equal((await state()).run.status, 'none');
  });

  test('a sweep that an earlier window trained is shown again, its best member with it', async () => {
    const before = await train('swept-before', SWEEP);
    // A file that this window has not seen, as every file after a reload.
    await useExperiment('swept-again', [...SWEEP, { path: ['output_dir'], value: 'runs/swept-before' }]);
    const { run } = await until('the sweep is loaded', async () => { const now = await state(); return now.run.folder ? now : undefined; });
    assert.deepEqual([run.status, run.folder, run.metrics, run.adapter], ['finished', before.folder, before.metrics, before.adapter]);
  });

  test('what the rest of a sweep needed is not remembered as what a sweep needs', async () => {
    await train('swept-partly', SWEEP);
    const known = (await state()).memory.measured;
    const sweep = JSON.parse(readFileSync(inWorkspace('runs/swept-partly/sweep.json'), 'utf8')) as { state: string; members: { name: string; state: string }[] };
    Object.assign(sweep, { state: 'stopped' });
    Object.assign(sweep.members[1], { state: 'stopped' });
    rmSync(inWorkspace('runs/swept-partly', sweep.members[1].name), { recursive: true });
    writeFileSync(inWorkspace('runs/swept-partly/sweep.json'), JSON.stringify(sweep));
    // Savings may differ when it goes on, and memory depends on them: nothing is known of these settings.
    await useExperiment('swept-on', [...SWEEP, { path: ['output_dir'], value: 'runs/swept-partly' }, { path: ['engine', 'without'], value: ['split_bias'] }]);
    await until('the sweep can go on', async () => (await state()).run.resumable);
    await vscode.commands.executeCommand('loraLab.continueRun');
    const { run, memory } = await state();
    assert.equal(run.status, 'finished', JSON.stringify(run.error));
    assert.deepEqual(memory.measured, known);
  });
});
