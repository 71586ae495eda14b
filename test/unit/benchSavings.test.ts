import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ROWS } from '../bench/rows';
import { savingNames, withoutSavings } from '../bench/savings';

test('the bench takes names of savings, refuses others, and puts them into the experiment of a row', () => {
  assert.deepEqual(savingNames('portions,split_bias'), ['portions', 'split_bias']);
  assert.throws(() => savingNames('portions,speed'), /"speed" is no saving; there are padding_free, /);
  const int8 = ROWS[11];
  assert.deepEqual(withoutSavings(int8, ['portions']).engine, { ...int8.engine, without: ['portions'] });
  assert.equal(withoutSavings(int8, []), int8);
});
