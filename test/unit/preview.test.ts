/** What a preview shows of each task's data, token by token, and that it is what a run reads. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { prepare } from '../../src/engine/prepare';
import { previewData } from '../../src/engine/preview';
import { SILENT } from '../../src/engine/reporter';
import { previewText } from '../../src/extension/previewText';
import type { Preview, PreviewToken } from '../../src/protocol/engine';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Given { task?: string; problem_type?: string; dataset?: object; training?: object; examples?: number; most_rows?: number }

/** The preview of rows, with the model of a reference case. */
const preview = (model: string, rows: object[], { dataset, examples, most_rows, ...more }: Given = {}): Promise<Preview> => inTemporaryFolder(folder => {
  const file = join(folder, 'rows.lora.json');
  writeFileSync(join(folder, 'train.jsonl'), rows.map(row => JSON.stringify(row)).join('\n'));
  writeFileSync(file, JSON.stringify({ base_model: fixture('references', model, 'model'), dataset: { train: 'train.jsonl', ...dataset }, ...more }, null, 2));
  return previewData({ experiment_file: file, examples }, most_rows);
});

/** The sample's model, which has no classes of its own. */
const HEADLESS = '../../../media/sample';

const ids = (tokens: PreviewToken[]): number[] => tokens.map(({ id }) => id);
const texts = (tokens: PreviewToken[]): string[] => tokens.map(({ text }) => text);
const special = (tokens: PreviewToken[]): string[] => texts(tokens.filter(token => token.special));
const learned = (tokens: PreviewToken[]): string[] => texts(tokens.filter(token => token.learned));

test('texts with a label: special tokens, spaces and parts of words, the names of the classes, and what is cut', async () => {
  const { examples: [first, second], ...all } = await preview('bert-pairs', [{ text: 'the dirtyness', label: 'dull' }, { text: 'a film was very good.', label: 'fine' }, { text: 'a', label: 'dull' }], { training: { max_length: 6 } });
  assert.deepEqual(ids(first.input), [2, 5, 66, 87, 3]);
  assert.deepEqual(texts(first.input), ['[CLS]', ' the', ' dirty', 'ness', '[SEP]']);
  assert.deepEqual(special(first.input), ['[CLS]', '[SEP]']);
  assert.deepEqual([first.line, first.tokens, first.cut, first.label], [1, 5, false, 'dull']);
  assert.deepEqual(ids(second.input), [2, 6, 32, 11, 15, 3]);
  assert.deepEqual([second.line, second.tokens, second.cut, second.label], [2, 6, true, 'fine']);
  assert.deepEqual([all.rows, all.all_rows, all.tokens, all.mean, all.longest, all.cut, all.max_length, all.problem_type], [3, true, 14, 4.7, 6, 1, 6, 'single_label_classification']);
  assert.deepEqual(all.classes, [{ name: 'dull', count: 2 }, { name: 'fine', count: 1 }]);
  assert.deepEqual([all.learned_tokens, all.packed_rows, all.longest_target], [null, null, null]);
});

test('pairs of texts, several classes and values', async () => {
  const pairs = await preview('bert-pairs', [{ text: 'the film', pair: 'very dull.', label: 'a' }, { text: 'a', pair: 'a', label: 'b' }], { dataset: { text_pair_column: 'pair' } });
  assert.deepEqual(ids(pairs.examples[0].input), [2, 5, 32, 3, 15, 57, 94, 3]);
  const several = await preview(HEADLESS, [{ text: 'a', label: ['x', 'z'] }, { text: 'a', label: [] }, { text: 'a', label: ['y', 'x'] }], { problem_type: 'multi_label_classification' });
  assert.deepEqual(several.examples.map(({ label }) => label), [['x', 'z'], [], ['y', 'x']]);
  assert.deepEqual(several.classes, [{ name: 'x', count: 2 }, { name: 'y', count: 1 }, { name: 'z', count: 1 }]);
  const hot = await preview(HEADLESS, [{ text: 'a', label: [1, 0, 1] }, { text: 'a', label: [0, 0, 0] }], { problem_type: 'multi_label_classification' });
  assert.deepEqual(hot.examples.map(({ label }) => label), [['0', '2'], []]);
  assert.match(hot.notes.join(), /"label" are read as a 0 or 1 for each of 3 classes/);
  const values = await preview(HEADLESS, [{ text: 'a', label: 0.5 }], { problem_type: 'regression' });
  assert.deepEqual([values.examples[0].label, values.classes], [0.5, null]);
});

