import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import * as vscode from 'vscode';
import { hoverText, inWorkspace, useExperiment } from './support';

/** The table row of query's adapters on the sample's four layers. */
const QUERY_ROW = /`attention\.self\.query` \| 4 \| `\[8, 128\]` \| `\[128, 8\]` \| 8,192/;
const times = (text: string, part: string): number => text.split(part).length - 1;

/** Writes a file of the test workspace and returns its address. */
function write(name: string, text: string): vscode.Uri {
  const file = inWorkspace(name);
  mkdirSync(inWorkspace(name, '..'), { recursive: true });
  writeFileSync(file, text);
  return vscode.Uri.file(file);
}

suite('Hovers', () => {
  let experiment: vscode.Uri;
  suiteSetup(async () => { experiment = vscode.Uri.file(await useExperiment('hovers')); });

  test('target_modules of an experiment shows A, B and what is trainable', async () => {
    for (const word of ['"target_modules"', '"query"']) {
      const text = await hoverText(experiment, word);
      assert.match(text, QUERY_ROW);
      assert.match(text, /trainable params: 16,642 \|\| all params: 996,996 \|\| trainable%: 1\.6692/);
      assert.match(text, /`classifier`, trained whole/);
    }
  });

  test('r and lora_alpha show the shapes and the scaling', async () => {
    assert.match(await hoverText(experiment, '"r"'), /`\[8, 128\]`/);
    assert.match(await hoverText(experiment, '"lora_alpha"'), /16 \/ 8 = 2/);
  });

  test('every key is documented once, with its range and default', async () => {
    const text = await hoverText(experiment, '"learning_rate"');
    assert.match(text, /\*\*training\.learning_rate\*\* · number > 0 · default `0\.00005`/);
    assert.equal(times(text, 'Peak learning rate of AdamW.'), 1);
    assert.match(await hoverText(experiment, '"base_model"'), /\*\*base_model\*\* · path · required/);
  });

  test('a target that matches nothing is named', async () => {
    const other = await useExperiment('hovers-typo', [{ path: ['lora', 'target_modules'], value: ['query', 'valeu'] }]);
    assert.match(await hoverText(vscode.Uri.file(other), '"target_modules"'), /`valeu` matches no linear layer/);
    await useExperiment('hovers');
  });

  test('adapter_config.json speaks of the current model where the adapter has no weights beside it', async () => {
    const config = write('loose/adapter_config.json', JSON.stringify({ peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['key'] }, null, 2));
    assert.match(await hoverText(config, '"target_modules"'), /`attention\.self\.key` \| 4 \| `\[4, 128\]` \| `\[128, 4\]`/);
    assert.match(await hoverText(config, '"r"'), /Rank: the inner dimension/);
    assert.match(await hoverText(config, '"peft_type"'), /Kind of adapter/);
  });

  test('LoraConfig in Python is read as far as its arguments are literals', async () => {
    const python = write('train.py', [
      'from peft import LoraConfig', 'rank = 3', 'config = LoraConfig(',
      '    # r=16 was too much', '    r=8, lora_alpha=2 * rank,', "    target_modules=['query'],  # not (value)", ')', 'r = 5', '',
    ].join('\n'));
    // No language extension for Python comes with every VS Code.
    const document = await vscode.workspace.openTextDocument(python);
    await vscode.languages.setTextDocumentLanguage(document, 'python');
    const text = await hoverText(python, 'target_modules');
    assert.match(text, QUERY_ROW);
    assert.doesNotMatch(text, /self\.value/);
    assert.match(await hoverText(python, 'lora_alpha'), /8 \/ 8 = 1/, "PEFT's default where the value is no literal");
    assert.equal(await hoverText(python, 'r = 5'), '');
    const other = write('dora.py', "LoraConfig(r=16, lora_alpha=8, target_modules=['query'], use_dora=True, use_rslora=True)\n");
    await vscode.languages.setTextDocumentLanguage(await vscode.workspace.openTextDocument(other), 'python');
    assert.match(await hoverText(other, 'lora_alpha'), /8 \/ √16 = 2/);
    assert.match(await hoverText(other, 'use_dora'), /\| 4 \| `\[16, 128\]` \| `\[128, 16\]` \| 16,896 \|/, 'magnitudes count');
  });
});
