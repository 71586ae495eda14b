/** What kind of model a `model_type` is stands in one table, which the engine's families and the editor share. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { families } from '../../src/engine/model/families';
import { tasksOf } from '../../src/engine/model/family';
import { kindOfModel, MODEL_TYPES } from '../../src/protocol/modelTypes';

test('every type of the table has one family, whose architecture is of the kind that the table says', () => {
  const types = families.flatMap(({ model_types }) => [...model_types]);
  assert.deepEqual([...types].sort(), Object.keys(MODEL_TYPES).sort());
  for (const family of families) {
    const kinds = new Set(family.model_types.map(type => MODEL_TYPES[type]));
    assert.equal(kinds.size, 1, family.model_types.join());
    // A decoder has the logits of a vocabulary, an encoder-decoder both halves; neither can be said of an encoder.
    assert.equal([...kinds][0], family.seq2seq ? 'encoder-decoder' : family.output ? 'decoder' : 'encoder', family.model_types.join());
    assert.equal(tasksOf(family).includes('CAUSAL_LM'), [...kinds][0] === 'decoder');
  }
});

test('what is not in the table has no kind', () => {
  assert.deepEqual(['electra', 'phi3', 'mt5'].map(kindOfModel), ['encoder', 'decoder', 'encoder-decoder']);
  for (const none of ['albert', 'constructor', '', undefined, 3]) assert.equal(kindOfModel(none), undefined);
});
