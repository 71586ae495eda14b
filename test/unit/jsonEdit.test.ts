/** Edits of experiment files as text. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editJson, readExperiment } from '../../src/extension/jsonEdit';

test('a key can be set in a section that is null, which the file may say for an empty one', () => {
  for (const section of ['training', 'engine']) {
    const before = `{\n  // kept\n  "base_model": "model",\n  "dataset": { "train": "a.jsonl" },\n  "${section}": null\n}\n`;
    assert.deepEqual(readExperiment(before).problems, []);
    const [path, value] = section === 'training' ? [['training', 'seed'], 7] : [['engine', 'device'], 'cpu'];
    const after = editJson(before, [{ path, value }]);
    const { problems, values } = readExperiment(after);
    assert.deepEqual([problems, section === 'training' ? values.training.seed : values.engine.device], [[], value]);
    assert.match(after, /^  \/\/ kept$/m);
    assert.equal(editJson(before, [{ path, value: undefined }]), before, 'what is not there need not be removed');
  }
});

const COMMENTED = `{
  "base_model": "model", // the base
  "lora": {
    "r": 8, // rank
    // of single modules
    "rank_pattern": { "query": 4 }, // smaller
    "lora_dropout": 0.1 // a tenth
  },
  "dataset": { "train": "a.jsonl", "eval": "b.jsonl" }
}
`;

test('a key goes with its own lines and its own comment, and those of its neighbours stay', () => {
  const without = (...path: string[]): string => editJson(COMMENTED, [{ path, value: undefined }]);
  assert.equal(without('lora', 'rank_pattern'), COMMENTED.replace('    "rank_pattern": { "query": 4 }, // smaller\n', ''));
  assert.equal(without('lora', 'lora_dropout'), COMMENTED.replace(', // smaller\n    "lora_dropout": 0.1 // a tenth', ' // smaller'));
  assert.equal(without('lora'), COMMENTED.replace(/  "lora": [^]*?\n  },\n/, ''));
  assert.equal(without('dataset', 'eval'), COMMENTED.replace(', "eval": "b.jsonl"', ''));
  assert.equal(without('dataset', 'train'), COMMENTED.replace('"train": "a.jsonl", ', ''));
  assert.equal(without('dataset'), COMMENTED.replace(/,\n  "dataset".*/, ''));
  assert.equal(editJson('{\n  "engine": {\n    "threads": 2,\n  }\n}', [{ path: ['engine', 'threads'], value: undefined }]), '{\n  "engine": {}\n}');
});

test('a new key stands on a line of its own behind the comment of the last one, as the file is laid out', () => {
  const set = (text: string, path: string[], value: unknown): string => editJson(text, [{ path, value }]);
  assert.equal(set(COMMENTED, ['lora', 'lora_alpha'], 16), COMMENTED.replace('0.1 // a tenth', '0.1, // a tenth\n    "lora_alpha": 16'));
  assert.equal(set(COMMENTED, ['dataset', 'text_column'], 'text'), COMMENTED.replace('"b.jsonl" }', '"b.jsonl", "text_column": "text" }'));
  assert.equal(set(COMMENTED, ['engine', 'device'], 'cpu'), COMMENTED.replace('"b.jsonl" }', '"b.jsonl" },\n  "engine": {\n    "device": "cpu"\n  }'));
  assert.equal(set('{\r\n\t"a": 1, /* one, */ // first\r\n}', ['b', 'c'], 2), '{\r\n\t"a": 1, /* one, */ // first\r\n\t"b": {\r\n\t\t"c": 2\r\n\t},\r\n}');
  assert.equal(set('{\n  "engine": {\n    // nothing yet\n  }\n}', ['engine', 'threads'], 2), '{\n  "engine": {\n    // nothing yet\n    "threads": 2\n  }\n}');
  for (const text of [set(COMMENTED, ['lora', 'lora_alpha'], 16), set(COMMENTED, ['engine', 'device'], 'cpu')]) assert.equal(readExperiment(text).syntaxError, false);
});

test('comments in a list and in patterns stay with the entries that stay', () => {
  const text = '{\n  "lora": {\n    "target_modules": [\n      // attention\n      "query", // q\n      "value" // v\n    ],\n    "rank_pattern": {\n      "query": 4, // less\n      "value": 16\n    }\n  }\n}\n';
  const set = (path: string[], value: unknown): string => editJson(text, [{ path, value }]);
  assert.equal(set(['lora', 'target_modules'], ['query', 'key', 'value']), text.replace('"value" // v', '"value", // v\n      "key"'));
  assert.equal(set(['lora', 'target_modules'], ['query']), text.replace(', // q\n      "value" // v', ' // q'));
  assert.equal(set(['lora', 'rank_pattern'], { query: 4, key: 2 }), text.replace('"value": 16', '"key": 2'));
  assert.match(set(['lora', 'rank_pattern'], { key: 2, query: 4 }), /"rank_pattern": \{ "key": 2, "query": 4 \}/, 'of patterns the first one counts');
  assert.match(set(['lora', 'target_modules'], 'all-linear'), /"target_modules": "all-linear",/);
});

test('of a key that stands twice the last one is changed, which is the one that counts, and both are removed', () => {
  const text = '{\n  "base_model": "model",\n  "lora": { "r": 2 },\n  "lora": {\n    "r": 4,\n    "r": 8\n  }\n}\n';
  assert.equal(readExperiment(editJson(text, [{ path: ['lora', 'r'], value: 16 }])).values.lora.r, 16);
  assert.doesNotMatch(editJson(text, [{ path: ['lora'], value: undefined }]), /lora/);
  assert.deepEqual(readExperiment(text.replace('8', '0')).problems.filter(({ path }) => path.join('.') === 'lora.r').map(({ span }) => text.slice(span.start, span.end)), ['"r": 8']);
});
