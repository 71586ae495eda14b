/** The engine as a process: the command line with its exit codes, and the child of the extension host. */
import assert from 'node:assert/strict';
import { fork, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter, type MessageConnection } from 'vscode-jsonrpc/node';
import { findCheckpoint } from '../../src/engine/checkpointFolders';
import { PROTOCOL_VERSION, type Completion, type ErrorReport, type Inspection, type Prediction, type Preview } from '../../src/protocol/engine';
import type { Summary } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { built, fixture, ROOT } from '../support/paths';
import { copyCase, readMetrics } from '../support/runs';

/** Of a `tokenizer.json`. */
interface Tokenizer { added_tokens: object[] }

interface Ended { code: number | null; out: string; err: string }

function lab(args: string[], onStart?: (child: ChildProcess) => void): Promise<Ended> {
  const child = spawn(process.execPath, [built('engine/cli.js'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '', err = '';
  child.stdout.on('data', data => { out += data; });
  child.stderr.on('data', data => { err += data; });
  onStart?.(child);
  return new Promise(resolve => child.once('close', code => resolve({ code, out, err })));
}

const LONG = { training: { max_steps: 100_000, save_strategy: 'no', eval_strategy: 'no' } };

/** Waits until the run has logged that many steps. */
async function steps(folder: string, count: number): Promise<void> {
  const file = join(folder, 'run/metrics.jsonl');
  while (!existsSync(file) || readFileSync(file, 'utf8').split('\n').length <= count) await sleep(20);
}

test('train, predict, merge and inspect print JSON and agree with each other', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder);
  const trained = await lab(['train', file]);
  assert.equal(trained.code, 0, trained.err);
  const summary = JSON.parse(trained.out) as Summary;
  assert.deepEqual([summary.state, summary.steps, summary.adapter], ['finished', 20, join(folder, 'run/adapter')]);
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'run/summary.json'), 'utf8')), summary);

  const merged = await lab(['merge', '--base', join(folder, 'model'), '--adapter', summary.adapter, '--out', join(folder, 'merged')]);
  assert.equal(merged.code, 0, merged.err);
  const classify = async (args: string[]): Promise<Prediction[]> => {
    const { code, out, err } = await lab(['predict', ...args, '--input', join(folder, 'eval.jsonl')]);
    assert.equal(code, 0, err);
    return JSON.parse(out) as Prediction[];
  };
  const adapted = await classify(['--base', join(folder, 'model'), '--adapter', summary.adapter]);
  const whole = await classify(['--base', join(folder, 'merged')]);
  assert.equal(adapted.length, 22);
  adapted.forEach(({ logits, probabilities }, i) => {
    assert.ok(Math.abs(Object.values(probabilities).reduce((a, b) => a + b) - 1) < 1e-6);
    logits.forEach((logit, k) => assert.ok(Math.abs(logit - whole[i].logits[k]) < 1e-4, 'merged and adapted logits'));
  });

  const inspected = JSON.parse((await lab(['inspect', file])).out) as Inspection;
  assert.deepEqual([inspected.trainable_parameters, inspected.all_parameters], [summary.trainable_parameters, summary.all_parameters]);
  assert.equal(inspected.data_bytes, statSync(join(folder, 'train.jsonl')).size + statSync(join(folder, 'eval.jsonl')).size);
  const renamed = join(folder, 'case.jsonc');
  cpSync(file, renamed);
  const again = await lab(['inspect', renamed]);
  assert.equal(again.code, 0, again.err);
  assert.deepEqual(JSON.parse(again.out), inspected, 'whatever the file is called');
  const previewed = await lab(['preview', file, '--examples', '2']);
  assert.equal(previewed.code, 0, previewed.err);
  const { rows, examples } = JSON.parse(previewed.out) as Preview;
  assert.deepEqual([rows, examples.length, examples[1].line], [readFileSync(join(folder, 'train.jsonl'), 'utf8').trim().split('\n').length, 2, 2]);
  assert.match(previewed.out, /^ +\{ "id": 2, "text": "\[CLS\]", "special": true \},$/m);
  assert.deepEqual(inspected.matched.map(({ name, A, B }) => [name.split('.').slice(-4).join('.'), A, B])[0], ['0.attention.self.query', [4, 32], [32, 4]]);
}));

