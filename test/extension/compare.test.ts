import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as vscode from 'vscode';
import type { Comparison } from '../../src/protocol/comparison';
import type { RunNode } from '../../src/extension/runTree';
import { inWorkspace, lab, startEndless, state, stop, train, until } from './support';

type Run = RunNode & { kind: 'run' };
const rowsOf = async (...names: string[]): Promise<Run[]> => until(`${names.join()} are in the tree`, async () => {
  const all = await (await lab()).runTree.allRuns();
  const found = names.flatMap(name => all.find(({ run }) => run.name === name) ?? []);
  return found.length === names.length ? found : undefined;
});
/** With a last argument that makes errors come back. */
const compare = (rows: RunNode[]): Thenable<Comparison> => vscode.commands.executeCommand('loraLab.compareRuns', rows[0], rows, {});
const tabs = (): vscode.Tab[] => vscode.window.tabGroups.all.flatMap(group => group.tabs).filter(({ input }) => input instanceof vscode.TabInputWebview && input.viewType.endsWith('loraLab.compare'));

suite('Comparison of runs', () => {
  teardown(async () => {
    if ((await state()).engines.length) await vscode.commands.executeCommand('loraLab.stop');
    await until('no engine is left', async () => (await state()).engines.length === 0);
  });

  test('a page that was left behind is closed where none of its runs is there any more', async () => {
    const { comparePanel } = await lab();
    const left = vscode.window.createWebviewPanel('loraLab.compare', 'left behind', vscode.ViewColumn.Active);
    await comparePanel.deserializeWebviewPanel(left, { over: 'step', runs: [{ folder: inWorkspace('runs/gone'), experiment: null }] });
    await until('it is closed', async () => tabs().length === 0);
    const blank = vscode.window.createWebviewPanel('loraLab.compare', 'without a state', vscode.ViewColumn.Active);
    await comparePanel.deserializeWebviewPanel(blank, undefined);
    await until('it is closed, too', async () => tabs().length === 0);
  });

  test('rows that are chosen are shown beside each other, with what differs between them', async () => {
    await train('compared-low', [{ path: ['lora', 'r'], value: 2 }]);
    await train('compared-high', [{ path: ['lora', 'r'], value: 4 }, { path: ['training', 'max_steps'], value: 4 }]);
    const rows = await rowsOf('compared-low', 'compared-high');
    const [adapter] = await (await lab()).runTree.getChildren(rows[1]);
    const { settings, metric, runs } = await compare([...rows, adapter]);
    assert.deepEqual(settings, ['lora.r', 'training.max_steps']);
    assert.deepEqual(runs.map(run => [run.name, run.experiment, run.state, run.steps, ...run.settings]), [['compared-low', 'compared-low', 'finished', 8, '2', '8'], ['compared-high', 'compared-high', 'finished', 4, '4', '4']]);
    assert.equal(metric?.name, 'accuracy');
    assert.ok(runs.every(({ best, seconds, peak_memory_bytes, trainable_parameters }) => best && seconds && peak_memory_bytes && trainable_parameters));
    await until('its panel is there', () => tabs().some(({ label, isActive }) => label === 'LoRA: compare runs' && isActive));
    await compare(rows);
    assert.equal(tabs().length, 1, 'one panel for all comparisons');
  });

  test('the palette asks which, the rows that are selected ticked', async () => {
    await rowsOf('compared-low', 'compared-high');
    const { showQuickPick } = vscode.window;
    let offered: string[] = [];
    Object.assign(vscode.window, { showQuickPick: async (items: vscode.QuickPickItem[]) => {
      offered = items.map(({ label, description }) => `${label}: ${description}`);
      return items.filter(({ label }) => label.startsWith('compared-'));
    } });
    try {
      const shown = await vscode.commands.executeCommand<Comparison>('loraLab.compareRuns');
      assert.deepEqual(shown.runs.map(({ name }) => name).sort(), ['compared-high', 'compared-low']);
      assert.ok(offered.some(item => /^compared-low: compared-low · accuracy \d+\.\d % · loss \d\.\d+$/.test(item)), offered.join('\n'));
    } finally {
      Object.assign(vscode.window, { showQuickPick });
    }
  });

  test('what cannot be compared is refused with the reason', async () => {
    const [row, other] = await rowsOf('compared-low', 'compared-high');
    await assert.rejects(async () => compare([row]), /only one run was chosen, and a comparison needs two\. Choose several rows/);
    await assert.rejects(async () => compare(Array.from({ length: 13 }, (_, i) => ({ ...row, run: { ...row.run, folder: `${row.run.folder}${i}` } }))), /13 runs were chosen.*at most 12/);
    const gone = { ...other, run: { ...other.run, folder: inWorkspace('runs/nowhere') } };
    await assert.rejects(async () => compare([row, gone]), /runs.nowhere: this folder holds no run any more/);
    const silent = ['silent-1', 'silent-2'].map(name => {
      mkdirSync(inWorkspace('runs', name));
      writeFileSync(inWorkspace('runs', name, 'experiment.json'), '{}');
      return { ...row, run: { ...row.run, folder: inWorkspace('runs', name) } };
    });
    await assert.rejects(async () => compare(silent), /none of these runs has logged a step/);
    for (const { run } of silent) rmSync(run.folder, { recursive: true });
  });

  test('a run that went on since is shown as it is when its comparison is looked at again', async () => {
    const [low, high] = await rowsOf('compared-low', 'compared-high');
    const { runs: [before] } = await compare([low, high]);
    const log = inWorkspace('runs/compared-low/metrics.jsonl');
    const last = JSON.parse(readFileSync(log, 'utf8').trim().split('\n').findLast(line => 'grad_norm' in (JSON.parse(line) as object))!) as { step: number };
    await vscode.commands.executeCommand('vscode.open', vscode.Uri.file(inWorkspace('compared-low.lora.json')), vscode.ViewColumn.Active);
    appendFileSync(log, `${JSON.stringify({ ...last, step: last.step + 5 })}\n`);
    const { comparePanel } = await lab();
    assert.equal(comparePanel.comparison().runs[0].losses.length, before.losses.length, 'nobody looks');
    await vscode.commands.executeCommand('workbench.action.closeActiveEditor');
    await until('its later step is shown', () => comparePanel.comparison().runs[0].losses.length === before.losses.length + 1);
  });

  test('a run that is trained is followed to its end', async () => {
    const { ended } = await startEndless('compared-growing');
    const { runs: [growing] } = await compare(await rowsOf('compared-growing', 'compared-low'));
    assert.equal(growing.state, 'running');
    assert.ok(growing.steps > 3 && growing.losses.length > 0, JSON.stringify(growing));
    const { comparePanel } = await lab();
    await until('more steps are shown', () => comparePanel.comparison().runs[0].steps > growing.steps);
    const { summary } = await stop(ended);
    const shown = await until('its end is shown', () => comparePanel.comparison().runs.find(({ state }) => state === 'stopped'));
    assert.deepEqual([shown.steps, shown.trainable_parameters], [summary?.steps, summary?.trainable_parameters]);
  });
});
