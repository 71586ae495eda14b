import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCount } from '../../src/protocol/adapterMath';
import { costOf, ratioByRank } from '../../webview/cost';
import { estimateMemory } from '../../webview/memory';
import { describeTargets, targetKinds, tickKind } from '../../webview/targets';
import { bertModel, values } from './support/fixtures';

const BERT_BASE = bertModel({ layers: 12, hidden: 768, intermediate: 3072, vocabulary: 30522, positions: 512 });

test('bert-base with rank 8 on query and value costs what PEFT prints', () => {
  const cost = costOf(BERT_BASE, values());
  assert.equal(formatCount(cost.count), 'trainable params: 296,450 || all params: 109,780,228 || trainable%: 0.2700');
  assert.deepEqual(cost.groups.map(group => group.parameters), [294_912, 1_538, 109_483_778]);
  assert.equal(cost.groups[1].label, 'Trained whole: classifier');
});

test('the groups add up to all parameters', () => {
  const { groups, count } = costOf(bertModel(), values({ r: 16, rank_pattern: { query: 4 } }));
  assert.equal(groups.reduce((sum, group) => sum + group.parameters, 0), count.all_parameters);
});

test('the curve over rank passes through what each rank costs, ranks of single modules kept', () => {
  const model = bertModel();
  const lora = { rank_pattern: { query: 4 } };
  for (const { rank, trainable, percent } of ratioByRank(model, values(lora), [1, 3, 8, 128])) {
    const cost = costOf(model, values({ ...lora, r: rank }));
    assert.equal(trainable, cost.count.trainable_parameters);
    assert.equal(percent, cost.percent);
  }
});

test('memory grows with batch, length and rank, and holds weights, optimizer state and activations', () => {
  const estimate = estimateMemory(BERT_BASE, 296_450, 16, 128);
  assert.equal(estimate.weights, 4 * 109_483_778);
  assert.equal(estimate.training, 16 * 296_450);
  assert.equal(estimate.total, estimate.weights + estimate.training + estimate.activations);
  // PEFT's measured peak for this shape is 2.4 GB.
  assert.ok(estimate.total > 2e9 && estimate.total < 3e9, `${estimate.total}`);
  assert.equal(estimateMemory(BERT_BASE, 296_450, 32, 128).activations, 2 * estimate.activations);
  assert.ok(estimateMemory(BERT_BASE, 296_450, 16, 256).activations > 2 * estimate.activations, 'attention scores grow with the square of the length');
});

test('memory of a model without linear layers is a number', () => {
  assert.deepEqual(estimateMemory({ modules: [], base_parameters: 10 }, 0, 8, 16), { weights: 40, training: 0, activations: 0, total: 40 });
});

test('one row for each kind of linear layer, without the head, which is trained whole', () => {
  const kinds = targetKinds(bertModel(), values().lora);
  assert.deepEqual(kinds.map(({ kind, ticked, modules }) => [kind, ticked, modules.length]), [
    ['attention.self.query', 4, 4], ['attention.self.key', 0, 4], ['attention.self.value', 4, 4], ['attention.output.dense', 0, 4],
    ['intermediate.dense', 0, 4], ['output.dense', 0, 4], ['bert.pooler.dense', 0, 1],
  ]);
  assert.equal(kinds[0].parameters, 4 * 8 * 256);
});

test('a row of which single layers are ticked says how many', () => {
  const kinds = targetKinds(bertModel(), values({ target_modules: ['layer.0.attention.self.query', 'layer.3.attention.self.query'] }).lora);
  assert.equal(kinds[0].ticked, 2);
});

test('ticking a kind writes the shortest names that match exactly the ticked modules', () => {
  const model = bertModel();
  assert.deepEqual(tickKind(model, values().lora, 'attention.self.key', true), { target_modules: ['query', 'key', 'value'] });
  assert.deepEqual(tickKind(model, values().lora, 'attention.self.value', false), { target_modules: ['query'] });
  assert.deepEqual(tickKind(model, values({ target_modules: ['query', 'layer.0.attention.self.value'] }).lora, 'attention.self.value', true), { target_modules: ['query', 'value'] });
});

test('ticking an excluded kind lifts the exclusion', () => {
  assert.deepEqual(tickKind(bertModel(), values({ exclude_modules: ['key'] }).lora, 'attention.self.key', true), { target_modules: ['query', 'key', 'value'], exclude_modules: null });
});

test('targets read as written, with how much they match', () => {
  const model = bertModel();
  assert.equal(describeTargets(model, values().lora), 'query, value · 8 of 25 linear layers');
  assert.equal(describeTargets(model, values({ target_modules: null }).lora), 'query, value (default) · 8 of 25 linear layers');
  assert.equal(describeTargets(null, values({ target_modules: 'all-linear' }).lora), 'all-linear');
});
