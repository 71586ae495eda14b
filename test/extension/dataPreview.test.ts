import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as vscode from 'vscode';
import { inWorkspace, until, useExperiment } from './support';

/** The text of the preview that an editor shows. */
const shown = (): string | undefined => vscode.window.visibleTextEditors.find(({ document }) => document.uri.scheme === 'lora-lab-data')?.document.getText();
const preview = (...args: unknown[]): Thenable<unknown> => vscode.commands.executeCommand('loraLab.previewData', ...args);

suite('Preview of data', () => {
  suiteTeardown(async () => { await vscode.commands.executeCommand('workbench.action.closeAllEditors'); });

  test('Preview data opens a document with the figures and the first examples, which cannot be written in', async () => {
    await useExperiment('previewed', [{ path: ['dataset', 'train'], value: 'train.jsonl' }]);
    await preview({ examples: 2 });
    const text = shown()!;
    assert.match(text, /^Data of previewed, as training reads it$/m);
    assert.match(text, /^file +train\.jsonl, 3,000 rows$/m);
    assert.match(text, /^cut +none at max_length 64$/m);
    assert.match(text, /^classes +negative [\d,]+ \(\d+ %\), positive [\d,]+ \(\d+ %\)$/m);
    assert.match(text, /^Example 1, line 1: 16 tokens, label positive\n {2}read {2}\[CLS\]·the·view·was·stunning/m);
    assert.match(text, /^Example 2, line 2/m);
    assert.doesNotMatch(text, /^Example 3/m);
    await vscode.commands.executeCommand('type', { text: 'x' });
    assert.equal(shown(), text);
  });

  test('it follows what is saved, of the experiment and of the data, and says what is wrong with them', async () => {
    const file = await useExperiment('followed', [{ path: ['dataset', 'train'], value: 'followed.jsonl' }]);
    const data = inWorkspace('followed.jsonl');
    writeFileSync(data, readFileSync(inWorkspace('eval.jsonl'), 'utf8').split('\n').slice(0, 9).join('\n'));
    await preview(vscode.Uri.file(file));
    assert.match(shown()!, /^file +followed\.jsonl, 9 rows$/m);

    const change = async (path: string, from: RegExp, to: string): Promise<void> => {
      const document = await vscode.workspace.openTextDocument(path);
      const { index, 0: found } = from.exec(document.getText())!;
      const edit = new vscode.WorkspaceEdit();
      edit.replace(document.uri, new vscode.Range(document.positionAt(index), document.positionAt(index + found.length)), to);
      assert.ok(await vscode.workspace.applyEdit(edit));
      await document.save();
    };
    await change(file, /"max_length": \d+/, '"max_length": 5');
    await until('examples are cut', () => /^cut +9 of 9 examples \(100 %\) at max_length 5, at their end$/m.test(shown() ?? ''));
    await change(data, /^.*$/m, '{"text": 1, "label": "positive"}');
    await until('the fault is said', () => /followed\.jsonl: line 1: the text in "text" is 1\. Give a text in quotes/.test(shown() ?? ''));
    await change(data, /^.*\n/, '');
    await until('the data is right again', () => /^file +followed\.jsonl, 8 rows$/m.test(shown() ?? ''));
  });

  test('of a conversation it marks what the assistant writes, and an experiment that cannot be read opens nothing', async () => {
    const folder = inWorkspace('previewed-conversations');
    cpSync(join(vscode.extensions.getExtension('lora-lab.lora-lab')!.extensionPath, 'test/fixtures/references/llama-messages'), folder, { recursive: true });
    await preview(vscode.Uri.file(join(folder, 'case.lora.json')));
    assert.match(shown()!, /^ {2}learned {2}s¦t¦ay·qu¦ie¦t·is·b¦r¦ight<\|im_end\|>↵$/m);
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await useExperiment('unreadable', [{ path: ['dataset', 'text_column'], value: 'txet' }]);
    await assert.rejects(async () => preview({}), /there is no column "txet".*did you mean "text"/i);
    assert.equal(shown(), undefined);
  });
});