test('words are tagged, from lists or from texts, by an adapter and by what it was merged into', () => inTemporaryFolder(async folder => {
  const at = (...parts: string[]): string => fixture('references', 'roberta-tags', ...parts);
  const merged = await lab(['merge', '--base', at('model'), '--adapter', at('adapter_final'), '--out', join(folder, 'merged')]);
  assert.equal(merged.code, 0, merged.err);
  const config = JSON.parse(readFileSync(join(folder, 'merged/config.json'), 'utf8')) as { architectures: string[]; id2label: Record<string, string> };
  assert.deepEqual(config.architectures, ['RobertaForTokenClassification']);
  assert.deepEqual(Object.keys(config.id2label), ['0', '1', '2', '3', '4']);

  const [lists, texts] = ['words.jsonl', 'words.txt'].map(name => join(folder, name));
  writeFileSync(lists, `${JSON.stringify({ tokens: ['the', 'film', 'was', '', 'great'] })}\n${JSON.stringify({ tokens: 'not  dull' })}\n`);
  writeFileSync(texts, 'the film was great\nnot dull\n');
  const tag = async (...args: string[]): Promise<Prediction[]> => {
    const { code, out, err } = await lab(['predict', ...args]);
    assert.equal(code, 0, err);
    return JSON.parse(out) as Prediction[];
  };
  const [first, second] = await tag('--base', at('model'), '--adapter', at('adapter_final'), '--input', lists);
  assert.deepEqual(first.words!.map(({ word, tag: own }) => [word, own !== null]), [['the', true], ['film', true], ['was', true], ['', false], ['great', true]]);
  assert.deepEqual(second.words!.map(({ word }) => word), ['not', 'dull']);
  for (const { tag: own, probabilities } of second.words!) assert.ok(Math.abs(Object.values(probabilities).reduce((a, b) => a + b) - 1) < 1e-6 && probabilities[own!] === Math.max(...Object.values(probabilities)));
  const whole = await tag('--base', join(folder, 'merged'), '--input', texts);
  first.words!.filter(({ tag: own }) => own !== null).forEach(({ logits }, i) => logits.forEach((logit, k) => assert.ok(Math.abs(logit - whole[0].words![i].logits[k]) < 0.02, 'merged and adapted logits, the merged ones rounded to float16')));
  const refused = await lab(['predict', '--base', join(folder, 'merged'), '--input', texts, '--temperature', '1']);
  assert.ok(refused.code === 2 && /--temperature is not used by TOKEN_CLS/.test(refused.err), refused.err);
  const chat = await lab(['predict', '--base', join(folder, 'merged'), '--input', texts, '--chat']);
  assert.ok(chat.code === 2 && /--chat is not used by TOKEN_CLS/.test(chat.err), chat.err);
}));

test('a language model is trained and continues texts; its tokens come with the answer', () => inTemporaryFolder(async folder => {
  const trained = await lab(['train', copyCase(folder, {}, 'qwen2-completion')]);
  assert.equal(trained.code, 0, trained.err);
  const { eval: evaluation, eval_before, adapter } = JSON.parse(trained.out) as Summary;
  assert.ok(evaluation!.loss < eval_before!.loss && Math.abs(evaluation!.perplexity! - Math.exp(evaluation!.loss)) < 1e-6 && evaluation!.accuracy === undefined);
  assert.match(trained.err, /step 20: eval_loss \d.*, eval_perplexity .*, eval_token_accuracy /);
  const file = join(folder, 'prompts.txt');
  writeFileSync(file, 'the film was\na book\n');
  const predict = (...more: string[]): Promise<Ended> => lab(['predict', '--base', join(folder, 'model'), '--adapter', adapter, '--input', file, ...more]);
  const [first, second] = JSON.parse((await predict('--max_new_tokens', '5')).out) as Completion[];
  assert.deepEqual([first.prompt, second.prompt, first.tokens.length, first.stopped], ['the film was', 'a book', 5, 'length']);
  const negative = await predict('--temperature', '-1');
  assert.equal(negative.code, 2);
  assert.match(negative.err, /The value of --temperature begins with a dash\. Write "--temperature=-1"/);
  assert.match((await predict('--lora.r', '8')).err, /Unknown option '--lora\.r'\. See: /);
  assert.equal((await predict('--temperature', 'hot')).code, 2);
  for (const [option, value] of [['--top_k', '3'], ['--top_p', '0.5'], ['--seed', '1']]) {
    const { code, out, err } = await predict(option, value);
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, new RegExp(`${option} needs --temperature: .*Add --temperature, or leave ${option} out`));
  }
  const drawn = await predict('--max_new_tokens', '5', '--temperature', '1', '--top_k', '3', '--top_p', '0.9', '--seed', '1');
  assert.equal(drawn.code, 0, drawn.err);
  for (const [threads, says] of [['0', /--threads: give a whole number at least 1/], ['two', /--threads is no number/], ['5000', /--threads: is 5000, and there (is|are) \d+ CPU/]] as const) {
    const { code, err } = await predict('--threads', threads);
    assert.equal(code, 2);
    assert.match(err, says);
  }
}));