test('words: each tag stands at the first token of its word, and none at -100', async () => {
  const { examples: [{ input }], classes } = await preview('bert-tags', [{ tokens: ['dirtyness', 'film', 'was'], ner_tags: ['B-PER', 'O', -100] }, { tokens: ['a'], ner_tags: ['O'] }], { task: 'TOKEN_CLS' });
  assert.deepEqual(input.map(({ id, tag }) => [id, tag]), [[2, undefined], [66, 'B-PER'], [87, undefined], [32, 'O'], [11, undefined], [3, undefined]]);
  assert.deepEqual(classes!.filter(({ count }) => count > 0), [{ name: 'B-PER', count: 1 }, { name: 'O', count: 2 }]);
});

test('texts of a language model: all but the first token is learned, a character of two tokens comes with the second', async () => {
  const { examples: [{ input }], ...all } = await preview('llama-messages', [{ text: 'it was\né' }, { text: 'it' }], { task: 'CAUSAL_LM' });
  assert.deepEqual(ids(input), [266, 268, 285, 202, 131, 106, 0]);
  assert.deepEqual(texts(input), ['it', ' w', 'as', '\n', '', 'é', '<|eos|>']);
  assert.deepEqual(learned(input), texts(input).slice(1));
  assert.deepEqual([special(input), all.tokens, all.learned_tokens, all.nothing_learned], [['<|eos|>'], 9, 7, 0]);
});

test('of a prompt and its completion the completion is marked, and packing is told', async () => {
  const { examples: [{ input }], packed_rows } = await preview('llama-messages', [{ prompt: 'it was', completion: ' good' }, { prompt: 'a', completion: 'b' }], { task: 'CAUSAL_LM', dataset: { prompt_column: 'prompt', completion_column: 'completion' }, training: { packing: true } });
  assert.deepEqual(ids(input), [266, 268, 285, 301, 263, 71, 0]);
  assert.deepEqual(learned(input), [' g', 'oo', 'd', '<|eos|>']);
  assert.equal(packed_rows, 1);
});

test('of a conversation the turn of the assistant is marked, with the end that the template writes', async () => {
  const { examples: [{ input }] } = await preview('llama-messages', [{ messages: [{ role: 'user', content: 'it' }, { role: 'assistant', content: 'ad' }] }], { task: 'CAUSAL_LM', dataset: { messages_column: 'messages' } });
  assert.deepEqual(ids(input), [2, 88, 86, 271, 202, 266, 3, 202, 2, 285, 86, 277, 87, 68, 81, 87, 202, 304, 3, 202, 0]);
  assert.equal(texts(input).join(''), '<|im_start|>user\nit<|im_end|>\n<|im_start|>assistant\nad<|im_end|>\n<|eos|>');
  assert.deepEqual(learned(input), ['ad', '<|im_end|>', '\n', '<|eos|>']);
});

test('of a source and its target the target is learned, end-of-text token included', async () => {
  const { examples: [{ input, target, tokens, cut }], longest, longest_target } = await preview('t5-qv', [{ source: 'good view', target: 'very good the' }], { task: 'SEQ_2_SEQ_LM', training: { max_target_length: 3 } });
  assert.deepEqual([ids(input), ids(target!)], [[27, 24, 1], [8, 27, 1]]);
  assert.deepEqual([texts(input), learned(target!)], [['good', ' view', '</s>'], ['very', ' good', '</s>']]);
  assert.deepEqual([tokens, cut, longest, longest_target], [6, true, 3, 3]);
});

for (const name of ['bert-pairs', 'bert-regression', 'roberta-several-classes', 'roberta-tags-windows', 'gpt2-completion', 'gemma-text', 'qwen3-messages', 't5-qv']) {
  test(`a preview is of what a run reads: ${name}`, () => {
    const file = fixture('references', name, 'case.lora.json');
    const { train } = prepare(readExperimentFile(file), null, SILENT);
    const { examples, rows, tokens, cut } = previewData({ experiment_file: file, examples: 7 });
    assert.deepEqual([rows, tokens, cut, examples.length], [train.length, train.tokens, train.cut, Math.min(7, train.length)]);
    examples.forEach(({ input }, i) => assert.deepEqual(ids(input), [...train.get(i).input_ids]));
  });
}

