/** Every field of PEFT's LoraConfig (test/fixtures/make_lora_fields.py) is honoured or refused by name, in an experiment and in an adapter. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { settingsFromAdapter } from '../../src/engine/model/adapterConfig';
import { parseExperiment, SETTINGS, type LoraSettings } from '../../src/protocol/experiment';
import { LORA_FIELDS } from '../../src/protocol/loraFields';
import { built, fixture } from '../support/paths';

interface Field { name: string; default: unknown; stored: boolean }
const { peft, fields } = JSON.parse(readFileSync(fixture('peft_lora_fields.json'), 'utf8')) as { peft: string; fields: Field[] };

/** A possible value of each supported key that is not the default. */
const OTHER: Partial<Record<keyof LoraSettings, unknown>> = {
  r: 3, lora_alpha: 5, use_rslora: true, use_dora: true, lora_dropout: 0.25, target_modules: ['key'], exclude_modules: ['value'], layers_to_transform: [1], layers_pattern: 'layer',
  rank_pattern: { key: 2 }, alpha_pattern: { key: 2 }, modules_to_save: ['pooler'], bias: 'all', lora_bias: true, init_lora_weights: false, trainable_token_indices: { wte: [4] },
};
const base = { peft_type: 'LORA', task_type: 'SEQ_CLS' };
const adapterDefaults = { ...Object.fromEntries(fields.filter(field => field.stored).map(field => [field.name, field.default])), ...base };
/** Some value of another kind than "off". */
const another = (value: unknown): unknown => (typeof value === 'boolean' ? !value : typeof value === 'number' ? value + 1 : typeof value === 'string' ? `${value}-other` : { other: 1 });
const parse = (lora: object) => parseExperiment({ base_model: 'model', dataset: { train: 'train.jsonl' }, lora });

test(`the two tables together are LoraConfig of PEFT ${peft}`, () => {
  const known = [...Object.keys(SETTINGS.lora).filter(key => key !== 'init_adapter'), ...Object.keys(LORA_FIELDS)];
  assert.deepEqual(known.sort(), fields.map(field => field.name).sort());
  for (const { name, default: value } of fields) {
    const own = Object.hasOwn(LORA_FIELDS, name) ? LORA_FIELDS[name].default : (SETTINGS.lora as unknown as Record<string, { default: unknown }>)[name].default;
    assert.deepEqual(own, value, name);
  }
});

for (const { name, default: value, stored } of fields) {
  const supported = Object.hasOwn(SETTINGS.lora, name);
  test(`${name} in an experiment is ${supported ? 'honoured' : 'refused unless it is the default'}`, () => {
    assert.ok(parse({ [name]: value }).experiment, `the default of ${name}`);
    if (supported) {
      const other = OTHER[name as keyof LoraSettings];
      assert.ok(other !== undefined, 'OTHER lacks it');
      assert.deepEqual((parse({ [name]: other }).experiment!.lora as Record<string, unknown>)[name], other);
      return;
    }
    const { experiment, problems } = parse({ [name]: another(value) });
    // The one key whose value PEFT corrects by itself.
    if (name === 'fan_in_fan_out') return assert.ok(experiment);
    assert.deepEqual(problems.map(problem => problem.path), [['lora', name]]);
    assert.match(problems[0].cause, /is not supported/);
  });

  if (stored) test(`${name} in an adapter is honoured, refused, or without effect`, () => {
    assert.ok(settingsFromAdapter(adapterDefaults));
    if (supported) {
      const other = OTHER[name as keyof LoraSettings];
      assert.deepEqual((settingsFromAdapter({ ...adapterDefaults, [name]: other }) as Record<string, unknown>)[name], other);
    } else if (LORA_FIELDS[name].inert) {
      assert.deepEqual(settingsFromAdapter({ ...adapterDefaults, [name]: another(value) }), settingsFromAdapter(adapterDefaults));
    } else {
      assert.throws(() => settingsFromAdapter({ ...adapterDefaults, [name]: another(value) }), (error: unknown) => error instanceof LabError && error.report.code === 'adapter.unsupported' && error.report.where === name);
    }
  });
}

test('a key of a later PEFT is refused unless it is off', () => {
  assert.ok(settingsFromAdapter({ ...adapterDefaults, use_something_new: false, new_config: null }));
  assert.throws(() => settingsFromAdapter({ ...adapterDefaults, use_something_new: true }), (error: unknown) => error instanceof LabError && error.report.where === 'use_something_new');
});

const { properties: { lora: schema, ...sections } } = JSON.parse(readFileSync(built('schemas/experiment.schema.json'), 'utf8')) as { properties: Record<string, { type: string | string[]; properties: Record<string, { enum?: unknown[] }> }> };

test('the schema underlines a key of LoraConfig exactly where the parser refuses it', () => {
  for (const { name, default: value } of fields) {
    const property = schema.properties[name];
    assert.ok(property, `the schema calls ${name} unknown`);
    if (Object.hasOwn(SETTINGS.lora, name)) continue;
    for (const candidate of [value, null, 'LORA', true, false, {}, 16, another(value)]) {
      const allowed = property.enum!.some(possible => JSON.stringify(possible) === JSON.stringify(candidate));
      assert.equal(allowed, parse({ [name]: candidate }).experiment !== undefined, `${name}: ${JSON.stringify(candidate)}`);
    }
  }
});

test('a section that may be null for the parser may be null in the schema', () => {
  for (const [name, section] of Object.entries({ lora: schema, training: sections.training, engine: sections.engine, dataset: sections.dataset })) {
    const accepted = parseExperiment({ base_model: 'model', dataset: { train: 'train.jsonl' }, [name]: null }).experiment !== undefined;
    assert.equal([section.type].flat().includes('null'), accepted, name);
  }
});