test('an empty text gives a classifier without special tokens nothing to read, in a run and alone', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, {}, 'gpt2-classes');
  const train = join(folder, 'train.jsonl');
  const rows = readFileSync(train, 'utf8').trim().split('\n');
  writeFileSync(train, rows.map((row, i) => (i === 20 ? JSON.stringify({ ...JSON.parse(row) as object, text: '' }) : row)).join('\n'));
  const trained = await lab(['train', file]);
  assert.ok(trained.code === 2 && /train\.jsonl: line 21: the text in "text" has no tokens/.test(trained.err), trained.err);
  const input = join(folder, 'texts.jsonl');
  for (const [texts, says] of [[[''], /texts\.jsonl: line 1: an empty text gives this model nothing to read/], [['a good film', ''], /texts\.jsonl: line 2: an empty text/]] as const) {
    writeFileSync(input, texts.map(text => JSON.stringify({ text })).join('\n'));
    const { code, err } = await lab(['predict', '--base', join(folder, 'model'), '--input', input]);
    assert.ok(code === 2 && says.test(err), err);
  }
}));

test('a text with a token or a segment that the model does not know is named, as in a run, by a model that classifies, tags or writes', () => inTemporaryFolder(async folder => {
  /** A copy of a reference's checkpoint with keys of its tokenizer's files changed. */
  const base = (name: string, change: (tokenizer: Tokenizer, vocab_size: number) => object, config: object = {}): string => {
    const place = join(folder, name);
    cpSync(fixture('references', name, 'model'), place, { recursive: true });
    const json = (file: string): object => JSON.parse(readFileSync(join(place, file), 'utf8')) as object;
    const [tokenizer, { vocab_size }] = [json('tokenizer.json') as Tokenizer, json('config.json') as { vocab_size: number }];
    writeFileSync(join(place, 'tokenizer.json'), JSON.stringify({ ...tokenizer, ...change(tokenizer, vocab_size) }));
    writeFileSync(join(place, 'tokenizer_config.json'), JSON.stringify({ ...json('tokenizer_config.json'), ...config }));
    return place;
  };
  const widened = ({ added_tokens }: Tokenizer, id: number): object => ({ added_tokens: [...added_tokens, { ...added_tokens[0], id, content: 'zyx', special: false }] });
  const input = join(folder, 'texts.jsonl');
  const refused = async (model: string, row: (text: string) => object, says: RegExp, ...args: string[]): Promise<void> => {
    writeFileSync(input, ['a film', 'a zyx'].map(text => JSON.stringify(row(text))).join('\n'));
    const { code, out, err } = await lab(['predict', '--base', model, '--input', input, ...args]);
    assert.deepEqual([code, out], [2, ''], err);
    assert.match(err, says);
  };
  await refused(base('linear', widened), text => ({ text }), /texts\.jsonl: line 2: the tokenizer makes the token 116 of this text, the model knows the tokens 0 to 115\. Check that tokenizer\.json/);
  await refused(base('bert-tags', widened), text => ({ tokens: text.split(' ') }), /texts\.jsonl: line 2: the tokenizer makes the token 116/);
  await refused(base('llama-text', widened), text => ({ text }), /texts\.jsonl: line 2: the tokenizer makes the token \d+ of this text/);
  const special = (id: string, type_id: number): object => ({ SpecialToken: { id, type_id } });
  const [first, second] = ['A', 'B'].map((id, type_id) => ({ Sequence: { id, type_id } }));
  const segments = base('roberta-pairs', () => ({ post_processor: { type: 'TemplateProcessing', single: [special('<s>', 0), first], pair: [special('<s>', 0), first, second], special_tokens: {} } }), { tokenizer_class: 'PreTrainedTokenizerFast' });
  await refused(segments, text => ({ text, other: 'b' }), /texts\.jsonl: line 1: the tokenizer gives the segment number 1, the model knows 1\. Check/, '--text_pair_column', 'other');
}));