test('of a long file the first rows are counted and the others not read, and both is said', async () => {
  const rows = [{ text: 'it' }, { text: 'it was' }, { text: 'it' }, { text: 5 }];
  const found = await preview('llama-messages', rows, { task: 'CAUSAL_LM', examples: 1, most_rows: 2 });
  assert.deepEqual([found.rows, found.all_rows, found.tokens, found.examples.length], [2, false, 6, 1]);
  assert.match(previewText(found, 'x').text, /^file +train\.jsonl, of more than these the first 2 rows$/m);
  // Where no row of those is learned another one may be.
  const long = [{ prompt: 'it was', completion: 'a' }, { prompt: 'it was', completion: 'b' }, { prompt: 'it was', completion: 'c' }];
  const options = { task: 'CAUSAL_LM', dataset: { prompt_column: 'prompt', completion_column: 'completion' }, training: { max_length: 2 } };
  assert.equal((await preview('llama-messages', long, { ...options, most_rows: 1, examples: 1 })).nothing_learned, 1);
  await assert.rejects(preview('llama-messages', long, options), (error: unknown) => error instanceof LabError && error.report.code === 'dataset.nothing-to-learn');
});

test('its errors are those of a run: file, place, cause and what to do', async () => {
  const refused = (says: RegExp) => (error: unknown): boolean => error instanceof LabError && says.test(error.message);
  await assert.rejects(preview('llama-messages', [{ text: 'it' }, { text: 5 }], { task: 'CAUSAL_LM' }), refused(/train\.jsonl: line 2: the text in "text" is 5\. Give a text in quotes/));
  await assert.rejects(preview('bert-pairs', [{ body: 'it', label: 1 }], {}), refused(/train\.jsonl: line 1: there is no column "text"/));
  await assert.rejects(preview('bert-pairs', [{ text: 'a', label: 'x' }, { text: 'a', label: 'y' }], { training: { max_length: 5000 } }), refused(/rows\.lora\.json: line \d+, training\.max_length: is 5000/));
});

test('the text of a preview marks what is learned, white space and the bounds of tokens without colours', async () => {
  const conversation = await preview('llama-messages', [{ messages: [{ role: 'user', content: 'it\t' }, { role: 'assistant', content: 'ad it' }] }], { task: 'CAUSAL_LM', dataset: { messages_column: 'messages' } });
  const { text, learned: spans, special: marks } = previewText(conversation, 'talk');
  assert.equal(text.slice(text.indexOf('Example')), [
    'Example 1, line 1: 24 tokens, 6 learned',
    '  read     <|im_start|>u¦s¦er↵',
    '           it→<|im_end|>↵',
    '           <|im_start|>as¦s¦is¦t¦a¦n¦t↵',
    '  learned  ad·it<|im_end|>↵',
    '           <|eos|>',
    '',
  ].join('\n'));
  assert.deepEqual(spans.map(([begin, end]) => text.slice(begin, end)), ['ad·it<|im_end|>↵', '<|eos|>']);
  assert.deepEqual(marks.map(([begin, end]) => text.slice(begin, end)), ['<|im_start|>', '<|im_end|>', '<|im_start|>', '<|im_end|>', '<|eos|>']);
  assert.match(text, /^learned +6 tokens \(25 %\)$/m);

  const words = previewText(await preview('bert-tags', [{ tokens: ['dirtyness', 'film'], ner_tags: ['B-PER', 'O'] }], { task: 'TOKEN_CLS' }), 'words').text;
  assert.match(words, /^ {2}no tag +\[CLS\]\n {2}B-PER +·dirty\n {2}no tag +ness\n {2}O +·film\n {2}no tag +\[SEP\]$/m);
  const labelled = previewText(await preview('bert-pairs', [{ text: 'the dirtyness', label: 'dull' }, { text: 'a', label: 'fine' }]), 'texts').text;
  assert.match(labelled, /^Example 1, line 1: 5 tokens, label dull\n {2}read {2}\[CLS\]·the·dirty¦ness\[SEP\]$/m);
  assert.match(labelled, /^classes +dull 1 \(50 %\), fine 1 \(50 %\)$/m);
});
