/** The section `sweep`: which experiments it makes, and what is refused. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { memberExperiment, memberName, parseSweep, rungs, SWEEP_KEYS } from '../../src/protocol/sweep';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { settings } from '../support/tinyModel';

test('lists by key make every combination, a list of members only those', () => {
  const { sweep } = parseSweep({ sweep: { 'lora.r': [4, 8], 'training.learning_rate': [1e-4, 3e-4, 1e-3] } });
  assert.equal(sweep!.members.length, 6);
  assert.deepEqual(sweep!.members[4], { 'lora.r': 8, 'training.learning_rate': 3e-4 });
  assert.equal(memberName(4, sweep!.members[4]), '05-r-8-learning_rate-0.0003');
  const listed = parseSweep({ sweep: { members: [{ 'lora.r': 2, 'lora.lora_alpha': 4 }, { 'training.weight_decay': 0.1 }], halving: { eta: 3 } } }).sweep!;
  assert.deepEqual(listed.halving, { eta: 3, min_epochs: 1 });
  const member = memberExperiment(settings({ r: 8 }), listed.members[0], 'here');
  assert.deepEqual([member.lora.r, member.lora.lora_alpha, member.output_dir, member.training.weight_decay], [2, 4, 'here', 0]);
  assert.deepEqual(parseSweep({}), { sweep: null, problems: [] });
});

test('members are one experiment twice by what they change, in any order, not by the length of their names', () => {
  const many = { 'training.learning_rate': 1e-4, 'training.adam_beta1': 0.9, 'training.adam_beta2': 0.999, 'training.adam_epsilon': 1e-8, 'training.max_grad_norm': 1, 'training.warmup_steps': 10, 'training.weight_decay': 0.01 };
  const problems = (...last: object[]): string[] => parseSweep({ sweep: { members: last.map(one => ({ ...many, ...one })) } }).problems.map(({ cause }) => cause);
  assert.deepEqual(problems({ 'lora.lora_alpha': 4 }, { 'lora.lora_alpha': 8 }), []);
  assert.match(parseSweep({ sweep: { members: [{ 'lora.r': 4, 'lora.lora_alpha': 8 }, { 'lora.lora_alpha': 8, 'lora.r': 4 }] } }).problems[0].cause, /one experiment twice/);
});

test('halving compares after min_epochs, then after eta times as many, before the end', () => {
  assert.deepEqual(rungs({ eta: 2, min_epochs: 1 }, 8), [1, 2, 4]);
  assert.deepEqual(rungs({ eta: 3, min_epochs: 2 }, 7), [2, 6]);
  assert.deepEqual(rungs({ eta: 2, min_epochs: 3 }, 3), []);
});

test('what may not differ, is no value, or makes no sweep is a problem with its key', () => {
  for (const [sweep, key, says] of [
    [5, 'sweep', /not an object/], [{}, 'sweep', /makes 0 experiments/], [{ 'lora.r': [4] }, 'sweep', /makes 1 experiment.*two values/], [{ 'lora.r': 4 }, 'sweep.lora.r', /not a list/],
    [{ 'lora.r': [4, 0] }, 'sweep.lora.r', /holds 0.*at least 1/], [{ 'lora.rr': [4, 8] }, 'sweep.lora.rr', /no setting.*"lora.r"/], [{ r: [4, 8] }, 'sweep.r', /no setting/],
    [{ 'training.seed': [1, 2] }, 'sweep.training.seed', /share data/], [{ 'lora.target_modules': ['a', 'b'] }, 'sweep.lora.target_modules', /share data/],
    [{ members: 3 }, 'sweep.members', /not a list/], [{ members: [{ 'lora.r': 4 }, { 'lora.r': 'x' }] }, 'sweep.members', /lora.r is "x"/], [{ members: [{ 'lora.r': 4 }, { 'lora.r': 4 }] }, 'sweep.members', /twice/],
    [{ 'lora.r': [1, 2], members: [{ 'lora.r': 4 }, { 'lora.r': 8 }] }, 'sweep.members', /one of the two/], [{ 'lora.r': [1, 2], halving: { eta: 1 } }, 'sweep.halving.eta', /at least 2/],
    [{ 'lora.r': [1, 2], halving: { rate: 1 } }, 'sweep.halving.rate', /unknown key/], [{ 'lora.r': Array.from({ length: 300 }, (_, i) => i + 1) }, 'sweep', /300 experiments.*at most 256/],
  ] as const) {
    const { problems } = parseSweep({ sweep });
    const problem = problems.find(({ path }) => path.join('.') === key);
    assert.ok(problem, `${key}: ${JSON.stringify(problems)}`);
    assert.match(`${problem.cause} ${problem.action}`, says, key);
  }
});

test('where the whole model is trained, keys of adapters cannot be swept and the others can', () => {
  for (const sweep of [{ 'lora.r': [2, 4] }, { 'training.loraplus_lr_ratio': [2, 4] }, { members: [{ 'lora.lora_alpha': 2 }, { 'lora.lora_alpha': 4 }] }]) {
    const { problems: [{ path, cause, action }] } = parseSweep({ lora: null, sweep });
    assert.match(`${path.join('.')} ${cause} ${action}`, /^sweep\.(lora\.r|training\.loraplus_lr_ratio|members) .*"lora" is null.*"training"/);
  }
  assert.equal(parseSweep({ lora: null, sweep: { 'training.learning_rate': [1e-4, 3e-4] } }).sweep!.members.length, 2);
});

test('a file with a wrong sweep is refused with the line; the schema knows the keys', () => inTemporaryFolder(folder => {
  const file = join(folder, 'a.lora.json');
  writeFileSync(file, '{ "base_model": "m", "dataset": { "train": "t" },\n "sweep": {\n  "lora.r": [4, -1] } }');
  assert.throws(() => readExperimentFile(file), (error: LabError) => { assert.match(error.report.where!, /^line 3, sweep.lora.r/); return true; });
  const { properties } = JSON.parse(readFileSync(built('schemas/experiment.schema.json'), 'utf8')) as { properties: { sweep: { properties: Record<string, { items?: { minimum?: number }; description: string }> } } };
  for (const key of SWEEP_KEYS) assert.ok(properties.sweep.properties[key].description, key);
  assert.equal(properties.sweep.properties['lora.r'].items!.minimum, 1);
}));
