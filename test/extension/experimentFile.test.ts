import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as vscode from 'vscode';
import { fixture } from '../support/paths';
import { inWorkspace, isAlive, lineOf, state, until, useExperiment, withSaveDialog } from './support';

/** Texts of the problems that VS Code underlines in a file. */
const problemsOf = (uri: vscode.Uri, source?: string): string[] =>
  vscode.languages.getDiagnostics(uri).filter(d => source === undefined || d.source === source).map(d => d.message);

/** What is offered at the end of the first `text` of a document. */
async function completions(uri: vscode.Uri, text: string): Promise<string[]> {
  const document = await vscode.workspace.openTextDocument(uri);
  const at = document.positionAt(document.getText().indexOf(text) + text.length);
  const list = await vscode.commands.executeCommand<vscode.CompletionList>('vscode.executeCompletionItemProvider', uri, at);
  return list.items.map(item => (typeof item.label === 'string' ? item.label : item.label.label));
}

suite('Experiment file', () => {
  test('problems are underlined at their key and gone when they are corrected', async () => {
    const uri = vscode.Uri.file(await useExperiment('problems', [{ path: ['training', 'learning_rate'], value: -1 }, { path: ['lora', 'rang'], value: 4 }]));
    const document = await vscode.workspace.openTextDocument(uri);
    const own = vscode.languages.getDiagnostics(uri).filter(d => d.source === 'LoRA Lab');
    assert.deepEqual(own.map(d => document.getText(d.range)).sort(), ['"learning_rate": -1', '"rang": 4']);
    assert.match(problemsOf(uri, 'LoRA Lab').join('\n'), /training\.learning_rate is -1: give a number above 0/);
    await useExperiment('problems');
    await until('no problem is left', () => problemsOf(uri, 'LoRA Lab').length === 0);
    assert.deepEqual((await state()).problems, []);
  });

  test('of two experiments that are opened right after each other the last one stays', async () => {
    const [first, last] = [inWorkspace('read-long.lora.json'), inWorkspace('read-already.lora.json')];
    for (const file of [first, last]) copyFileSync(inWorkspace('sentiment.lora.json'), file);
    // The one is still read from disk when the other one, which an editor holds, is there.
    await vscode.workspace.openTextDocument(last);
    await Promise.all([first, last].map(file => vscode.commands.executeCommand('loraLab.openExperiment', vscode.Uri.file(file))));
    assert.equal((await state()).experiment, last);
    await new Promise(resolve => setTimeout(resolve, 500));
    assert.equal((await state()).experiment, last);
  });

  test('the current experiment stays current when it, or a folder that it is in, is renamed while no editor shows it', async () => {
    await useExperiment('beside-renamed');
    const from = await useExperiment('renamed');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    const rename = async (before: string, after: string): Promise<void> => {
      const edit = new vscode.WorkspaceEdit();
      edit.renameFile(vscode.Uri.file(before), vscode.Uri.file(after));
      assert.ok(await vscode.workspace.applyEdit(edit));
    };
    const isCurrent = (file: string): Promise<unknown> => until(`${file} is current`, async () => (await state()).experiment === file);
    await rename(from, inWorkspace('of-a-folder/renamed.lora.json'));
    await isCurrent(inWorkspace('of-a-folder/renamed.lora.json'));
    await rename(inWorkspace('of-a-folder'), inWorkspace('of-another'));
    await isCurrent(inWorkspace('of-another/renamed.lora.json'));
    // By then it has been noticed that the files under the old names are gone.
    await new Promise(resolve => setTimeout(resolve, 1000));
    assert.equal((await state()).experiment, inWorkspace('of-another/renamed.lora.json'));
  });

  test('Open experiment that is given up shows no panel', async () => {
    await useExperiment('given-up');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await until('the panel is closed', async () => !(await state()).panel.open);
    let ended = false;
    void vscode.commands.executeCommand('loraLab.openExperiment').then(() => { ended = true; });
    await until('it is given up', async () => {
      await vscode.commands.executeCommand('workbench.action.closeQuickOpen');
      return ended;
    });
    assert.equal((await state()).panel.open, false);
  });

  test('a file that is no JSON says where, and starts nothing', async () => {
    const file = await useExperiment('syntax');
    const uri = vscode.Uri.file(file);
    const document = await vscode.workspace.openTextDocument(uri);
    const edit = new vscode.WorkspaceEdit();
    const comma = document.getText().indexOf(',', document.getText().indexOf('"r"'));
    edit.delete(uri, new vscode.Range(document.positionAt(comma), document.positionAt(comma + 1)));
    await vscode.workspace.applyEdit(edit);
    await until('a problem is underlined', () => problemsOf(uri, 'LoRA Lab').some(text => /not valid JSON: comma expected/.test(text)));
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.start', { experiment: file }), /not valid JSON/);
    assert.equal(existsSync(inWorkspace('runs/syntax')), false);
    await vscode.commands.executeCommand('workbench.action.files.revert');
  });

  test('the schema offers the keys and values of an experiment', async () => {
    const uri = vscode.Uri.file(await useExperiment('schema'));
    const keys = await until('the JSON service answers', async () => {
      const offered = await completions(uri, '"lora": {');
      return offered.length > 0 ? offered : undefined;
    });
    assert.ok(keys.includes('rank_pattern') && keys.includes('exclude_modules'), keys.join());
    assert.deepEqual((await completions(uri, '"lr_scheduler_type": ')).slice(0, 4).sort(), ['"constant"', '"constant_with_warmup"', '"cosine"', '"linear"']);
  });

  test('the schema warns of unknown keys, and allows comments', async () => {
    const uri = vscode.Uri.file(await useExperiment('schema', [{ path: ['engine', 'colour'], value: 'red' }]));
    await vscode.window.showTextDocument(uri);
    await until('the JSON service complains', () => vscode.languages.getDiagnostics(uri).some(d => d.source !== 'LoRA Lab' && /colour/.test(d.message)));
    assert.equal(vscode.languages.getDiagnostics(uri).some(d => /[Cc]omment/.test(d.message)), false);
    await useExperiment('schema');
  });

  test('where "lora" is null the schema underlines what then has no meaning', async () => {
    const uri = vscode.Uri.file(await useExperiment('schema', [{ path: ['lora'], value: null }, { path: ['training', 'loraplus_lr_ratio'], value: 16 }, { path: ['engine', 'precision'], value: 'int8' }]));
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document);
    const underlined = (): string[] => vscode.languages.getDiagnostics(uri).filter(d => d.source !== 'LoRA Lab' && /"lora" is null/.test(d.message)).map(d => document.getText(d.range)).sort();
    await until('the JSON service complains', () => underlined().length === 2);
    assert.deepEqual(underlined(), ['"int8"', '16']);
    await useExperiment('schema');
  });

  test("the schema of adapter_config.json knows PEFT's keys", async () => {
    const uri = vscode.Uri.file(inWorkspace('config-of-an-adapter/adapter_config.json'));
    await vscode.workspace.fs.writeFile(uri, Buffer.from('{\n  "peft_type": "LORA", "bias": "all",\n  \n}\n'));
    const keys = await until('the JSON service answers', async () => {
      const offered = await completions(uri, '"all",\n  ');
      return offered.length > 0 ? offered : undefined;
    });
    assert.ok(['lora_alpha', 'target_modules', 'fan_in_fan_out', 'base_model_name_or_path'].every(key => keys.includes(key)), keys.join());
  });

  test('a new experiment for lists of words with tags is one of token classification', async () => {
    const tags = inWorkspace('tags.jsonl');
    writeFileSync(tags, `${JSON.stringify({ id: 1, tokens: ['Ada', 'wrote'], pos_ids: 'x', ner_tags: ['B-PER', 'O'] })}\n`);
    await vscode.commands.executeCommand('loraLab.newExperiment', { model: inWorkspace('model'), train: tags, file: inWorkspace('tags.lora.json') });
    const { task, dataset } = JSON.parse(readFileSync(inWorkspace('tags.lora.json'), 'utf8'));
    assert.deepEqual([task, dataset], ['TOKEN_CLS', { train: 'tags.jsonl', tokens_column: 'tokens', tags_column: 'ner_tags' }]);
  });

  test('a new experiment on a language model writes, after prompts, in conversations or whole texts, unless its data has labels', async () => {
    const made = async (model: string, row: object): Promise<[string, Record<string, string>]> => {
      const [train, file] = [inWorkspace('rows.jsonl'), inWorkspace(`rows-${Math.random()}.lora.json`)];
      writeFileSync(train, `${JSON.stringify(row)}\n`);
      await vscode.commands.executeCommand('loraLab.newExperiment', { model: fixture('references', model, 'model'), train, file });
      const { task, dataset: { train: _, ...names } } = JSON.parse(readFileSync(file, 'utf8'));
      return [task, names];
    };
    assert.deepEqual(await made('llama-text', { text: 'a' }), ['CAUSAL_LM', { text_column: 'text' }]);
    assert.deepEqual(await made('gpt2-text', { id: 1, instruction: 'a', response: 'b' }), ['CAUSAL_LM', { prompt_column: 'instruction', completion_column: 'response' }]);
    assert.deepEqual(await made('qwen3-messages', { messages: [{ role: 'user', content: 'a' }] }), ['CAUSAL_LM', { messages_column: 'messages' }]);
    assert.deepEqual(await made('llama-text', { text: 'a', label: 1 }), ['SEQ_CLS', { text_column: 'text', label_column: 'label' }]);
    assert.deepEqual(await made('t5-qv', { article: 'a', summary: 'b' }), ['SEQ_2_SEQ_LM', { source_column: 'article', target_column: 'summary' }]);
  });

  test('a new experiment finds evaluation data by the usual names, and pairs of texts', async () => {
    const made = async (row: object, sets: string[]): Promise<unknown> => {
      const folder = inWorkspace(`data-${Math.random()}`);
      mkdirSync(folder);
      for (const set of ['train', ...sets]) writeFileSync(join(folder, `${set}-1.jsonl`), `${JSON.stringify(row)}\n`);
      const file = join(folder, 'made.lora.json');
      await vscode.commands.executeCommand('loraLab.newExperiment', { model: inWorkspace('model'), train: join(folder, 'train-1.jsonl'), file });
      return (JSON.parse(readFileSync(file, 'utf8')) as { dataset: unknown }).dataset;
    };
    const train = 'train-1.jsonl', label_column = 'label';
    assert.deepEqual(await made({ sentence1: 'a', sentence2: 'b', label: 0 }, ['test', 'validation']), { train, eval: 'validation-1.jsonl', text_column: 'sentence1', text_pair_column: 'sentence2', label_column });
    assert.deepEqual(await made({ premise: 'a', hypothesis: 'b', label: 0 }, ['test']), { train, eval: 'test-1.jsonl', text_column: 'premise', text_pair_column: 'hypothesis', label_column });
    assert.deepEqual(await made({ question: 'a', sentence: 'b', label: 0 }, ['dev']), { train, eval: 'dev-1.jsonl', text_column: 'question', text_pair_column: 'sentence', label_column });
    assert.deepEqual(await made({ sentence: 'a', label: 0 }, ['other']), { train, text_column: 'sentence', label_column });
  });

  test('a new experiment finds the labels in a column called sentiment, and where one column is left beside texts and numbers of rows', async () => {
    const made = async (header: string): Promise<string | undefined> => {
      const [train, file] = [inWorkspace('columns.csv'), inWorkspace(`columns-${Math.random()}.lora.json`)];
      writeFileSync(train, `${header}\n`);
      await vscode.commands.executeCommand('loraLab.newExperiment', { model: inWorkspace('model'), train, file });
      return (JSON.parse(readFileSync(file, 'utf8')) as { dataset: { label_column?: string } }).dataset.label_column;
    };
    assert.equal(await made('Id,Review,Sentiment'), 'Sentiment');
    assert.equal(await made('text,source,sentiment'), 'sentiment');
    assert.equal(await made(',user_id,text,stars'), 'stars');
    assert.equal(await made('text,stars,source'), 'label', 'none is the only one');
    assert.equal(await made('remark,stars'), 'label', 'the texts are not found');
  });

  test('a new experiment is made from a checkpoint and a data file', async () => {
    const file = inWorkspace('made.lora.json');
    await vscode.commands.executeCommand('loraLab.newExperiment', { model: inWorkspace('model'), train: inWorkspace('train.jsonl'), file });
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')).dataset, { train: 'train.jsonl', eval: 'eval.jsonl', text_column: 'text', label_column: 'label' });
    await until('it is the current experiment, with PEFT\'s default targets', async () => (await state()).experiment === file && (await state()).ticked.length === 8);
    assert.deepEqual((await state()).problems, []);
    assert.equal(await lineOf(file, 'base_model'), '"base_model": "model",');
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.newExperiment', { model: inWorkspace('model'), train: inWorkspace('train.jsonl'), file }), /there is an experiment of this name already\. Choose another name/);
    await assert.rejects(async () => vscode.commands.executeCommand('loraLab.newExperiment', { model: inWorkspace('runs'), train: inWorkspace('train.jsonl'), file }), /no config\.json/);
  });

  test('a new experiment is offered a name that is free, and takes the place of a file that the dialog was told to replace', async () => {
    const offered: string[] = [];
    const made = (file?: string): Promise<string> => withSaveDialog(name => {
      offered.push(name);
      return file ?? name;
    }, () => vscode.commands.executeCommand<string>('loraLab.newExperiment', { model: inWorkspace('model'), train: inWorkspace('train.jsonl') }));
    const first = inWorkspace('experiment.lora.json');
    assert.equal(await made(), first);
    assert.equal(await made(), inWorkspace('experiment-2.lora.json'));
    assert.deepEqual(offered, [first, inWorkspace('experiment-2.lora.json')]);
    writeFileSync(first, '{}');
    assert.equal(await made(first), first);
    assert.equal(JSON.parse(readFileSync(first, 'utf8')).base_model, 'model');
    await assert.rejects(() => made(inWorkspace('experiment')), /there is an experiment of this name already/, 'the dialog knows of no other name');
    await assert.rejects(() => made(`${first}.lora.json`), /experiment\.lora\.json: there is an experiment of this name already/, 'nor of one that it has lengthened');
  });

  test('two new experiments on the same data have folders of their own for their runs', async () => {
    const folders: string[] = [];
    for (const name of ['plain', 'other.more']) {
      const file = await vscode.commands.executeCommand<string>('loraLab.newExperiment', { model: inWorkspace('model'), train: inWorkspace('train.jsonl'), file: inWorkspace(`${name}.lora.json`) });
      folders.push((JSON.parse(readFileSync(file, 'utf8')) as { output_dir: string }).output_dir);
    }
    assert.deepEqual(folders, ['runs/plain', 'runs/other.more']);
  });

  test('a new experiment reads the column names of a Parquet file', async () => {
    const file = inWorkspace('made-of-parquet.lora.json');
    copyFileSync(fixture('parquet/reviews.parquet'), inWorkspace('reviews.parquet'));
    await vscode.commands.executeCommand('loraLab.newExperiment', { model: inWorkspace('model'), train: inWorkspace('reviews.parquet'), file });
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')).dataset, { train: 'reviews.parquet', text_column: 'sentence', label_column: 'label' });
    await until('it is the current experiment', async () => (await state()).experiment === file);
    assert.deepEqual((await state()).problems, []);
  });

  test('while a path is typed no engine is started for each key, and one that reads what was there before is ended', async function () {
    const file = await useExperiment('typed');
    const document = await vscode.workspace.openTextDocument(file);
    const type = async (base_model: string): Promise<void> => {
      const { index, 0: before } = /(?<="base_model": ")[^"]*/.exec(document.getText())!;
      const edit = new vscode.WorkspaceEdit();
      edit.replace(document.uri, new vscode.Range(document.positionAt(index), document.positionAt(index + before.length)), base_model);
      await vscode.workspace.applyEdit(edit);
    };
    const ready = () => until('the checkpoint is read', async () => (await state()).model.state === 'ready');
    const engines = new Set<number>();
    const watch = setInterval(() => void state().then(now => now.engines.forEach(pid => engines.add(pid))), 10);
    for (const typed of ['m', 'mo', 'mod', 'mode', 'model']) await type(typed);
    await ready();
    clearInterval(watch);
    assert.ok(engines.size < 3, `${engines.size} engines: a slow machine may take a pause between two keys for the last one, not between all`);

    // Windows cannot hold a process.
    if (process.platform === 'win32') return this.skip();
    await until('no engine is left', async () => (await state()).engines.length === 0);
    await type('mode');
    const held = await until('an engine reads', async () => (await state()).engines[0]);
    process.kill(held, 'SIGSTOP');
    try {
      await type('model');
      await until('it is ended', () => !isAlive(held));
      await ready();
    } finally {
      if (isAlive(held)) process.kill(held, 'SIGKILL');
      await document.save();
    }
  });

  test('a checkpoint that cannot be read shows in the tree, and the next one is read', async () => {
    await useExperiment('no-model', [{ path: ['base_model'], value: 'nowhere' }], 'error');
    const { error } = (await state()).model;
    assert.match(`${error?.file} ${error?.cause}`, /nowhere/);
    assert.ok(error?.action);
    await useExperiment('no-model');
  });
});
