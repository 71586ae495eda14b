/** Texts, prompts with completions and conversations as training examples of a language model. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadChatTemplate } from '../../src/engine/data/chatTemplate';
import { endOfText } from '../../src/engine/data/endOfText';
import { loadTexts, languageForm } from '../../src/engine/data/languageExamples';
import { loadTokenizer, type LanguageTokenizer } from '../../src/engine/data/tokenizer';
import { LabError } from '../../src/engine/errors';
import { IGNORED, type Example } from '../../src/engine/training/step.types';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

const NONE = { text_column: 'text', prompt_column: null, completion_column: null, messages_column: null };
const COMPLETION = { ...NONE, prompt_column: 'prompt', completion_column: 'completion' };
const MESSAGES = { ...NONE, messages_column: 'messages' };
const CHAT = fixture('references/llama-messages/model');

const refusal = (code: string, says: RegExp) => (error: unknown): boolean => {
  assert.ok(error instanceof LabError, String(error));
  assert.equal(error.report.code, code);
  assert.match(error.message, says);
  return true;
};

/** The examples that rows give, with max_length 64 unless said otherwise. */
function load(rows: unknown[], dataset: typeof NONE | typeof COMPLETION | typeof MESSAGES, { folder = CHAT, max_length = 64 } = {}): Promise<{ examples: Example[]; tokenizer: LanguageTokenizer; cut: number; without: number }> {
  return inTemporaryFolder(place => {
    const file = join(place, 'train.jsonl');
    writeFileSync(file, rows.map(row => JSON.stringify(row)).join('\n'));
    const tokenizer = loadTokenizer(folder);
    const template = dataset.messages_column === null ? null : loadChatTemplate(folder, tokenizer.config);
    const set = loadTexts({ file, dataset, tokenizer, template, eos: endOfText(folder, tokenizer, {}), max_length, limits: { vocab_size: 320, max_positions: 100 } });
    return { examples: Array.from({ length: set.length }, (_, i) => ({ ...set.get(i), input_ids: set.get(i).input_ids.slice(), targets: set.get(i).targets!.slice() })), tokenizer, cut: set.cut, without: set.without_targets ?? 0 };
  });
}

/** The tokens that an example teaches, as text; <eos> for the end-of-text token. */
function taught({ input_ids, targets }: Example, tokenizer: LanguageTokenizer): string {
  const learned = Array.from(targets!).filter(target => target !== IGNORED);
  targets!.forEach((target, i) => { if (target !== IGNORED) assert.equal(target, input_ids[i + 1], 'position t predicts token t + 1'); });
  return learned.map(id => (id === 0 ? '<eos>' : id === 2 ? '<start>' : id === 3 ? '<end>' : tokenizer.decode([id]))).join('');
}

test('a text is learned from its second token on, end-of-text token included', async () => {
  const { examples: [example], tokenizer } = await load([{ text: 'the film was good' }], NONE);
  assert.equal(taught(example, tokenizer), tokenizer.decode(example.input_ids.slice(1)) + '<eos>');
  assert.equal(example.input_ids.at(-1), 0);
  assert.equal(example.targets!.at(-1), IGNORED);
});

test('a BOS token of the template comes first and nothing teaches it', async () => {
  const { examples: [example], tokenizer } = await load([{ text: 'the film' }], NONE, { folder: fixture('references/llama-text/model') });
  assert.deepEqual([example.input_ids[0], example.input_ids.at(-1)], [0, 0]);
  assert.equal(taught(example, tokenizer), 'the film<eos>');
});

test('of a prompt and its completion only the completion is learned, and the end of the text even if it is the padding token', async () => {
  const { examples: [example, empty], tokenizer } = await load([{ prompt: 'was it good :', completion: ' very good' }, { prompt: 'well ?', completion: '' }], COMPLETION, { folder: fixture('references/gpt2-text/model') });
  assert.equal(taught(example, tokenizer), ' very good<eos>');
  assert.equal(taught(empty, tokenizer), '<eos>');
});

test('of a conversation the turns of the assistant are learned, with their end and an end-of-text token after the last', async () => {
  const messages = (...turns: [string, string][]): object => ({ messages: turns.map(([role, content]) => ({ role, content })) });
  const { examples, tokenizer } = await load([
    messages(['system', 'a'], ['user', 'b'], ['assistant', 'very good'], ['user', 'c'], ['assistant', 'too long']),
    messages(['user', 'a film'], ['assistant', 'fine'], ['user', 'a book']),
  ], MESSAGES, { max_length: 100 });
  assert.deepEqual(examples.map(example => taught(example, tokenizer)), ['very good<end>\ntoo long<end>\n<eos>', 'fine<end>\n']);
});

