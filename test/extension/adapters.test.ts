import assert from 'node:assert/strict';
import { chmodSync, cpSync, existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as vscode from 'vscode';
import type { TryResult } from '../../src/protocol/panel';
import { EngineClient } from '../../src/extension/engineClient';
import type { SettingChange } from '../../src/protocol/experiment';
import { writeLargeBase, writing } from '../support/largeBase';
import { hoverText, inWorkspace, lab, offered, runRoots, state, train, until, useExperiment, withSaveDialog } from './support';

suite('Adapters', () => {
  let adapter: string;
  suiteSetup(async () => {
    await useExperiment('adapters');
    await vscode.commands.executeCommand('loraLab.start', {});
    adapter = (await state()).run.adapter!;
  });

  test('Save adapter copies the PEFT folder', async () => {
    const to = inWorkspace('saved/adapter');
    assert.equal(await vscode.commands.executeCommand('loraLab.saveAdapter', { to }), to);
    for (const name of ['adapter_config.json', 'adapter_model.safetensors']) assert.ok(readFileSync(join(to, name)).equals(readFileSync(join(adapter, name))), name);
    assert.deepEqual(readdirSync(inWorkspace('saved')), ['adapter'], 'nothing temporary is left');
  });

  test('Save adapter copies read-only files, as of a folder that is shared, to files that can be written', async () => {
    const [from, to] = [inWorkspace('read-only'), inWorkspace('saved/of-read-only')];
    cpSync(adapter, from, { recursive: true });
    for (const name of readdirSync(from)) chmodSync(join(from, name), 0o444);
    await vscode.commands.executeCommand('loraLab.saveAdapter', { from, to });
    for (const name of ['adapter_config.json', 'adapter_model.safetensors']) {
      assert.ok(readFileSync(join(to, name)).equals(readFileSync(join(adapter, name))), name);
      assert.ok(statSync(join(to, name)).mode & 0o200, name);
    }
  });

  test('Save adapter never writes over anything', async () => {
    const before = readFileSync(inWorkspace('model/config.json'), 'utf8');
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.saveAdapter', { to: inWorkspace('model') }), /not empty/);
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.saveAdapter', { to: join(adapter, 'copy') }), /inside/);
    assert.equal(readFileSync(inWorkspace('model/config.json'), 'utf8'), before);
    assert.equal(existsSync(join(adapter, 'copy')), false);
  });

  test('Save and Merge suggest a folder that is free', async () => {
    const suggested: string[] = [];
    const accept = (command: string): Promise<unknown> => withSaveDialog(offered => {
      suggested.push(basename(offered));
      return offered;
    }, () => vscode.commands.executeCommand(`loraLab.${command}`));
    for (const command of ['saveAdapter', 'saveAdapter', 'mergeAdapter', 'mergeAdapter']) await accept(command);
    assert.deepEqual(suggested, ['adapters-adapter', 'adapters-adapter-2', 'adapters-merged', 'adapters-merged-2']);
    for (const name of suggested) assert.ok(['adapter_model.safetensors', 'model.safetensors'].some(file => existsSync(inWorkspace(name, file))), name);
  });

  test('the adapter of a checkpoint is tried, saved and merged from its row', async () => {
    const { folder } = await train('checkpoints', [{ path: ['training', 'save_strategy'], value: 'steps' }, { path: ['training', 'save_steps'], value: 4 }]);
    const { runTree } = await lab();
    const run = await until('the run is in the tree', async () => (await runRoots()).find(node => node.kind === 'run' && node.run.folder === folder && node.run.adapter));
    const checkpoint = (await runTree.getChildren(run)).find(node => node.kind === 'checkpoint' && node.step === 4)!;
    const from = join(folder!, 'checkpoint-4');
    for (const command of ['tryAdapter', 'saveAdapter', 'mergeAdapter']) assert.ok(offered(command, runTree.getTreeItem(checkpoint)), command);
    await vscode.commands.executeCommand('loraLab.tryAdapter', checkpoint);
    assert.equal((await state()).run.tried, from);
    const saved = inWorkspace('saved/of-checkpoint');
    assert.equal(await withSaveDialog(() => saved, () => vscode.commands.executeCommand('loraLab.saveAdapter', checkpoint)), saved);
    assert.deepEqual(readdirSync(saved).sort(), ['adapter_config.json', 'adapter_model.safetensors'], 'and nothing to resume from');
    assert.ok(readFileSync(join(saved, 'adapter_model.safetensors')).equals(readFileSync(join(from, 'adapter_model.safetensors'))));
    const merged = inWorkspace('merged-checkpoint');
    await withSaveDialog(() => merged, () => vscode.commands.executeCommand('loraLab.mergeAdapter', checkpoint));
    assert.ok(existsSync(join(merged, 'model.safetensors')));
    await useExperiment('adapters');
  });

  test('a new experiment goes on from an adapter of Runs, where that one ended, also of a start from the base weights', async () => {
    const lora: [string, SettingChange[]][] = [['begun', []], ['decomposed', [{ path: ['lora', 'init_lora_weights'], value: 'pissa' }, { path: ['lora', 'rank_pattern'], value: { 'layer.0.attention.self.query': 4 } }]]];
    for (const [name, changes] of lora) {
      const before = await train(name, [{ path: ['training', 'learning_rate'], value: 0.001 }, ...changes]);
      const { runTree } = await lab();
      const run = await until('the run is in the tree', async () => (await runRoots()).find(node => node.kind === 'run' && node.run.folder === before.folder && node.run.adapter));
      assert.ok(offered('continueAdapter', runTree.getTreeItem(run)));
      const file = inWorkspace(`${name}-continued.lora.json`);
      assert.equal(await withSaveDialog(suggested => suggested, () => vscode.commands.executeCommand('loraLab.continueAdapter', run)), file);
      const { lora: { init_adapter }, dataset, output_dir, training: { learning_rate, seed } } = JSON.parse(readFileSync(file, 'utf8'));
      assert.deepEqual([init_adapter, dataset, output_dir, learning_rate, seed], [`runs/${name}/adapter`, { train: 'few.jsonl', eval: 'few.jsonl' }, `runs/${name}-continued`, 0.001, undefined]);
      await until('it is the current experiment', async () => (await state()).experiment === file);
      await vscode.commands.executeCommand('loraLab.start', {});
      const after = (await state()).run;
      assert.equal(after.status, 'finished', JSON.stringify(after.error));
      assert.ok(Math.abs(Number(after.summary!.eval_before!.loss) - Number(before.summary!.eval!.loss)) < 1e-4, JSON.stringify([before.summary!.eval, after.summary!.eval_before]));
    }
    await useExperiment('adapters');
  });

  test('Merge adapter writes a checkpoint that can be a base model', async () => {
    const out = inWorkspace('merged');
    assert.equal(await vscode.commands.executeCommand('loraLab.mergeAdapter', { out }), out);
    const names = readdirSync(out);
    assert.ok(['config.json', 'model.safetensors', 'tokenizer.json'].every(name => names.includes(name)), names.join());
    await useExperiment('on-merged', [{ path: ['base_model'], value: 'merged' }]);
    assert.equal((await state()).ticked.length, 8);
    await useExperiment('adapters');
  });

  test('a merge that is cancelled, as by its button or with the window, leaves nothing', async () => {
    const place = inWorkspace('cancelled');
    const { extensionPath } = vscode.extensions.getExtension('lora-lab.lora-lab')!;
    // An adapter from elsewhere does not say which weights it was trained on.
    const foreign = join(extensionPath, 'test/fixtures/references/linear');
    const base = writeLargeBase(join(foreign, 'model'), join(place, 'base'), 2 ** 29);
    const log = vscode.window.createOutputChannel('Cancelled merge', { log: true });
    const engine = await EngineClient.start({ extensionPath, cwd: place, runtimes: place, log });
    try {
      const merge = assert.rejects(engine.request('merge', { base, adapter: join(foreign, 'adapter_final'), out: join(place, 'merged') }), /ended/);
      const begun = writing(place);
      for (const until = Date.now() + 20_000; !begun() && Date.now() < until;) await sleep(1);
      assert.ok(engine.merging);
      await engine.cancel();
      await merge;
      assert.deepEqual(readdirSync(place), ['base']);
      assert.deepEqual([engine.alive, engine.merging], [false, false]);
    } finally { engine.kill(); }
  });

  test('Merge adapter never writes over anything', async () => {
    const before = readFileSync(inWorkspace('model/model.safetensors'));
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.mergeAdapter', { out: inWorkspace('model') }));
    assert.ok(readFileSync(inWorkspace('model/model.safetensors')).equals(before));
  });

  test('Try adapter compares the base with and without it', async () => {
    const result = await vscode.commands.executeCommand<TryResult>('loraLab.tryAdapter', { text: 'A wonderful evening.' });
    for (const { label, probabilities } of [result.base[0], result.adapter[0]]) {
      assert.deepEqual(Object.keys(probabilities).sort(), ['negative', 'positive']);
      assert.ok(Math.abs(Object.values(probabilities).reduce((a, b) => a + b) - 1) < 1e-5);
      assert.equal(probabilities[label], Math.max(...Object.values(probabilities)));
    }
    assert.notDeepEqual(result.base[0].probabilities, result.adapter[0].probabilities);
  });

  test('Try adapter works on the experiment\'s device, and says what that lacks', async () => {
    await useExperiment('adapters', [{ path: ['engine', 'device'], value: 'tensorflow' }]);
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.tryAdapter', { text: 'A wonderful evening.', adapter }), /tensorflow cannot be used: no @tensorflow/);
    await useExperiment('adapters');
  });

  test('adapter_config.json shows the shapes that its weights have', async () => {
    const config = vscode.Uri.file(join(adapter, 'adapter_config.json'));
    const text = await hoverText(config, '"target_modules"');
    assert.match(text, /`attention\.self\.query` \| 4 \| `\[8, 128\]` \| `\[128, 8\]` \| 8,192/);
    assert.match(text, /read from `adapter_model\.safetensors`/);
    assert.match(await hoverText(config, '"lora_alpha"'), /alpha \/ r.*: 2/);
  });
});
