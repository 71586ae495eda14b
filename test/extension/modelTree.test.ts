import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { isTicked, itemOf, lab, lineOf, node, state, textOf, tooltipOf, until, useExperiment, withQuickPick } from './support';

const { Checked, Unchecked } = vscode.TreeItemCheckboxState;
const tick = async (on: boolean, ...labels: string[]): Promise<void> => (await lab()).modelTree.tick([[await node(...labels), on ? Checked : Unchecked]]);
const iconOf = async (...labels: string[]): Promise<string> => ((await itemOf(...labels)).iconPath as vscode.ThemeIcon).id;

suite('Model tree', () => {
  let file: string;
  setup(async () => { file = await useExperiment('tree', [{ path: ['lora', 'target_modules'], value: ['query', 'value'] }, { path: ['lora', 'rank_pattern'], value: undefined }]); });

  test('shows the layers of the checkpoint with the shapes of their weights', async () => {
    const { modelTree } = await lab();
    assert.deepEqual(modelTree.getChildren(await node()).map(child => child.label), ['embeddings', 'layer 0', 'layer 1', 'layer 2', 'layer 3', 'pooler.dense', 'classifier']);
    assert.equal((await itemOf('layer 0', 'attention', 'self.key')).description, '128 × 128');
    assert.equal((await itemOf('layer 0', 'intermediate.dense')).description, '512 × 128');
    assert.equal(modelTree.getParent(await node('layer 0', 'attention'))?.label, 'layer 0');
  });

  test('linear layers and embeddings have boxes; the head is trained whole', async () => {
    assert.equal(isTicked(await itemOf('layer 0', 'attention', 'output.LayerNorm')), undefined);
    assert.equal(await iconOf('layer 0', 'attention', 'output.LayerNorm'), 'lock');
    assert.equal(await iconOf('classifier'), 'unlock');
    assert.equal(isTicked(await itemOf('embeddings', 'word_embeddings')), false);
    assert.equal(isTicked(await itemOf('embeddings', 'LayerNorm')), undefined);
    assert.equal(isTicked(await itemOf('classifier')), undefined);
    assert.match(String((await itemOf('classifier')).description), /trained whole/);
  });

  test('a parent of ticked and other layers is unticked and counts them', async () => {
    assert.equal(isTicked(await itemOf('layer 0', 'attention', 'self.query')), true);
    assert.equal(isTicked(await itemOf('layer 0', 'attention', 'self.key')), false);
    const parent = await itemOf('layer 0');
    assert.equal(isTicked(parent), false);
    assert.equal(parent.description, '2/6 · +4.1 K');
  });

  test('the tooltip of an adapted layer gives the shapes of A and B and what they cost', async () => {
    const text = tooltipOf(await itemOf('layer 0', 'attention', 'self.query'));
    assert.match(text, /bert\\?\.encoder\\?\.layer\\?\.0\\?\.attention\\?\.self\\?\.query/);
    assert.match(text, /\| A \| `\[8, 128\]` \|/);
    assert.match(text, /\| B \| `\[128, 8\]` \|/);
    assert.match(text, /2,048 parameters/);
    assert.match(text, /16 \/ 8 = 2/);
    assert.doesNotMatch(tooltipOf(await itemOf('layer 0', 'attention', 'self.key')), /\| A \|/);
  });

  test('ticking one layer writes the shortest names that match just that', async () => {
    const before = (await state()).trainable_parameters;
    await tick(true, 'layer 1', 'attention', 'self.key');
    assert.equal(await lineOf(file, 'target_modules'), '"target_modules": ["query", "value", "1.attention.self.key"],');
    assert.equal((await state()).trainable_parameters, before + 2048);
    await tick(false, 'layer 1', 'attention', 'self.key');
    assert.equal(await lineOf(file, 'target_modules'), '"target_modules": ["query", "value"],');
  });

  test('a tick draws its own row anew at once, so that the next click is not lost, and what holds it after a pause', async () => {
    const { modelTree } = await lab();
    for (const labels of [[], ['layer 0'], ['layer 0', 'attention'], ['layer 0', 'attention', 'self.key'], ['layer 0', 'attention', 'self.value']]) await itemOf(...labels);
    const drawn: string[][] = [];
    const listener = modelTree.onDidChangeTreeData(rows => drawn.push([rows].flat().map(row => row?.label ?? 'all')));
    try {
      await tick(true, 'layer 0', 'attention', 'self.key');
      assert.deepEqual([...new Set(drawn.flat())], ['self.key']);
      await until('what holds it is drawn', () => ['layer 0', 'attention'].every(label => drawn.flat().includes(label)));
      assert.ok(!drawn.flat().includes('self.value') && !drawn.flat().includes('all'), JSON.stringify(drawn));
    } finally { listener.dispose(); }
  });

  test('ticking a parent ticks every layer in it, and unticking it none', async () => {
    await tick(true, 'layer 2', 'attention');
    assert.equal(isTicked(await itemOf('layer 2', 'attention')), true);
    assert.equal(isTicked(await itemOf('layer 2')), false);
    await tick(false, 'layer 2');
    assert.equal((await itemOf('layer 2')).description, '0/6');
    assert.equal((await state()).ticked.length, 6);
  });

  test('ticking the checkpoint writes all-linear; unticking it leaves a problem in the file', async () => {
    await tick(true);
    assert.equal(await lineOf(file, 'target_modules'), '"target_modules": "all-linear",');
    await tick(false);
    assert.equal(await lineOf(file, 'target_modules'), '"target_modules": [],');
    assert.match((await state()).problems.join(), /target_modules/);
  });

  test('clicks that follow each other quickly all count', async () => {
    await Promise.all([tick(true, 'layer 0', 'attention', 'self.key'), tick(true, 'layer 3', 'intermediate.dense'), tick(false, 'layer 1', 'attention', 'self.query')]);
    const { ticked } = await state();
    assert.equal(ticked.length, 9);
    assert.ok(ticked.includes('bert.encoder.layer.0.attention.self.key') && ticked.includes('bert.encoder.layer.3.intermediate.dense'));
    assert.ok(!ticked.includes('bert.encoder.layer.1.attention.self.query'));
  });

  test('a layer can have its own rank and alpha', async () => {
    await vscode.commands.executeCommand('loraLab.setRank', await node('layer 0', 'attention', 'self.query'), undefined, 4);
    assert.equal(await lineOf(file, 'rank_pattern'), '"rank_pattern": { "0.attention.self.query": 4 }');
    assert.match(tooltipOf(await itemOf('layer 0', 'attention', 'self.query')), /\| A \| `\[4, 128\]` \|/);
    assert.match(tooltipOf(await itemOf('layer 1', 'attention', 'self.query')), /\| A \| `\[8, 128\]` \|/);
    await vscode.commands.executeCommand('loraLab.setAlpha', await node('layer 0'), undefined, 32);
    assert.match(tooltipOf(await itemOf('layer 0', 'attention', 'self.query')), /32 \/ 4 = 8/);
    await vscode.commands.executeCommand('loraLab.setRank', await node(), undefined, 8);
    assert.equal(await lineOf(file, 'rank_pattern'), undefined, 'equal to r needs no override');
  });

  test('a rank beyond the matrix is refused and nothing is written', async () => {
    const before = await textOf(file);
    await vscode.commands.executeCommand('loraLab.setRank', await node('layer 0', 'attention', 'self.query'), undefined, 129);
    assert.equal(await textOf(file), before);
  });

  test('the palette offers the usual choices of modules', async () => {
    await vscode.commands.executeCommand('loraLab.selectAttention');
    assert.equal(await lineOf(file, 'target_modules'), '"target_modules": ["query", "key", "value", "attention.output.dense"],');
    await vscode.commands.executeCommand('loraLab.selectAllLinear');
    assert.equal((await state()).ticked.length, 25);
    await vscode.commands.executeCommand('loraLab.selectQueryValue');
    assert.equal(await lineOf(file, 'target_modules'), '"target_modules": ["query", "value"],');
  });

  test('a choice that matches nothing says so, and leaves the file as it is', async () => {
    const saved = await useExperiment('tree-saved', [{ path: ['lora', 'modules_to_save'], value: ['attention'] }]);
    const before = await textOf(saved);
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.selectAttention', {}), /tree-saved\.lora\.json: lora\.target_modules: this bert model has no attention layers that can be adapted here\. Tick modules/);
    assert.equal(await textOf(saved), before);
  });

  test('in the list of kinds one that is adapted in some layers says in how many, and stays so unless it is ticked', async () => {
    const some = await useExperiment('tree-some', [{ path: ['lora', 'target_modules'], value: ['query', 'value', '0.attention.self.key'] }]);
    const before = await textOf(some);
    const choose = async (add: string[]): Promise<string> => {
      let said = '';
      await withQuickPick(items => {
        said = items.find(item => item.label === 'attention.self.key')!.description!;
        return items.filter(item => item.picked || add.includes(item.label));
      }, () => vscode.commands.executeCommand('loraLab.selectTargetModules'));
      return said;
    };
    assert.equal(await choose([]), '4 × [128, 128] · 1 of 4 adapted');
    assert.equal(await textOf(some), before);
    await choose(['attention.output.dense']);
    assert.equal(await lineOf(some, 'target_modules'), '"target_modules": ["query", "0.attention.self.key", "value", "attention.output.dense"],');
    await choose(['attention.self.key']);
    assert.equal(await lineOf(some, 'target_modules'), '"target_modules": ["query", "key", "value", "attention.output.dense"],');
  });

  test('where the whole model is trained there is nothing to tick, and the palette says so', async () => {
    const whole = await useExperiment('tree-whole', [{ path: ['lora'], value: null }]);
    const before = await textOf(whole);
    for (const command of ['selectQueryValue', 'selectAttention', 'selectAllLinear', 'selectNone', 'selectTargetModules']) {
      await assert.rejects(async () => vscode.commands.executeCommand(`loraLab.${command}`, {}), /"lora": null: the whole model is trained, without an adapter/, command);
    }
    assert.equal(await textOf(whole), before);
    for (const labels of [[], ['layer 0'], ['layer 0', 'attention'], ['layer 0', 'attention', 'self.query']]) assert.equal(await iconOf(...labels), 'unlock', labels.join());
    assert.match(tooltipOf(await itemOf('layer 0')), /Trained whole, without adapters/);
  });

  test('typing in the file ticks the tree, and undo takes a tick back', async () => {
    const document = await vscode.workspace.openTextDocument(file);
    await vscode.window.showTextDocument(document);
    const edit = new vscode.WorkspaceEdit();
    const at = document.getText().indexOf('"value"]');
    edit.replace(document.uri, new vscode.Range(document.positionAt(at), document.positionAt(at + 7)), '"key"');
    await vscode.workspace.applyEdit(edit);
    await until('key is ticked', async () => isTicked(await itemOf('layer 0', 'attention', 'self.key')));
    await vscode.commands.executeCommand('undo');
    await until('key is not ticked', async () => isTicked(await itemOf('layer 0', 'attention', 'self.key')) === false);
    await document.save();
  });

  test('edits keep the comments of the file', async () => {
    const comments = (text: string): string[] => text.split('\n').flatMap(line => /\/\/ .*/.exec(line) ?? []).map(String);
    const before = comments(await textOf(file));
    await tick(true);
    await vscode.commands.executeCommand('loraLab.setRank', await node('layer 3'), undefined, 2);
    assert.ok(before.length > 10);
    assert.deepEqual(comments(await textOf(file)), before);
  });
});