test('a prompt that cannot be continued is named with its file and line, or row', () => inTemporaryFolder(async folder => {
  const refused = async (name: string, file: string, says: RegExp, ...args: string[]): Promise<void> => {
    const { code, out, err } = await lab(['predict', '--base', fixture('references', name, 'model'), '--input', file, ...args]);
    assert.deepEqual([code, out], [2, ''], err);
    assert.match(err, says);
  };
  const input = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const long = 'good film '.repeat(40);
  await refused('llama-text', input('lines.txt', `a film\n\nthe film\n${long}\n`), /lines\.txt: line 4: the prompt "good film .*…" has \d+ tokens, the model has 64 positions\. Shorten it/);
  await refused('llama-text', input('one.csv', `text\n${long}\n`), /one\.csv: line 2: the prompt "good film/);
  await refused('gpt2-text', input('rows.jsonl', '{"text": "a film"}\n\n{"text": ""}\n'), /rows\.jsonl: line 3: an empty prompt gives this model nothing to begin with/);
  await refused('phi3-longrope', input('mixed.tsv', 'text\na film\nthe film\nthe a an this that it was is are were very\n'), /mixed\.tsv: line 4: a prompt has \d+ tokens and the one before it \d+; .* change after 12 tokens\. Ask for the short and the long ones apart/, '--max_new_tokens', '2');
  await refused('phi3-longrope', input('crossing.txt', '\nthe film\n'), /crossing\.txt: line 2: a prompt has \d+ tokens and 40 more are asked for/, '--max_new_tokens', '40');
  await refused('phi3-longrope', fixture('parquet/reviews.parquet'), /reviews\.parquet: row \d+: a prompt has/, '--text_column', 'sentence', '--max_new_tokens', '50');
}));

test('classes from a base without a classifier are said to mean nothing; with one, or an adapter, there is nothing to say', () => inTemporaryFolder(async folder => {
  const texts = join(folder, 'texts.txt');
  writeFileSync(texts, 'a good film\n');
  const said = async (...model: string[]): Promise<string> => {
    const { code, out, err } = await lab(['predict', ...model, '--input', texts]);
    assert.deepEqual([code, (JSON.parse(out) as Prediction[]).length], [0, 1], err);
    return err;
  };
  assert.match(await said('--base', join(ROOT, 'media/sample/model')), /^warn: \S+model holds no classifier\.weight and classifier\.bias: the classifier is drawn at random.*\n$/);
  const linear = fixture('references/linear/model');
  assert.deepEqual([await said('--base', linear), await said('--base', linear, '--adapter', fixture('references/linear/adapter_final'))], ['', '']);
}));

test('what the input is at fault for ends with 2 and one message, and writes nothing', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { lora: { target_modules: ['quary'] } });
  for (const [args, says] of [
    [['train', file], /case\.lora\.json: line \d+, lora\.target_modules: "quary" matches no linear layer.*Did you mean "query"/],
    [['train', join(folder, 'none.lora.json')], /none\.lora\.json: there is no such file/],
    [['train', file, '--fast'], /--fast/], [['preview', file, '--examples', '0'], /--examples is no number of examples/], [['bake'], /"bake" is no command; there are train/], [['merge', '--base', folder], /--adapter is missing/],
    [['inspect', folder], /config\.json/], [['inspect', join(folder, 'model/model.safetensors')], /it is a file, not a folder\. Give the folder that holds config\.json/], [['predict', '--base', join(folder, 'model'), '--input', join(folder, 'eval.jsonl'), '--text_column', 'body'], /"body".*"text"/],
  ] as const) {
    const { code, out, err } = await lab([...args]);
    assert.equal(code, 2, err);
    assert.equal(out, '');
    assert.match(err, says);
    assert.equal(err.trim().split('\n').length, 1, err);
  }
  assert.equal(existsSync(join(folder, 'run')), false);
}));

