import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scanLabels } from '../../src/engine/data/examples';
import { labelsFor, labelsFromNames } from '../../src/engine/data/labels';
import { LabError } from '../../src/engine/errors';
import { previewData } from '../../src/engine/preview';
import { inTemporaryFolder } from '../support/faults';
import { fixture, ROOT } from '../support/paths';

const named = (...names: string[]): Record<string, unknown> => ({ id2label: Object.fromEntries(names.map((name, i) => [i, name])) });
const numbered = (n: number): Record<string, unknown> => named(...Array.from({ length: n }, (_, i) => `LABEL_${i}`));
const namesFor = (config: Record<string, unknown>, head: number | null, values: (string | number)[]): string[] => labelsFor(config, head, values).names;
const refused = (says: RegExp) => (error: unknown): boolean => error instanceof LabError && error.report.code === 'dataset.labels' && says.test(error.report.cause);

const classifies = (name: string): boolean => readFileSync(fixture('references', name, 'case.lora.json'), 'utf8').includes('"SEQ_CLS"') && !name.endsWith('regression');

for (const name of readdirSync(fixture('references')).filter(classifies)) {
  test(`the classes of transformers' run: ${name}`, () => {
    const folder = fixture('references', name);
    const json = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'));
    const config = json('model/config.json');
    const { labels } = json('expected.json') as { labels: string[] };
    const experiment = json('case.lora.json');
    const values = scanLabels({ file: join(folder, 'train.jsonl'), dataset: experiment.dataset, problem_type: experiment.problem_type ?? config.problem_type });
    const head = config.architectures[0].endsWith('ForSequenceClassification') ? labels.length : null;
    const set = labelsFor(config, head, values);
    assert.deepEqual(set.names, labels);
    assert.deepEqual([...values].map(value => set.numberOf(value)).sort(), labels.map((_, i) => i));
  });
}

test('names of the checkpoint fix the order of the classes', () => {
  const set = labelsFor(named('positive', 'negative', 'neutral'), 3, ['negative', 'positive']);
  assert.deepEqual(set.names, ['positive', 'negative', 'neutral']);
  assert.deepEqual(['positive', 'negative', 'neutral', 'NEUTRAL', ''].map(set.numberOf), [0, 1, 2, undefined, undefined]);
});

test('class numbers stand for the checkpoint\'s classes', () => {
  const set = labelsFor(named('positive', 'negative'), 2, [1, 0]);
  assert.deepEqual(set.names, ['positive', 'negative']);
  assert.deepEqual([0, 1, 2, -1].map(set.numberOf), [0, 1, undefined, undefined]);
});

test('class numbers that begin with 1 are refused where the checkpoint\'s head has as many classes', () => {
  assert.throws(() => labelsFor(numbered(2), 2, [2, 1]), (error: LabError) => error.report.code === 'dataset.labels' && /from 1 to 2, and the 2 classes.*0 to 1.*Number the classes from 0 on/s.test(error.message));
  assert.deepEqual(labelsFor(numbered(3), 3, [2, 1]).names, ['0', '1', '2']);
});

test('an unknown text stays unknown where the checkpoint\'s classes are in use', () => {
  assert.equal(labelsFor(named('yes', 'no'), 2, ['yes', 'maybe']).numberOf('maybe'), undefined);
  assert.equal(labelsFor(named('yes', 'no'), 2, ['up', 'down']).numberOf('up'), undefined);
  assert.equal(labelsFor(named('yes', 'no'), null, ['yes', 'maybe']).numberOf('maybe'), undefined);
});

test('without a stored head, names that have nothing to do with the data are left behind', () => {
  assert.deepEqual(namesFor(named('entailment', 'neutral'), null, ['up', 'down', 'flat']), ['down', 'flat', 'up']);
});

test('without a stored head, class numbers keep the names of another one only where these name them all and the data file has none', () => {
  assert.deepEqual(namesFor(named('NEGATIVE', 'POSITIVE'), null, [0, 1, 2, 3]), ['0', '1', '2', '3']);
  assert.deepEqual(namesFor(named('NEGATIVE', 'POSITIVE'), null, [0, 1]), ['NEGATIVE', 'POSITIVE']);
  assert.deepEqual(labelsFor(named('NEGATIVE', 'POSITIVE'), null, [0, 1], 2, ['plot', 'cast']).names, ['plot', 'cast']);
  assert.deepEqual(labelsFor(named('a', 'b', 'c', 'd', 'e'), null, [0, 1], 2, ['plot', 'cast', 'sound']).names, ['plot', 'cast', 'sound']);
  assert.deepEqual(labelsFor(named('NEGATIVE', 'POSITIVE'), 2, [0, 1], 2, ['plot', 'cast']).names, ['NEGATIVE', 'POSITIVE'], 'a head has the names it was trained with');
});

