import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { evaluationForm, labelForm, loadExamples, scanLabels, type ExampleSet, type LoadExamplesOptions } from '../../src/engine/data/examples';
import { labelsFromNames, type LabelSet } from '../../src/engine/data/labels';
import { loadTokenizer, type TextTokenizer } from '../../src/engine/data/tokenizer';
import { LabError } from '../../src/engine/errors';
import { inTemporaryFolder } from '../support/faults';
import { fixture, ROOT } from '../support/paths';

const dataset = { text_column: 'text', label_column: 'label' };
const limits = { vocab_size: 200, max_positions: 64, type_vocab_size: 2 };

/** One token per word, its length; segments alternate in texts that hold a bar. */
const words: TextTokenizer = {
  encode(text, max_length) {
    const own = text.split(' ').filter(word => word !== '').map(word => word.length);
    const input_ids = Int32Array.of(101, ...own.slice(0, max_length - 2), 102);
    return { input_ids, token_type_ids: text.includes('|') ? input_ids.map((_, i) => i % 2) : null, cut: own.length > max_length - 2 };
  },
};

function withFile<T>(rows: (object | string)[], use: (file: string) => T, name = 'data.jsonl'): Promise<T> {
  return inTemporaryFolder(folder => {
    writeFileSync(join(folder, name), rows.map(row => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
    return use(join(folder, name));
  });
}

const load = (rows: object[], more: Partial<LoadExamplesOptions & { labels: LabelSet }> = {}): Promise<ExampleSet> =>
  withFile(rows, file => loadExamples({ file, dataset, tokenizer: words, max_length: 8, limits, labels: labelsFromNames(['bad', 'good']), ...more }));
const refused = (code: string, where: string | undefined, says: RegExp) => (error: unknown): boolean => {
  assert.ok(error instanceof LabError && error.report.code === code, String(error));
  assert.equal(error.report.where, where);
  assert.match(error.message, says);
  return true;
};

test('examples come back in order with tokens, segments and class numbers', async () => {
  const set = await load([{ text: 'a bb ccc', label: 'good' }, { text: '', label: 'bad' }, { text: 'dddd |', label: 1 }, { text: 'e', label: 0 }]);
  assert.deepEqual(Array.from({ length: set.length }, (_, i) => { const { input_ids, token_type_ids, label } = set.get(i); return [[...input_ids], token_type_ids && [...token_type_ids], label]; }), [
    [[101, 1, 2, 3, 102], [0, 0, 0, 0, 0], 1], [[101, 102], [0, 0], 0], [[101, 4, 1, 102], [0, 1, 0, 1], 1], [[101, 1, 102], [0, 0, 0], 0],
  ]);
  assert.deepEqual([set.length, set.tokens, set.longest, set.cut], [4, 14, 5, 0]);
  for (const i of [-1, 4, 0.5, Number.NaN]) assert.throws(() => set.get(i), RangeError);
});

test('several classes for each example, an empty list and one that is named twice included', async () => {
  const problem_type = 'multi_label_classification';
  const set = await load([{ text: 'a', label: ['good', 'bad'] }, { text: 'b', label: [] }, { text: 'c', label: [1, 'good'] }], { problem_type });
  assert.deepEqual(Array.from({ length: 3 }, (_, i) => [...set.get(i).classes!]), [[1, 0], [], [1]]);
  await assert.rejects(load([{ text: 'a', label: 'good' }], { problem_type }), refused('dataset.wrong-type', 'line 1', /"good", not a list.*problem_type/));
  await assert.rejects(load([{ text: 'a', label: ['good'] }, { text: 'a', label: ['fine'] }], { problem_type }), refused('dataset.unknown-label', 'line 2', /the label "fine" is none of the classes/));
  await assert.rejects(load([{ text: 'a', label: ['good'] }]), refused('dataset.wrong-type', 'line 1', /is a list.*multi_label_classification/));
});

test('multi-hot lists, as transformers has them, mean the classes that have a 1', async () => {
  const problem_type = 'multi_label_classification';
  const classes = async (train: unknown[], evaluation = train): Promise<number[][]> => {
    const { form, names } = await withFile(train.map(label => ({ text: 'a', label })), file => {
      const { form } = labelForm({ file, dataset, problem_type });
      return { form, names: [...scanLabels({ file, dataset, problem_type, form })].map(String) };
    });
    const rows = evaluation.map(label => ({ text: 'a', label }));
    const read = await withFile(rows, file => evaluationForm({ file, dataset, problem_type, form, names }));
    const set = await load(rows, { problem_type, form: read, labels: labelsFromNames(names) });
    return Array.from({ length: set.length }, (_, i) => [...set.get(i).classes!]);
  };
  assert.deepEqual(await classes([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]), [[1, 3], [], [0]]);
  assert.deepEqual(await classes([[1, 0], [0, 1], [1, 1]]), [[0], [1], [0, 1]], 'one list has a number twice');
  assert.deepEqual(await classes([[true, false, true], [false, false, true]]), [[0, 2], [2]]);
  assert.deepEqual(await classes([[0, 1], [1], []]), [[0, 1], [1], []], 'lists of classes');
  assert.deepEqual(await classes([[0, 1], [1, 0]]), [[1], [0]], 'two classes that exclude each other, not both in every example');
  assert.deepEqual(await classes([[0, 1], [1]], [[0, 1], [1, 0]]), [[0, 1], [1, 0]], 'lists of classes, as the training data has them');
  assert.deepEqual(await classes([[0, 1, 2], [1, 2, 0]]), [[0, 1, 2], [1, 2, 0]], 'lists of classes');
  await assert.rejects(classes([[0, 0, 1]], [[0, 0, 1], [2]]), refused('dataset.multi-hot', 'line 2', /not a 0 or 1 for each of the 3 classes/));
  await assert.rejects(classes([[0, 1], [2]], [[0, 1, 1], [0, 0, 1]]), refused('dataset.multi-hot', 'column "label"', /those of the training data are classes/));
  for (const [wrong, line] of [[[0, 0, 1, 0], 3], [[0, 2, 1], 3], [['good'], 3], [[], 3]] as const) {
    await assert.rejects(classes([[0, 1, 0], [1, 0, 1], wrong]), refused('dataset.multi-hot', `line ${line}`, /not a 0 or 1 for each of 3 classes, as that in line 1 is/), JSON.stringify(wrong));
  }
  await assert.rejects(classes([[2], [0, 0, 1]]), refused('dataset.multi-hot', 'line 1', /as that in line 2 is/));
});

test('labels of a csv file are all texts where one of them is no whole number, also in the evaluation file', async () => {
  const train = ['text,label', 'x,12', 'y,12A', 'z,007', 'z,N/A'];
  const { form, named } = await withFile(train, file => labelForm({ file, dataset }), 'a.csv');
  assert.deepEqual(named, { label: '12A', line: 3 });
  const found = await withFile(train, file => scanLabels({ file, dataset, form }), 'a.csv');
  assert.deepEqual(found, new Set(['12', '12A', '007', 'N/A']));
  const evaluated = (rows: string[], name = 'b.csv') => withFile(rows, file => loadExamples({ file, dataset, tokenizer: words, max_length: 8, limits, labels: labelsFromNames([...found]), form }), name);
  const set = await evaluated(['text,label', 'x,007', 'y,12']);
  assert.deepEqual([set.get(0).label, set.get(1).label], [2, 0]);
  await assert.rejects(evaluated(['text,label', 'x,1']), refused('dataset.unknown-label', 'line 2', /the label "1" is none/));
  await assert.rejects(evaluated(['{"text": "x", "label": 1}'], 'b.jsonl'), refused('dataset.unknown-label', 'line 1', /the label "1" is none/));
  assert.deepEqual(await withFile(['text,label', 'x,12', 'y,3'], file => labelForm({ file, dataset }), 'a.csv'), { form: 'numbers' });
});

test('class numbers in an evaluation file stand for names that are no numbers, and for nothing where one is', async () => {
  const evaluated = async (names: string[], rows: (string | object)[], name: string): Promise<number[]> => withFile(rows, file => {
    const form = evaluationForm({ file, dataset, form: 'names', names });
    const set = loadExamples({ file, dataset, tokenizer: words, max_length: 8, limits, labels: labelsFromNames(names), form });
    return Array.from({ length: set.length }, (_, i) => set.get(i).label);
  }, name);
  const json = (...labels: unknown[]): object[] => labels.map(label => ({ text: 'a', label }));
  assert.deepEqual(await evaluated(['bad', 'good'], json(1, 0), 'b.jsonl'), [1, 0]);
  assert.deepEqual(await evaluated(['bad', 'good'], ['text,label', 'x,1', 'y,0'], 'b.csv'), [1, 0]);
  assert.deepEqual(await evaluated(['bad', 'good'], ['text,label', 'x,good'], 'b.csv'), [1]);
  assert.deepEqual(await evaluated(['12', '12A'], ['text,label', 'x,12'], 'b.csv'), [0]);
  await assert.rejects(evaluated(['bad', 'good'], ['text,label', 'x,good', 'y,1'], 'b.csv'), refused('dataset.unknown-label', 'line 3', /the label "1" is none/));
  await assert.rejects(evaluated(['12', '12A'], json(1), 'b.jsonl'), refused('dataset.unknown-label', 'line 1', /the label "1" is none/));
});

test('values for regression, from JSON and from csv', async () => {
  const problem_type = 'regression';
  const set = await load([{ text: 'a', label: 0.25 }, { text: 'b', label: -3 }], { problem_type });
  assert.deepEqual([set.get(0).label, set.get(1).label], [0.25, -3]);
  const csv = await withFile(['text,label', 'x,1.5e2', 'y,-0.5'], file => loadExamples({ file, dataset, problem_type, tokenizer: words, max_length: 8, limits, labels: labelsFromNames(['LABEL_0']) }), 'a.csv');
  assert.deepEqual([csv.get(0).label, csv.get(1).label], [150, -0.5]);
  for (const label of ['high', null, '', [1], 1e300]) await assert.rejects(load([{ text: 'a', label: 1 }, { text: 'a', label }], { problem_type }), refused('dataset.wrong-type', 'line 2', /give a number/i), JSON.stringify(label));
  await assert.rejects(load([{ text: 'a', label: 0.5 }]), refused('dataset.wrong-type', 'line 1', /is 0\.5.*"regression"/));
});

test('a text without tokens is refused with its line; of two texts one may be empty', async () => {
  const bare: TextTokenizer = { encode: (text, _length, pair) => ({ input_ids: Int32Array.from(text + (pair ?? ''), letter => letter.charCodeAt(0)), token_type_ids: null, cut: false }) };
  await assert.rejects(load([{ text: 'a', label: 'good' }, { text: '', label: 'bad' }], { tokenizer: bare }), refused('dataset.no-tokens', 'line 2', /data\.jsonl: line 2: the text in "text" has no tokens\. Give the row a text, or remove it/));
  const pairs = await load([{ text: '', other: 'bc', label: 'good' }], { dataset: { ...dataset, text_pair_column: 'other' }, tokenizer: bare });
  assert.equal(pairs.longest, 2);
});

test('a second text is read where a column for it is named', async () => {
  const pairs: TextTokenizer = { encode: (text, _length, pair) => ({ input_ids: Int32Array.of(text.length, pair === undefined || pair === null ? 0 : pair.length), token_type_ids: null, cut: false }) };
  const columns = { ...dataset, text_pair_column: 'other' };
  const set = await load([{ text: 'a', other: 'bcd', label: 'good' }], { dataset: columns, tokenizer: pairs });
  assert.deepEqual([...set.get(0).input_ids], [1, 3]);
  await assert.rejects(load([{ text: 'a', label: 'good' }], { dataset: columns, tokenizer: pairs }), refused('dataset.missing-column', 'line 1', /no column "other".*text_pair_column/));
});

test('a model without segments gets none', async () => {
  const set = await load([{ text: 'dddd |', label: 1 }], { limits: { ...limits, type_vocab_size: 0 } });
  assert.equal(set.get(0).token_type_ids, null);
});

test('segments are null where no text has any', async () => {
  assert.equal((await load([{ text: 'a', label: 'good' }])).get(0).token_type_ids, null);
});

test('examples that were cut are counted', async () => {
  const text = (n: number): string => 'a '.repeat(n);
  const set = await load([4, 5, 6, 7, 60].map(n => ({ text: text(n), label: 'good' })));
  assert.deepEqual([set.cut, set.longest, set.tokens], [2, 8, 6 + 7 + 8 + 8 + 8]);
});

test('a label that training does not know is named with its line and the known ones', async () => {
  await assert.rejects(load([{ text: 'a', label: 'good' }, { text: 'a', label: 'Good' }]), refused('dataset.unknown-label', 'line 2', /the label "Good" is none of the classes "bad", "good"/));
  await assert.rejects(load([{ text: 'a', label: 2 }]), refused('dataset.unknown-label', 'line 1', /the label 2 is none/));
  const many = labelsFromNames(Array.from({ length: 40 }, (_, i) => `class ${i}`));
  await assert.rejects(load([{ text: 'a', label: 'x' }], { labels: many }), refused('dataset.unknown-label', 'line 1', /"class 9", … \(40\)/));
});

test('a token beyond the model\'s vocabulary is named', async () => {
  await assert.rejects(load([{ text: 'a', label: 'good' }, { text: `a ${'x'.repeat(200)}`, label: 'good' }]), refused('dataset.token-beyond-vocabulary', 'line 2', /token 200 .* 0 to 199.*tokenizer\.json or vocab\.txt/i));
  assert.equal((await load([{ text: 'x'.repeat(199), label: 'good' }])).length, 1);
});

test('a segment number that the model does not know is named', async () => {
  await assert.rejects(load([{ text: 'a |', label: 'good' }], { limits: { ...limits, type_vocab_size: 1 } }), refused('dataset.token-type', 'line 1', /segment number 1, the model knows 1/));
});

test('max_length above the model\'s positions is refused before the file is read', () => {
  const options = { file: 'nowhere.jsonl', dataset, tokenizer: words, max_length: 65, limits, labels: labelsFromNames(['a']) };
  assert.throws(() => loadExamples(options), refused('training.max-length', 'training.max_length', /is 65, the model has 64 positions/));
});

test('progress rises to 1', async () => {
  const fractions: number[] = [];
  await load(Array.from({ length: 30_000 }, (_, i) => ({ text: 'a bb ccc dddd eeeee ffffff ggggggg', label: i % 2 })), { onProgress: fraction => fractions.push(fraction) });
  assert.ok(fractions.length > 1 && fractions.every((fraction, i) => fraction <= 1 && (i === 0 || fraction > fractions[i - 1])));
  assert.equal(fractions.at(-1), 1);
});

test('scanLabels finds the distinct labels', async () => {
  assert.deepEqual(await withFile([{ text: '', label: 'b' }, { text: '', label: 'a' }, { text: '', label: 'b' }], file => scanLabels({ file, dataset })), new Set(['b', 'a']));
  assert.deepEqual(await withFile(['text,label', 'x,1', 'y,0', 'z,10'], file => scanLabels({ file, dataset }), 'a.csv'), new Set([1, 0, 10]));
});

test('scanLabels finds the classes of all lists; one alone can be learned', async () => {
  const scan = (labels: unknown[]) => withFile(labels.map(label => ({ text: '', label })), file => scanLabels({ file, dataset, problem_type: 'multi_label_classification' }));
  assert.deepEqual(await scan([['b', 'a'], [], ['c']]), new Set(['b', 'a', 'c']));
  assert.deepEqual(await scan([['b'], []]), new Set(['b']));
  await assert.rejects(scan([[], []]), refused('dataset.labels', undefined, /no example has a label/));
  await assert.rejects(scan([['a'], [1]]), refused('dataset.labels', 'line 2', /a number, but "a" is a text/));
});

test('scanLabels names the line of the first label that cannot be learned', async () => {
  const scan = (labels: unknown[]): Promise<Set<string | number>> => withFile(labels.map(label => ({ text: '', label })), file => scanLabels({ file, dataset }));
  await assert.rejects(scan(['a', 'b', 'a', 1, 2]), refused('dataset.labels', 'line 4', /the label 1 is a number, but "a" is a text/));
  await assert.rejects(scan([0, 1, 1, 0, -1]), refused('dataset.labels', 'line 5', /-1 is negative/));
  await assert.rejects(scan([0, 1, 2_000_000_000]), refused('dataset.labels', 'line 3', /too large/));
  await assert.rejects(scan([true, true]), refused('dataset.labels', 'line 1', /every example has the label "true"/));
  await assert.rejects(scan([true, 1]), refused('dataset.labels', 'line 2', /a number, but "true" is a text/));
});

test('a label column with a different value in every row is refused, also in a very large file', async () => {
  const scan = (n: number): Promise<unknown> => withFile(Array.from({ length: n }, (_, i) => ({ text: '', label: `id ${i}` })), file => scanLabels({ file, dataset }));
  await assert.rejects(scan(1500), refused('dataset.labels', undefined, /the 1500 examples have 1500 different labels.*label_column/));
  await assert.rejects(scan(150_000), refused('dataset.labels', 'line 100001', /more than 100000 different labels/));
});

test('the tokens of the references\' training files are in the vocabulary of their models', () => {
  for (const name of ['linear', 'old-names', 'patterns']) {
    const folder = fixture('references', name);
    const config = JSON.parse(readFileSync(join(folder, 'model/config.json'), 'utf8'));
    const { labels } = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8'));
    const set = loadExamples({
      file: join(folder, 'train.jsonl'), dataset, tokenizer: loadTokenizer(join(folder, 'model')), max_length: 32, labels: labelsFromNames(labels),
      limits: { vocab_size: config.vocab_size, max_positions: config.max_position_embeddings, type_vocab_size: config.type_vocab_size },
    });
    assert.ok(set.length >= 40 && set.tokens > 300 && set.cut === 0);
  }
});

test('3,000 short reviews are ready in well under two seconds', async () => {
  const tokenizer = loadTokenizer(join(ROOT, 'media/sample/model'));
  const rows = Array.from({ length: 3000 }, (_, i) => ({ text: `The film number ${i} was quite good, and the room was warm; we would come again because of the food.`, label: i % 2 }));
  await withFile(rows, file => {
    const begun = process.cpuUsage();
    scanLabels({ file, dataset });
    const set = loadExamples({ file, dataset, tokenizer, max_length: 128, labels: labelsFromNames(['0', '1']), limits: { vocab_size: 30_000, max_positions: 128, type_vocab_size: 2 } });
    // Time of the processor, so that other work on the machine does not count.
    const { user, system } = process.cpuUsage(begun);
    assert.ok(user + system < 2_000_000, `${(user + system) / 1000} ms`);
    assert.equal(set.length, 3000);
  });
});

test('a folder in place of the file is refused by both passes', async () => {
  await inTemporaryFolder(folder => {
    const file = join(folder, 'a.jsonl');
    mkdirSync(file);
    assert.throws(() => scanLabels({ file, dataset }), refused('dataset.no-file', undefined, /is not a file/));
  });
});