test('templates that end a turn with the end-of-text token get no second one; tokens may come from a list of templates', () => inTemporaryFolder(async folder => {
  const model = join(folder, 'model');
  mkdirSync(model);
  const tokenizer = loadTokenizer(CHAT);
  writeFileSync(join(model, 'tokenizer_config.json'), '{}');
  const template = loadChatTemplate(model, { ...tokenizer.config, chat_template: [{ name: 'tools', template: '' }, { name: 'default', template: "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}" }] });
  const file = join(folder, 'data.jsonl');
  writeFileSync(file, JSON.stringify({ messages: [{ role: 'user', content: 'good ? ' }, { role: 'assistant', content: 'very' }] }));
  const set = loadTexts({ file, dataset: MESSAGES, tokenizer, template, eos: 0, max_length: 64, limits: { vocab_size: 320, max_positions: 64 } });
  assert.equal(taught(set.get(0), tokenizer), 'very<eos>');
}));

test('a template that marks generations teaches exactly what it marks, however it lays out its tags', () => inTemporaryFolder(folder => {
  const tokenizer = loadTokenizer(CHAT);
  const file = join(folder, 'data.jsonl');
  const turns = [['user', 'a'], ['assistant', 'very good'], ['user', 'c'], ['assistant', 'fine']].map(([role, content]) => ({ role, content }));
  writeFileSync(file, JSON.stringify({ messages: turns }));
  const of = (chat_template: string): string => {
    const example = loadTexts({ file, dataset: MESSAGES, tokenizer, template: loadChatTemplate(folder, { chat_template }), eos: 0, max_length: 64, limits: { vocab_size: 320, max_positions: 64 } }).get(0);
    return `${taught(example, tokenizer)}|${tokenizer.decode(example.input_ids)}`;
  };
  const around = (begin: string, end: string): string => `{% for m in messages %}{% if m.role == 'assistant' %}so>${begin}{{ m.content }}${end} !{% else %}{{ m.content }} ? {% endif %}{% endfor %}`;
  const text = 'a ? so>very good !c ? so>fine !';
  assert.equal(of(around('{% generation %}', '{% endgeneration %}')), `very goodfine|${text}`);
  assert.equal(of(around('{% generation %}\n', '\n  {%- endgeneration %}\n')), `very goodfine|${text}`);
  assert.equal(of(around('  {%- generation -%}  ', '  {%-endgeneration-%}')), `very goodfine|${text.replaceAll(' !', '!')}`);
  // Earlier turns may be written differently once later ones follow: what is learned is marked, not guessed.
  assert.match(of(`{{ messages | length }} ${around('{% generation %}', '{% endgeneration %}')}`), /^very goodfine\|4 a/);
  assert.throws(() => of(around('{% generation %}{% endgeneration %}', '')), refusal('dataset.nothing-to-learn', /line 1/));
}));

test('a text or completion that ends with the end-of-text token gets no second one', async () => {
  const folder = fixture('references/gpt2-text/model');
  const end = JSON.parse(readFileSync(join(folder, 'tokenizer_config.json'), 'utf8')).eos_token as string;
  const { examples: [text, plain], tokenizer } = await load([{ text: `the film${end}` }, { text: 'the film' }], NONE, { folder });
  assert.deepEqual(text.input_ids, plain.input_ids);
  const { examples: [completion, empty] } = await load([{ prompt: 'good ?', completion: ` yes${end}` }, { prompt: `good ?${end}`, completion: '' }], COMPLETION, { folder });
  assert.equal(taught(completion, tokenizer), ' yes<eos>');
  assert.equal(taught(empty, tokenizer), '<eos>');
});

test('what is too long is cut at its end; an example of which only the prompt is left is counted', async () => {
  const long = 'the film was good '.repeat(3).trim();
  const { examples, cut, without } = await load([{ prompt: `${long} :`, completion: ' no' }, { prompt: 'a', completion: ' yes' }], COMPLETION, { max_length: 8 });
  assert.deepEqual([examples[0].input_ids.length, cut, without], [8, 1, 1]);
  assert.ok(examples[0].targets!.every(target => target === IGNORED));
  await assert.rejects(load([{ prompt: `${long} :`, completion: ' no' }], COMPLETION, { max_length: 8 }), refusal('dataset.nothing-to-learn', /longer than max_length 8/));
});