test('texts are sorted by code point, as Python sorts them', () => {
  assert.deepEqual(namesFor({}, null, ['b', 'B', 'ä', 'a', 'ab', '\u{1f600}', '\uff5e', '10', '9']), ['10', '9', 'B', 'a', 'ab', 'b', 'ä', '\uff5e', '\u{1f600}']);
  assert.deepEqual(namesFor(numbered(2), 2, ['true', 'false']), ['false', 'true']);
});

test('texts LABEL_0 … keep their numbers', () => {
  assert.deepEqual(namesFor(numbered(12), 12, ['LABEL_10', 'LABEL_2']), numbered(12).id2label && Object.values(numbered(12).id2label as object));
  assert.equal(labelsFor(numbered(12), 12, ['LABEL_10', 'LABEL_2']).numberOf('LABEL_10'), 10);
});

test('class numbers without names: as many classes as numbers, head and config ask for', () => {
  assert.deepEqual(namesFor({}, null, [0, 1]), ['0', '1']);
  assert.deepEqual(namesFor({}, null, [4, 0]), ['0', '1', '2', '3', '4']);
  assert.deepEqual(namesFor({}, 3, [0, 1]), ['0', '1', '2']);
  assert.deepEqual(namesFor({ num_labels: 4 }, null, [0, 1]), ['0', '1', '2', '3']);
  assert.deepEqual(namesFor(numbered(5), 5, [0, 1]), ['0', '1', '2', '3', '4']);
});

test('names that are numbers are matched by name', () => {
  const stars = labelsFor(named('1', '2', '3', '4', '5'), 5, [1, 5]);
  assert.deepEqual([1, 5, 0, '3'].map(stars.numberOf), [0, 4, undefined, 2]);
  assert.deepEqual([0, '1', 2].map(labelsFromNames(['0', '1']).numberOf), [0, 1, undefined]);
});

test('a fixed set keeps its order, and a change to it later is not seen', () => {
  const names = ['zebra', 'ant'];
  const set = labelsFromNames(names);
  names.push('bee');
  assert.deepEqual(set.names, ['zebra', 'ant']);
  assert.deepEqual(['ant', 'bee', 0, 2].map(set.numberOf), [1, undefined, 0, undefined]);
});

test('no labels at all leave the classes of the checkpoint', () => {
  assert.deepEqual(namesFor(named('a', 'b', 'c'), 3, []), ['a', 'b', 'c']);
});

test('labels that cannot be learned are refused', () => {
  assert.throws(() => namesFor({}, null, [0, 1, 'two']), refused(/the label "two" is a text, but 0 is a number/));
  assert.throws(() => namesFor(named('a', 'b'), 2, ['a', 1]), refused(/the label 1 is a number, but "a" is a text/));
  assert.throws(() => namesFor({}, null, [0, -100]), refused(/class number -100 is negative/));
  assert.throws(() => namesFor({}, null, [0, 100_000]), refused(/class number 100000 is too large/));
  assert.throws(() => namesFor({}, null, [0, 1, 5000]), refused(/go up to 5000, but only 3 different ones occur/));
  assert.throws(() => namesFor({}, null, ['same']), refused(/every example has the label "same"; one class cannot be learned/));
  assert.throws(() => namesFor(numbered(2), 2, [1]), refused(/one class cannot be learned/));
  assert.throws(() => namesFor({}, null, Array.from({ length: 100_001 }, (_, i) => `id ${i}`)), refused(/more than 100000 different labels/));
});

test('few of many classes are fine where the checkpoint has that many', () => {
  assert.equal(namesFor({}, 6000, [0, 5000]).length, 6000);
  assert.equal(namesFor({}, null, [0, 900]).length, 901);
});

test('what is advised for numbers that are no class numbers can be done in the file, also in a csv, which has no whole numbers that are texts', async () => {
  const refusal = (name: string, content: string): Promise<string> => inTemporaryFolder(folder => {
    writeFileSync(join(folder, name), content);
    const file = join(folder, 'labels.lora.json');
    writeFileSync(file, JSON.stringify({ base_model: join(ROOT, 'media/sample/model'), dataset: { train: name } }));
    try { previewData({ experiment_file: file }); } catch (error) { return (error as Error).message.replace(folder, ''); }
    return 'read';
  });
  const names = 'give them names that are no numbers, such as neg and pos.';
  assert.equal(await refusal('a.csv', 'text,label\na,1\nb,"-1"\n'), `/a.csv: line 3: the class number -1 is negative. Number the classes 0, 1, 2, …, or ${names}`);
  assert.equal(await refusal('a.tsv', 'text\tlabel\na\t1500\nb\t2000\n'), `/a.tsv: the class numbers go up to 2000, but only 2 different ones occur. Number the classes 0, 1, 2, …, or ${names}`);
  assert.match(await refusal('a.jsonl', '{"text": "a", "label": 1}\n{"text": "b", "label": -1}\n'), /is negative\. Number the classes 0, 1, 2, …, or give them names/);
  assert.equal(await refusal('a.csv', 'text,label\na,neg\nb,pos\n'), 'read');
  assert.equal(await refusal('a.jsonl', '{"text": "a", "label": "1"}\n{"text": "b", "label": "-1"}\n'), 'read');
});
