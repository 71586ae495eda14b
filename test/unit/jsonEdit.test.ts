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
