import assert from 'node:assert/strict';
import { test } from 'node:test';
import { portions, portionTokens } from '../../src/engine/training/portions';
import { planAdapter } from '../../src/engine/model/lora';
import { trainedPortion } from '../../src/protocol/portions';
import { ALL_SAVINGS } from '../../src/protocol/savings';
import { settings, tinyBert } from '../support/tinyModel';

test('every example is in one portion, none above the limit unless alone, the shorter ones first', () => {
  const lengths = [128, 3, 700, 60, 512, 3, 100, 411];
  const found = portions(lengths, 512);
  assert.deepEqual(found.flat().map(i => lengths[i]), [...lengths].sort((a, b) => a - b));
  assert.equal(new Set(found.flat()).size, lengths.length);
  for (const portion of found) assert.ok(portion.length === 1 || portion.reduce((sum, i) => sum + lengths[i], 0) <= 512);
  assert.deepEqual(found, [[1, 5, 3, 6, 0], [7], [4], [2]]);
  assert.deepEqual(portions(lengths, Infinity).length, 1);
});

test('a long example does not share a portion with many short ones, which attention would pad to it', () => {
  const short = Array<number>(15).fill(14);
  assert.deepEqual(portions([...short, 300], 512).map(places => places.length), [15, 1]);
  assert.deepEqual(portions([...short, 100], 512).map(places => places.length), [16]);
  assert.deepEqual(portions([...short, 300], Infinity).map(places => places.length), [16]);
  assert.deepEqual(portions([300, ...short], 512, true).map(places => places.length), [6, 10]);
});

test('portions in which gradients are computed are larger where much is trained', () => {
  const tokens = (trainable_parameters: number): number => trainedPortion({ trainable_parameters, all_parameters: 1600 });
  assert.deepEqual([1, 99, 100, 799, 800, 1600].map(tokens), [512, 512, 1024, 1024, 2048, 2048]);
});

test('a step takes the portion of what its plan trains, and the small one where no gradient is asked for', () => {
  const model = tinyBert({ intermediate_size: 512 });
  const plan = (lora: object) => planAdapter(model, settings(lora).lora);
  const tokens = (lora: object, gradients = true): number => portionTokens({ plan: plan(lora) }, { gradients });
  assert.deepEqual([tokens({ r: 1, target_modules: ['query'] }), tokens({ r: 8, target_modules: 'all-linear' }), tokens({ full: true })], [512, 1024, 2048]);
  assert.equal(tokens({ full: true }, false), 512, 'an evaluation');
  assert.equal(portionTokens({ plan: null }, { gradients: true }), 512, 'the base alone');
  const options = { plan: plan({ full: true }), savings: { ...ALL_SAVINGS, portions: false } };
  assert.deepEqual([portionTokens(options, { gradients: true }), portionTokens({ ...options, portion_tokens: 7 }, { gradients: true })], [Infinity, 7]);
});
