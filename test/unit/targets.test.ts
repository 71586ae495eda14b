import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { pythonRegExp } from '../../src/protocol/pythonRegExp';
import { matchTargets, type PlanOptions, type TargetSettings } from '../../src/engine/model/targets';

const BERT = [0, 1].flatMap(i => [
  ...['query', 'key', 'value'].map(name => ({ name: `bert.encoder.layer.${i}.attention.self.${name}`, in_features: 16, out_features: 16 })),
  { name: `bert.encoder.layer.${i}.attention.output.dense`, in_features: 16, out_features: 16 },
  { name: `bert.encoder.layer.${i}.intermediate.dense`, in_features: 16, out_features: 24 },
  { name: `bert.encoder.layer.${i}.output.dense`, in_features: 24, out_features: 16 },
]).concat([{ name: 'bert.pooler.dense', in_features: 16, out_features: 16 }, { name: 'classifier', in_features: 16, out_features: 3 }]);

const match = (lora: Partial<TargetSettings>, options?: PlanOptions) => matchTargets(BERT, {
  r: 4, lora_alpha: 8, target_modules: null, exclude_modules: null, use_rslora: false, layers_to_transform: null, layers_pattern: null, rank_pattern: {}, alpha_pattern: {}, modules_to_save: null, init_adapter: null, ...lora,
}, ['query', 'value'], ['classifier'], options);
const names = (lora: Partial<TargetSettings>): string[] => match(lora).map(module => module.name.replace('bert.encoder.layer.', ''));

function problem(lora: Partial<TargetSettings>): LabError['report'] {
  try { match(lora); } catch (error) { assert.ok(error instanceof LabError, String(error)); return error.report; }
  throw new assert.AssertionError({ message: 'no error' });
}

test('names match as PEFT matches them', () => {
  const default_ = ['0.attention.self.query', '0.attention.self.value', '1.attention.self.query', '1.attention.self.value'];
  assert.deepEqual(names({}), default_);
  assert.deepEqual(names({ target_modules: ['value', 'query'] }), default_, 'in the order of the model');
  assert.deepEqual(names({ target_modules: ['output.dense'] }), ['0.attention.output.dense', '0.output.dense', '1.attention.output.dense', '1.output.dense']);
  assert.deepEqual(names({ target_modules: ['layer.1.attention.self.query'] }), ['1.attention.self.query']);
  assert.equal(names({ target_modules: ['dense'] }).length, 7);
  assert.equal(names({ target_modules: 'all-linear' }).length, 13, 'everything but the head, the pooler too');
  assert.deepEqual(names({ target_modules: 'All-Linear' }), names({ target_modules: 'all-linear' }));
  assert.deepEqual(names({ exclude_modules: ['layer.0.attention.self.query', 'value'] }), ['1.attention.self.query']);
  assert.deepEqual(names({ exclude_modules: '.*\\.0\\..*' }), ['1.attention.self.query', '1.attention.self.value']);
  assert.equal(names({ target_modules: 'all-linear', modules_to_save: ['pooler'] }).length, 12);
});

test('a module that modules_to_save takes by the end of its name, within a word, cannot have an adapter as well', () => {
  const { code, cause } = problem({ modules_to_save: ['uery'] });
  assert.equal(code, 'lora.modules-to-save');
  assert.match(cause, /"uery".*layer\.0\.attention\.self\.query/);
  assert.deepEqual(names({ modules_to_save: ['uery'], exclude_modules: ['query'] }), ['0.attention.self.value', '1.attention.self.value']);
});

