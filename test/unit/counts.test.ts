/** What is adapted and counted on bert-base, by the engine and by the panel, against what PEFT said (test/fixtures/make_counts.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { bert } from '../../src/engine/model/bert';
import { planAdapter } from '../../src/engine/model/lora';
import { countAdapter, formatCount, type ModelShape } from '../../src/protocol/adapterMath';
import type { ModuleInfo } from '../../src/protocol/engine';
import { shortestTargets, withPatternValue } from '../../src/protocol/targetNames';
import { patternValue } from '../../src/protocol/adapterMath';
import type { ExperimentValues, ModelView } from '../../src/protocol/panel';
import { targetKinds, tickKind } from '../../webview/targets';
import { fixture } from '../support/paths';
import { settings } from '../support/tinyModel';

interface Case { lora: object; base_parameters: number; trainable_parameters: number; all_parameters: number; line: string; adapted_modules: string[] }
const { config, cases } = JSON.parse(readFileSync(fixture('peft_counts.json'), 'utf8')) as { config: Record<string, unknown>; cases: Case[] };

const parameters = bert.parameters(config, 'SEQ_CLS', 2);
const size = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);
const modules: ModuleInfo[] = parameters.filter(spec => spec.name.endsWith('.weight')).map(({ name, shape, kind }) => {
  const module = name.replace(/\.weight$/, '');
  const head = module === 'classifier';
  const bias = kind === 'embedding' ? 0 : shape[0];
  return { name: module, type: kind === 'linear' ? 'Linear' : kind === 'norm' ? 'LayerNorm' : 'Embedding', shape, parameters: size(shape) + bias, dtype: 'F32', adaptable: kind === 'linear' && !head, saved: head };
});
const shape: ModelShape = { modules, base_parameters: parameters.reduce((sum, spec) => sum + size(spec.shape), 0), default_target_modules: bert.default_target_modules };

for (const { lora, ...expected } of cases) {
  test(`bert-base, ${JSON.stringify(lora)}: ${expected.line}`, () => {
    const { lora: full } = settings(lora);
    const plan = planAdapter({ family: bert, config, parameters, task: 'SEQ_CLS' }, full);
    const count = countAdapter(shape, full);
    assert.equal(shape.base_parameters, expected.base_parameters);
    for (const [who, found, names] of [['engine', plan, plan.modules.map(m => m.name)], ['panel', count, count.adapters.map(a => a.name)]] as const) {
      assert.equal(found.trainable_parameters, expected.trainable_parameters, who);
      assert.equal(found.all_parameters, expected.all_parameters, who);
      assert.deepEqual(names, expected.adapted_modules, who);
      assert.equal(formatCount(found), expected.line, who);
    }
    assert.deepEqual(count.adapters.map(a => [a.r, a.lora_alpha, a.scaling]), plan.modules.map(m => [m.r, m.lora_alpha, m.scaling]));
  });
}

test('inspection says of each module what its adapter has, DoRA and biases included, as the panel does', () => {
  for (const lora of [{ use_dora: true }, { lora_bias: true }, {}]) {
    const { matched, ...model } = inspectCheckpoint({ folder: fixture('references/bert-pairs/model'), task: 'SEQ_CLS', lora: { r: 4, target_modules: ['query'], ...lora } });
    assert.deepEqual(matched.map(module => module.parameters), [1, 2].map(() => 4 * (32 + 32) + (Object.keys(lora).length ? 32 : 0)));
    assert.deepEqual(matched.map(module => module.parameters), countAdapter(model, settings({ r: 4, target_modules: ['query'], ...lora }).lora).adapters.map(adapter => adapter.parameters));
  }
});

test('Python expressions match in the panel and the tree what they match in the engine', () => {
  const cases = [
    { target_modules: '(?i).*LAYER\\.3.*QUERY' }, { target_modules: '.*\\.(?P<which>query|key)' }, { target_modules: '.*query\\Z' }, { target_modules: '\\A.*layer\\.1{,2}\\..*value' },
    { target_modules: 'all-linear', exclude_modules: '(?i).*DENSE' },
    { target_modules: ['query', 'value'], rank_pattern: { 'layer\\.(?P<n>1).*query\\Z': 2 }, alpha_pattern: { '(?:value)\\Z': 5 } },
    { target_modules: ['query'], layers_to_transform: [2, 5], layers_pattern: '(?P<stack>layer)' },
  ];
  for (const lora of cases) {
    const { lora: full } = settings(lora);
    const plan = planAdapter({ family: bert, config, parameters, task: 'SEQ_CLS' }, full);
    const count = countAdapter(shape, full);
    assert.ok(plan.modules.length > 0 && plan.modules.length < 72);
    assert.deepEqual(count.adapters.map(a => [a.name, a.r, a.lora_alpha]), plan.modules.map(m => [m.name, m.r, m.lora_alpha]), JSON.stringify(lora));
    assert.deepEqual([count.trainable_parameters, count.unmatched], [plan.trainable_parameters, []], JSON.stringify(lora));
  }
});

test('a tick beside a Python expression keeps what it matches, in names', () => {
  const model = { ...shape, folder: '', model_type: 'bert', labels: [], data_bytes: null, dropout: { hidden: 0, attention: 0 }, heads: 12 } as unknown as ModelView;
  const { lora } = settings({ target_modules: '(?i).*QUERY' });
  const values = lora as unknown as ExperimentValues['lora'];
  assert.deepEqual(tickKind(model, values, 'attention.self.key', true)[0].value, ['query', 'key']);
  assert.deepEqual(targetKinds(model, values).filter(({ ticked }) => ticked).map(({ kind, ticked }) => [kind, ticked]), [['attention.self.query', 12]]);
});

test('ticking any set of modules writes target_modules that match exactly this set', () => {
  const names = modules.filter(m => m.adaptable).map(m => m.name);
  const sets = [
    names, names.filter(name => /query|value/.test(name)), names.filter(name => name.includes('.0.')), names.filter((_, i) => i % 7 === 3), [names[5]],
    names.filter(name => name.endsWith('dense')), names.filter(name => name.endsWith('output.dense') && !name.includes('attention')),
  ];
  for (const ticked of sets) {
    const target_modules = shortestTargets(new Set(ticked), modules);
    assert.deepEqual(countAdapter(shape, settings({ target_modules }).lora).adapters.map(a => a.name), ticked);
  }
  assert.equal(shortestTargets(new Set(names), modules), 'all-linear');
  assert.deepEqual(shortestTargets(new Set(sets[1]), modules), ['query', 'value']);
});

test('a rank set on some modules changes these and no others', () => {
  const names = modules.filter(m => m.adaptable).map(m => m.name);
  const changed = new Set(names.filter(name => name.includes('layer.3.') && name.endsWith('query')));
  const before = { 'layer.3.attention.self.query': 2, key: 4 };
  const after = withPatternValue(before, 8, changed, 16, names);
  for (const name of names) assert.equal(patternValue(after, name, 8), changed.has(name) ? 16 : patternValue(before, name, 8), name);
});