test('what is wrong with the arguments is said where ONNX Runtime cannot be loaded, too', () => inTemporaryFolder(async folder => {
  const hook = join(folder, 'hook.cjs');
  writeFileSync(hook, "const Module = require('node:module'), load = Module._load; Module._load = (name, ...rest) => { if (/onnxruntime/.test(name)) throw new Error('no such library'); return load(name, ...rest); };");
  const file = copyCase(folder);
  const ended = (...args: string[]): Pick<Ended, 'code' | 'err'> => {
    const { status, stderr } = spawnSync(process.execPath, ['--require', hook, built('engine/cli.js'), 'train', file, ...args], { encoding: 'utf8' });
    return { code: status, err: stderr };
  };
  const { code, err } = ended('--fast');
  assert.equal(code, 2, err);
  assert.match(err, /^error: .*--fast.*\n$/);
  assert.match(ended().err, /no such library/, 'it cannot be loaded');
}));

test('a run that is killed has whole lines in its log, of every step up to its checkpoint at the least, and goes on from there', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { ...LONG.training, save_strategy: 'steps', save_steps: 7 } });
  const { code } = await lab(['train', file], child => { void steps(folder, 30).then(() => child.kill('SIGKILL')); });
  assert.equal(code, null);
  const logged = readMetrics(join(folder, 'run')).map(({ step }) => step);
  assert.deepEqual(logged, Array.from(logged, (_, i) => i + 1));
  const { step } = findCheckpoint(join(folder, 'run'));
  assert.ok(step >= 7 && step <= logged.length, `checkpoint ${step}, ${logged.length} lines`);

  const resumed = await lab(['train', file, '--resume'], child => { void steps(folder, logged.length + 30).then(() => child.kill('SIGINT')); });
  assert.equal(resumed.code, 130, resumed.err);
  const { steps: done } = JSON.parse(resumed.out) as Summary;
  assert.deepEqual(readMetrics(join(folder, 'run')).map(record => record.step), Array.from({ length: done }, (_, i) => i + 1), 'after a stop every step is in the log');
}));

test('an interrupted run ends with 130 and a checkpoint from which it goes on', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, LONG);
  const { code, out } = await lab(['train', file], child => { void steps(folder, 20).then(() => child.kill('SIGINT')); });
  assert.equal(code, 130);
  const { steps: done, state } = JSON.parse(out) as Summary;
  assert.equal(state, 'stopped');
  assert.equal(findCheckpoint(join(folder, 'run')).step, done);
  const more = await lab(['train', file, '--resume'], child => { void steps(folder, done + 20).then(() => child.kill('SIGINT')); });
  assert.equal(more.code, 130);
  assert.ok((JSON.parse(more.out) as Summary).steps >= done + 20);
}));

test('Ctrl+C that npm and the terminal both pass on is one press; a person who presses again is not kept waiting', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, LONG);
  const twice = await lab(['train', file], child => { void steps(folder, 20).then(() => { child.kill('SIGINT'); setTimeout(() => child.kill('SIGINT'), 5); }); });
  assert.equal(twice.code, 130, twice.err);
  assert.equal(findCheckpoint(join(folder, 'run')).step, (JSON.parse(twice.out) as Summary).steps);
  // Where the worker is held, nothing but the second press ends the process.
  const hook = join(folder, 'hook.cjs');
  writeFileSync(hook, "const fs = require('node:fs'), { isMainThread } = require('node:worker_threads'); if (!isMainThread) fs.fsync = () => {};");
  const held = copyCase(join(folder, 'held'), LONG);
  const child = spawn(process.execPath, ['--require', hook, built('engine/cli.js'), 'train', held], { stdio: 'ignore' });
  const ended = new Promise(resolve => child.once('close', (_code, signal) => resolve(signal)));
  await steps(join(folder, 'held'), 20);
  child.kill('SIGINT');
  await sleep(1000);
  child.kill('SIGINT');
  assert.equal(await ended, 'SIGINT');
}));

/** Forks the engine as the extension host does. */
function engine(folder: string): { child: ChildProcess; connection: MessageConnection; exited: Promise<string> } {
  const child = fork(built('engine/main.js'), [], { cwd: folder, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
  connection.listen();
  return { child, connection, exited: new Promise(resolve => child.once('exit', (code, signal) => resolve(String(signal ?? code)))) };
}

test('the child answers at once while it trains; errors arrive as reports', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, LONG);
  const { child, connection, exited } = engine(folder);
  assert.deepEqual(await connection.sendRequest('hello', { protocol: PROTOCOL_VERSION }), { protocol: PROTOCOL_VERSION, pid: child.pid });
  await assert.rejects(connection.sendRequest('inspect', { folder: join(folder, 'nowhere'), task: 'SEQ_CLS' }), (error: { data?: ErrorReport }) => {
    assert.equal(error.data?.code, 'checkpoint.no-folder');
    return true;
  });
  const trained = connection.sendRequest<Summary>('train', { experiment_file: file, resume: false });
  await steps(folder, 5);
  for (const method of ['pause', 'resume', 'pause']) {
    const asked = performance.now();
    assert.equal(await connection.sendRequest(method, {}), null);
    assert.ok(performance.now() - asked < 200, `${method} answered after ${performance.now() - asked} ms`);
  }
  const { checkpoint } = await connection.sendRequest<{ checkpoint: string }>('save', {});
  assert.equal(findCheckpoint(join(folder, 'run')).folder, checkpoint);
  await connection.sendRequest('stop', {});
  assert.equal((await trained).state, 'stopped');
  child.disconnect();
  assert.equal(await exited, 'SIGKILL');
}));

