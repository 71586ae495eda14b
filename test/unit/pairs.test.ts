import assert from 'node:assert/strict';
import { test } from 'node:test';
import { longestFirst } from '../../src/engine/data/pairs';
import { loadTokenizer } from '../../src/engine/data/tokenizer';
import { fixture } from '../support/paths';

test('a pair is cut as transformers cuts it with longest_first', () => {
  // Words of the first and second text, room for both, and what transformers' tokenizer of the case bert-pairs keeps of each.
  for (const [first, second, room, ...kept] of [
    [3, 4, 17, 3, 4], [3, 9, 7, 3, 4], [9, 3, 7, 4, 3], [5, 5, 5, 2, 3], [5, 5, 6, 3, 3], [5, 6, 5, 2, 3], [6, 5, 6, 3, 3], [6, 5, 5, 3, 2],
    [1, 9, 2, 1, 1], [9, 1, 3, 2, 1], [2, 9, 2, 1, 1], [4, 4, 1, 0, 1], [4, 4, 0, 0, 0], [0, 9, 3, 0, 3],
  ]) assert.deepEqual(longestFirst(first, second, room), kept, `${first} and ${second} in ${room}`);
});

test('a pair has the special tokens and segments of its architecture', () => {
  const encode = (name: string) => loadTokenizer(fixture('references', name, 'model')).encode('good film', 40, 'bad film');
  const bert = encode('bert-pairs');
  const [cls, good, film, sep, bad] = bert.input_ids;
  assert.deepEqual([...bert.input_ids], [cls, good, film, sep, bad, film, sep]);
  assert.deepEqual([...bert.token_type_ids!], [0, 0, 0, 0, 1, 1, 1]);
  const distilbert = encode('distilbert-pairs');
  assert.deepEqual([...distilbert.input_ids], [...bert.input_ids]);
  assert.equal(distilbert.token_type_ids, null);
  // <s> A </s></s> B </s>, all of one segment.
  const roberta = encode('roberta-pairs');
  const ends = [...roberta.input_ids].flatMap((id, i) => (id === 2 ? [i] : []));
  assert.equal(roberta.input_ids[0], 0);
  assert.equal(ends.length, 3);
  assert.equal(ends[1], ends[0] + 1);
  assert.equal(ends[2], roberta.input_ids.length - 1);
  assert.equal(roberta.token_type_ids, null);
});
