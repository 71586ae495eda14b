/** ROUGE and exact match: values worked out by hand, and those that torchmetrics 1.x, which follows rouge_score, gives for these texts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { partsOf } from '../../src/engine/generation/evaluateWriting';
import { rougeL, rougeN, scoreTexts, words } from '../../src/engine/generation/rouge';
import { IGNORED } from '../../src/engine/training/step.types';

/** Expected text, written text, ROUGE-1, ROUGE-2, ROUGE-L. */
const CASES: [string, string, number, number, number][] = [
  ['the cat sat on the mat', 'the cat lay on the mat', 0.8333333, 0.6, 0.8333333],
  ["The cat's hat: 3.5 metres!", 'the CATS hat, 3 5 metres', 0.7692308, 0.5454546, 0.7692308],
  ['police killed the gunman', 'the gunman kill police', 0.75, 0.3333333, 0.5],
  ['a b a b c', 'b a b a', 0.8888889, 0.5714286, 0.6666667],
  ['one', 'one', 1, 0, 1],
  ['one', '', 0, 0, 0],
  ['', '', 0, 0, 0],
  ['über naïve café', 'uber naive cafe', 0, 0, 0],
  ['x y z', 'z y x', 1, 0, 0.3333333],
  ['It was, by far, the best-acted film of the year 1999.', 'by far the best acted film in 1999, it was', 0.8181818, 0.6, 0.6363636],
];

for (const [expected, written, one, two, longest] of CASES) {
  test(`ROUGE of "${written}" for "${expected}"`, () => {
    const scores = scoreTexts([{ expected, written }]);
    for (const [name, value] of [['rouge1', one], ['rouge2', two], ['rougeL', longest]] as const) assert.ok(Math.abs(scores[name] - value) < 1e-6, `${name}: ${scores[name]}`);
  });
}

test('by hand: precision and recall differ', () => {
  // 2 of 3 written words are among the 4 expected ones: P = 2/3, R = 1/2, F = 4/7. In order only one pair of neighbours is.
  const [expected, written] = [words('the gunman was killed'), words('the gunman died')];
  assert.equal(rougeN(expected, written, 1), 4 / 7);
  assert.equal(rougeN(expected, written, 2), 2 / 5);
  // Longest common subsequence of "a b c d e" and "b d a e": b d e.
  assert.equal(rougeL(words('a b c d e'), words('b d a e')), 2 * 3 / 9);
});

test('exact match minds everything but white space at the ends; scores are means', () => {
  const pairs = [{ expected: 'Yes.', written: ' Yes.\n' }, { expected: 'Yes.', written: 'yes.' }, { expected: 'no', written: 'maybe' }];
  assert.deepEqual(scoreTexts(pairs), { exact_match: 1 / 3, rouge1: 2 / 3, rouge2: 0, rougeL: 2 / 3 });
});

test('what is written: the target, the completion, or the last turn', () => {
  const ids = Int32Array.of(5, 6, 7, 8, 9);
  const targets = (...values: number[]) => Int32Array.from(values);
  assert.deepEqual(partsOf({ input_ids: ids, targets: targets(IGNORED, 7, 8, 9, 0) }), { source: [], ids: [5, 6], expected: [7, 8, 9, 0] });
  assert.deepEqual(partsOf({ input_ids: ids, targets: targets(6, IGNORED, IGNORED, 9, IGNORED) }), { source: [], ids: [5, 6, 7, 8], expected: [9] });
  assert.deepEqual(partsOf({ input_ids: ids, targets: targets(IGNORED, IGNORED, IGNORED, IGNORED, IGNORED) }).expected, []);
  assert.deepEqual(partsOf({ input_ids: ids, decoder_input_ids: Int32Array.of(0, 3), targets: targets(3, 1) }), { source: [5, 6, 7, 8, 9], ids: [0], expected: [3, 1] });
});