test('rows that teach nothing or are no conversation are named with their line', async () => {
  const good = { messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] };
  await assert.rejects(load([good, { messages: [{ role: 'user', content: 'only a question' }] }], MESSAGES), refusal('dataset.nothing-to-learn', /line 2.*no token that is learned/));
  for (const messages of ['text', [], [1], [{ role: 'user' }], [{ content: 'x' }], [{ role: 'user', content: null }]]) {
    await assert.rejects(load([good, { messages }], MESSAGES), refusal('dataset.wrong-type', /line 2/), JSON.stringify(messages));
  }
  await assert.rejects(load([{ prompt: 'a', completion: 1 }], COMPLETION), refusal('dataset.wrong-type', /line 1/));
  await assert.rejects(load([{ prompt: 'a', answer: 'b' }], COMPLETION), refusal('dataset.missing-column', /dataset\.prompt_column and dataset\.completion_column/));
});

test('a template that writes reasoning in the last turn only, as Qwen3\'s does, teaches every turn as it stands in the whole conversation', () => inTemporaryFolder(folder => {
  const tokenizer = loadTokenizer(CHAT);
  const file = join(folder, 'data.jsonl');
  const template = loadChatTemplate(folder, { chat_template: `{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% set said = m.content.split('</think>') %}{% if m.role == 'assistant' and loop.last %}{{ '<think>' + (said[0].split('<think>')[-1] if said | length > 1 else '') + '</think>' }}{% endif %}{{ said[-1].strip() + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}` });
  const teaches = (...turns: string[]): string => {
    writeFileSync(file, JSON.stringify({ messages: turns.map((content, i) => ({ role: ['user', 'assistant'][i % 2], content })) }));
    return taught(loadTexts({ file, dataset: MESSAGES, tokenizer, template, eos: 0, max_length: 100, limits: { vocab_size: 320, max_positions: 100 } }).get(0), tokenizer);
  };
  assert.equal(teaches('a', 'very good'), '<think></think>very good<end>\n<eos>');
  assert.equal(teaches('a', 'very good', 'b', 'fine'), 'very good<end>\n<think></think>fine<end>\n<eos>');
  assert.equal(teaches('a', '<think>too</think>x ', 'b', '', 'c', '<think>so</think>fine'), 'x<end>\n<end>\n<think>so</think>fine<end>\n<eos>');
  assert.equal(teaches('a', 'fine', 'b'), 'fine<end>\n');
}));

test('templates that refuse, or that rewrite earlier turns, are an error; so is a folder without one', () => inTemporaryFolder(folder => {
  const tokenizer = loadTokenizer(CHAT);
  const file = join(folder, 'data.jsonl');
  writeFileSync(file, JSON.stringify({ messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }, { role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] }));
  const run = (chat_template: string): unknown => loadTexts({ file, dataset: MESSAGES, tokenizer, template: loadChatTemplate(folder, { chat_template }), eos: 0, max_length: 64, limits: { vocab_size: 320, max_positions: 64 } });
  assert.throws(() => run("{{ raise_exception('no such role') }}"), refusal('dataset.chat-template', /line 1.*no such role/));
  assert.throws(() => run('{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}'), refusal('dataset.chat-template', /earlier turns/));
  assert.throws(() => run('{% if %}'), refusal('tokenizer.chat-template', /not a template/));
  assert.throws(() => loadChatTemplate(folder, {}), refusal('tokenizer.no-chat-template', /no chat template/));
}));

test('the columns of one form only', () => {
  assert.equal(languageForm(NONE), 'text');
  assert.equal(languageForm(COMPLETION), 'completion');
  assert.equal(languageForm(MESSAGES), 'messages');
  assert.throws(() => languageForm({ ...NONE, prompt_column: 'prompt' }), refusal('dataset.columns', /prompt_column: is given without completion_column/));
  assert.throws(() => languageForm({ ...COMPLETION, messages_column: 'messages' }), refusal('dataset.columns', /together with/));
});

test('the end-of-text token comes from the tokenizer, else from config.json', () => inTemporaryFolder(folder => {
  const tokenizer = loadTokenizer(CHAT);
  assert.equal(endOfText(CHAT, tokenizer, { eos_token_id: 7 }), 0);
  const unnamed = { ...tokenizer, config: {} };
  assert.equal(endOfText(folder, unnamed, { eos_token_id: [5, 6] }), 5);
  assert.throws(() => endOfText(folder, unnamed, {}), refusal('tokenizer.no-eos', /no end-of-text token/));
}));