test('a text is a Python expression for the whole name', () => {
  assert.deepEqual(names({ target_modules: '.*\\.1\\.attention\\.self\\.(query|key)' }), ['1.attention.self.query', '1.attention.self.key']);
  assert.deepEqual(names({ target_modules: '.*layer\\.(?P<n>[^0])\\..*(?P=n)?query' }), ['1.attention.self.query']);
  assert.deepEqual(names({ target_modules: '(?i).*QUERY\\Z' }).length, 2);
  assert.equal(problem({ target_modules: 'query|value' }).code, 'lora.target-not-found', 'fullmatch, not search');
  assert.equal(problem({ target_modules: '(query' }).code, 'lora.regex-invalid');
  assert.match(problem({ target_modules: '(query' }).cause, /\(query/);
});

test('Python expressions that JavaScript writes differently', () => {
  const cases: [string, string, boolean][] = [
    ['a{,2}', 'aa', true], ['a{,2}', 'aaa', false], ['[]x]+', ']x', true], ['[^]x]+', 'ab', true], ['[^]x]+', 'a]', false],
    ['\\Aab\\Z', 'ab', true], ['(?P<a>x)y(?P=a)', 'xyx', true], ['a(?#comment)b', 'ab', true], ['[(?P<]+', '(?P<', true], ['\\(\\?P', '(?P', true],
    ['a|bc', 'a', true], ['a|bc', 'ac', false], ['[a\\]{,2}]+', 'a]{,2}', true],
  ];
  for (const [pattern, text, matches] of cases) assert.equal(pythonRegExp(pattern, '', '$').test(text), matches, `${pattern} ~ ${text}`);
  assert.throws(() => pythonRegExp('(?x) a b'), SyntaxError);
  assert.throws(() => pythonRegExp('(a)?(?(1)b|c)'), SyntaxError);
});

test('every entry must match something, and the nearest names are given', () => {
  const report = problem({ target_modules: ['query', 'vlaue'] });
  assert.equal(report.code, 'lora.target-not-found');
  assert.match(report.cause, /"vlaue"/);
  assert.match(report.action, /"value"/);
  assert.match(problem({ target_modules: ['q_proj'] }).action, /did you mean/);
  assert.match(problem({ target_modules: ['uery'] }).action, /"query"/, 'a suffix begins at a dot');
  assert.match(problem({ target_modules: ['query', 'classifier'] }).cause, /trained whole/);
  assert.equal(problem({ target_modules: ['query'], exclude_modules: ['self.query'] }).code, 'lora.nothing-to-adapt');
  assert.match(problem({ rank_pattern: { qurey: 2 } }).action, /"query"/);
});

test('rank and alpha of single modules', () => {
  const found = match({ rank_pattern: { 'layer.1.attention.self.value': 2, value: 3 }, alpha_pattern: { 'self.(query|key)': 12 } });
  assert.deepEqual(found.map(m => [m.r, m.lora_alpha, m.scaling]), [[4, 12, 3], [3, 8, 8 / 3], [4, 12, 3], [2, 8, 4]]);
  assert.deepEqual(match({ rank_pattern: { '.*': 2 }, lora_alpha: 3 })[0].scaling, 1.5);
  // as in PEFT the key must reach to the end of the name, and begin where a name part begins
  assert.deepEqual(match({ rank_pattern: { 'self.query': 2 } }).map(m => m.r), [2, 4, 2, 4]);
  assert.equal(problem({ rank_pattern: { uery: 2 } }).code, 'lora.pattern-not-found');
});

test('layers are counted as PEFT counts them, and one that is not there is an error', () => {
  assert.deepEqual(names({ layers_to_transform: 1 }), ['1.attention.self.query', '1.attention.self.value']);
  assert.deepEqual(names({ layers_to_transform: [0, 1] }), names({}));
  assert.deepEqual(names({ layers_to_transform: [0], layers_pattern: ['h', 'layer'], target_modules: ['query'] }), ['0.attention.self.query']);
  assert.deepEqual(names({ layers_to_transform: 0, target_modules: ['key', 'bert.encoder.layer.1.attention.self.query'] }), ['0.attention.self.key', '1.attention.self.query'], 'a full name is meant');
  assert.deepEqual(names({ layers_to_transform: 0, target_modules: ['dense'] }), ['0.attention.output.dense', '0.intermediate.dense', '0.output.dense'], 'the pooler lies in no layer');
  assert.match(problem({ layers_to_transform: [0, 2] }).cause, /layer 2/);
  assert.match(problem({ layers_to_transform: [0], layers_pattern: 'layers' }).cause, /layer 0/);
  assert.equal(problem({ layers_pattern: 'layer' }).where, 'lora.layers_pattern');
  assert.match(problem({ layers_to_transform: 1, target_modules: 'all-linear' }).cause, /all-linear/);
});

test('rank-stabilized scaling divides by the root of each rank', () => {
  assert.deepEqual(match({ use_rslora: true, rank_pattern: { value: 9 } }).map(m => m.scaling), [4, 8 / 3, 4, 8 / 3]);
});

test('ranks that a module cannot have', () => {
  const high = problem({ r: 17, target_modules: ['intermediate.dense'] });
  assert.equal(high.code, 'lora.rank-too-high');
  assert.match(high.cause, /bert\.encoder\.layer\.0\.intermediate\.dense, 24 × 16/);
  assert.match(high.action, /at most 16/);
  assert.equal(names({ r: 16 }).length, 4);
  assert.equal(problem({ rank_pattern: { query: 17 } }).where, 'lora.rank_pattern');
  assert.equal(problem({ rank_pattern: { query: 2.5 } }).code, 'lora.rank-invalid');
  assert.deepEqual(match({ r: 17 }, { stored: true }).map(m => m.r), [17, 17, 17, 17], 'of an adapter that is there already');
  assert.deepEqual(match({ r: 17, init_adapter: 'runs/adapter' }).map(m => m.r), [17, 17, 17, 17], 'of one that is trained on');
});