for (const [signal, told] of [['SIGTERM', 'that is asked to end'], ['SIGHUP', 'whose terminal is closed, as that of a VS Code that was started there,']] as const) {
  test(`an engine ${told} writes a checkpoint first`, () => inTemporaryFolder(async folder => {
    const file = copyCase(folder, LONG);
    const { child, connection, exited } = engine(folder);
    const lost = connection.sendRequest('train', { experiment_file: file, resume: false }).catch(() => undefined);
    await steps(folder, 1);
    // A second run that is refused does not make the process forget the first.
    await assert.rejects(connection.sendRequest('train', { experiment_file: file, resume: false }), (error: { data?: ErrorReport }) => error.data?.code === 'run.active');
    await steps(folder, 5);
    child.kill(signal);
    await exited;
    connection.dispose();
    void lost;
    assert.ok(findCheckpoint(join(folder, 'run')).step >= 5);
  }));
}

test('an engine whose host is gone writes a checkpoint and is gone within 5 s; one that was killed bars no later run', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, LONG);
  const first = engine(folder);
  const lost = first.connection.sendRequest('train', { experiment_file: file, resume: false }).catch(() => undefined);
  await steps(folder, 5);
  const since = performance.now();
  first.connection.dispose();
  first.child.disconnect();
  await first.exited;
  assert.ok(performance.now() - since < 5000);
  assert.ok(findCheckpoint(join(folder, 'run')).step >= 5);

  const second = engine(folder);
  const killed = second.connection.sendRequest('train', { experiment_file: file, resume: true }).catch(() => undefined);
  await steps(folder, findCheckpoint(join(folder, 'run')).step + 10);
  second.child.kill('SIGKILL');
  await second.exited;
  second.connection.dispose();
  void lost; void killed;
  const { code, err } = await lab(['train', file, '--resume'], child => { child.stderr!.on('data', (said: Buffer) => { if (said.includes(' steps on ')) child.kill('SIGINT'); }); });
  assert.equal(code, 130, err);
}));

test('what a person gets wrong on the command line is said with its file, and what to do about it', () => inTemporaryFolder(async folder => {
  const [bert, llama] = [fixture('references', 'linear'), fixture('references', 'llama-text')];
  const [data, empty] = ['eval.jsonl', 'empty.txt'].map(name => join(folder, name));
  writeFileSync(data, '{"text": "a good film"}\n');
  writeFileSync(empty, '\n');
  const refused = async (says: RegExp, ...args: string[]): Promise<void> => {
    const { code, out, err } = await lab(args);
    assert.deepEqual([code, out], [2, ''], err);
    assert.match(err, says);
  };
  // An adapter as PEFT writes it does not say which weights it was trained on.
  const adapter = join(folder, 'adapter');
  cpSync(join(bert, 'adapter_start'), adapter, { recursive: true });
  writeFileSync(join(adapter, 'adapter_config.json'), JSON.stringify({ ...JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8')) as object, task_type: null }));
  await refused(/adapter_config\.json: lora\.target_modules: "query" matches no linear layer.*Use the base that the adapter was trained on.*llama-text/, 'predict', '--base', join(llama, 'model'), '--adapter', adapter, '--input', data);
  await refused(/eval\.jsonl: line 1: there is no column "review".*Set --text_column to /, 'predict', '--base', join(bert, 'model'), '--input', data, '--text_column', 'review');
  await refused(/empty\.txt: the file holds no text/, 'predict', '--base', join(bert, 'model'), '--input', empty);
  await refused(/: it is a folder, not a data file/, 'predict', '--base', join(bert, 'model'), '--input', folder);
}));
