/** The experiment file: what is accepted, what is refused and how, and that file, parser and schema say the same. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { planSchedule } from '../../src/engine/training/schedule';
import { parseExperiment, PRECISIONS, settingAt, SETTINGS } from '../../src/protocol/experiment';
import { SAVING_NAMES, SAVINGS } from '../../src/protocol/savings';
import { settingTitle } from '../../src/extension/hoverText';
import { parseSweep, SWEEP_KEYS } from '../../src/protocol/sweep';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { settings } from '../support/tinyModel';

const MINIMAL = { base_model: 'model', dataset: { train: 'train.jsonl' } };

test('defaults fill what is left out, and are those of LoraConfig and TrainingArguments', () => {
  const { experiment } = parseExperiment(MINIMAL);
  const { lora, training } = experiment!;
  assert.deepEqual([lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules, lora.bias], [8, 8, 0, null, 'none']);
  assert.deepEqual([training.per_device_train_batch_size, training.num_train_epochs, training.max_steps, training.learning_rate, training.max_grad_norm, training.seed], [8, 3, -1, 5e-5, 1, 42]);
});

test('every wrong value is a problem that names its key, the value and what is possible', () => {
  const wrong: [object, string, RegExp][] = [
    [{ lora: { r: 0 } }, 'lora.r', /is 0.*at least 1/], [{ lora: { r: 2.5 } }, 'lora.r', /is 2.5.*whole number/], [{ lora: { r: '8' } }, 'lora.r', /is "8"/],
    [{ lora: { lora_alpha: 0 } }, 'lora.lora_alpha', /is 0.*above 0/], [{ lora: { lora_alpha: null } }, 'lora.lora_alpha', /null/], [{ lora: { lora_dropout: 1 } }, 'lora.lora_dropout', /at most 0.99/],
    [{ lora: { target_modules: [] } }, 'lora.target_modules', /list of module names/], [{ lora: { target_modules: [3] } }, 'lora.target_modules', /list of module names/],
    [{ lora: { rank_pattern: { query: 0 } } }, 'lora.rank_pattern', /module name/], [{ lora: { bias: 'some' } }, 'lora.bias', /"none", "all"/], [{ lora: { use_dora: 1 } }, 'lora.use_dora', /true or false/], [{ lora: { init_lora_weights: 'loftq' } }, 'lora.init_lora_weights', /true, false, "gaussian"/],
    [{ lora: { layers_to_transform: [1, -1] } }, 'lora.layers_to_transform', /at least 0 or a list/], [{ lora: { layers_to_transform: [] } }, 'lora.layers_to_transform', /list/], [{ lora: { use_qalora: true } }, 'lora.use_qalora', /not supported.*PEFT in Python/],
    [{ training: { loraplus_lr_ratio: 0 } }, 'training.loraplus_lr_ratio', /above 0/],
    [{ training: { learning_rate: -1 } }, 'training.learning_rate', /above 0/], [{ training: { lr_scheduler_type: 'polynomial' } }, 'training.lr_scheduler_type', /"linear", "cosine"/],
    [{ training: { learning_rat: 1 } }, 'training.learning_rat', /did you mean "learning_rate"/], [{ dataset: { train: 'a', label: 'b' } }, 'dataset.label', /unknown key/],
    [{ learning_rate: 1e-3 }, 'learning_rate', /write it within "training"/], [{ training: { r: 8 } }, 'training.r', /within "lora"/], [{ training: { output_dir: 'runs/a' } }, 'training.output_dir', /at the top of the file/], [{ arguments: {} }, 'arguments', /known keys: base_model, .*lora, training/],
    [{ task: 'QUESTION_ANS' }, 'task', /"SEQ_CLS"/], [{ training: 5 }, 'training', /not an object/], [{ lora: null, training: { loraplus_lr_ratio: 4 } }, 'training.loraplus_lr_ratio', /there are no A and B/], [{ lora: null, engine: { precision: 'int8' } }, 'engine.precision', /"int8".*"lora" is null.*"fp32"/], [{ engine: { device: 'tpu' } }, 'engine.device', /"auto", "cpu"/],
    [{ engine: { without: ['portions', 'paddingfree'] } }, 'engine.without', /did you mean "padding_free" instead of "paddingfree"/], [{ engine: { without: ['speed'] } }, 'engine.without', /a list of some of "padding_free", /],
    [{ engine: { threads: 0 } }, 'engine.threads', /is 0.*whole number at least 1/], [{ engine: { threads: 1.5 } }, 'engine.threads', /is 1.5.*whole number at least 1/], [{ engine: { threads: '4' } }, 'engine.threads', /is "4".*whole number/], [{ training: { threads: 2 } }, 'training.threads', /within "engine"/],
    [{ engine: { without: 'portions' } }, 'engine.without', /a list of some of/], [{ engine: { without: null } }, 'engine.without', /a list of some of/],
  ];
  for (const [change, key, says] of wrong) {
    const { problems } = parseExperiment({ ...MINIMAL, ...change });
    const problem = problems.find(({ path }) => path.join('.') === key);
    assert.ok(problem, `${key}: ${JSON.stringify(problems)}`);
    assert.match(`${problem.cause} ${problem.action}`, says, key);
  }
  assert.deepEqual(parseExperiment({ ...MINIMAL, lora: null, training: { packing: true }, engine: { precision: 'fp32' } }).problems, []);
  for (const nothing of [null, 3, [], 'x']) assert.equal(parseExperiment(nothing).problems.length, 1);
  assert.deepEqual(parseExperiment({}).problems.map(({ path }) => path.join('.')), ['base_model', 'dataset.train']);
});

test('a key that JavaScript treats specially is an unknown key like any other', () => {
  const json = JSON.parse('{"base_model": "m", "dataset": {"train": "t"}, "lora": {"__proto__": {"r": 1}, "constructor": 2}}') as object;
  assert.deepEqual(parseExperiment(json).problems.map(({ path }) => path.join('.')), ['lora.__proto__', 'lora.constructor']);
  assert.equal(({} as { r?: number }).r, undefined);
  for (const path of [['constructor'], ['lora', '__proto__'], ['__proto__', 'r']]) assert.equal(settingAt(path), undefined);
});

test('comments and trailing commas are fine; errors name the line', () => inTemporaryFolder(folder => {
  const file = join(folder, 'my.lora.json');
  const read = (text: string) => { writeFileSync(file, text); return readExperimentFile(file); };
  const good = read('\uFEFF// about\n{\n  "base_model": "model", /* here */\n  "dataset": { "train": "t.csv" },\n}');
  assert.deepEqual([good.name, good.experiment.dataset.train, good.resolve('model'), good.gives('base_model'), good.gives('lora.r')], ['my', 't.csv', join(folder, 'model'), true, false]);
  const refused = (text: string): LabError['report'] => { try { read(text); } catch (error) { assert.ok(error instanceof LabError); return error.report; } return assert.fail(text); };
  assert.match(refused('{\n "base_model": \n}').where!, /^line 3/);
  assert.deepEqual([refused('').code, refused(' \n').cause], ['experiment.not-json', 'is not valid JSON: the file is empty']);
  const unseparated = refused('{\n "base_model": "m"\n "task": "SEQ_CLS"\n}');
  assert.deepEqual([unseparated.where, unseparated.cause], ['line 3, column 2', 'is not valid JSON: comma expected']);
  const twice = refused('{\n "base_model": "m",\n "training": { "max_steps": 1 },\n "lora": { "r": 4,\n  "r": 8 },\n "training": {}\n}');
  assert.deepEqual([twice.where, twice.cause], ['line 6, training', 'is given a second time, and one of the two would not count']);
  const { where, cause } = refused('{\n "base_model": "m",\n "dataset": { "train": "t" },\n "lora": {\n  "r": 0,\n  "lora_alpha": -2\n }\n}');
  assert.equal(where, 'line 5, lora.r');
  assert.match(cause, /1 more problem/);
}));

test('the schema knows every key, with its default and range', () => {
  const schema = JSON.parse(readFileSync(built('schemas/experiment.schema.json'), 'utf8')) as { properties: Record<string, { properties?: Record<string, Record<string, unknown>> }>; required: string[] };
  for (const [section, keys] of Object.entries(SETTINGS)) {
    const properties = section === 'experiment' ? schema.properties as Record<string, Record<string, unknown>> : schema.properties[section].properties!;
    for (const [key, setting] of Object.entries(keys as Record<string, { default: unknown; minimum?: number; doc: string }>)) {
      assert.ok(properties[key], `${section}.${key}`);
      if (setting.default !== undefined) assert.deepEqual(properties[key].default, setting.default, key);
      if (setting.minimum !== undefined) assert.match(JSON.stringify(properties[key]), new RegExp(`"minimum":${setting.minimum}`), key);
    }
  }
});

test('the schema offers the names of savings and says what each is', () => {
  const { properties } = JSON.parse(readFileSync(built('schemas/experiment.schema.json'), 'utf8')) as { properties: { engine: { properties: { without: { items: { enum: string[]; markdownEnumDescriptions: string[] }; markdownDescription: string } } } } };
  const { items, markdownDescription } = properties.engine.properties.without;
  assert.deepEqual(items.enum, SAVING_NAMES);
  for (const name of SAVING_NAMES) assert.ok(markdownDescription.includes(`\`${name}\`: ${SAVINGS[name].doc}`), name);
  assert.equal(items.markdownEnumDescriptions[3], SAVINGS.portions.doc);
  assert.deepEqual(parseExperiment({ ...MINIMAL, engine: { without: ['portions'] } }).experiment!.engine.without, ['portions']);
  assert.match(settingTitle(['engine', 'without'])!, /list of names · default `\[\]`/);
});

test('where "lora" is null the schema takes no more than the parser', () => {
  interface Schema { if: unknown; then: { properties: Record<string, { properties: Record<string, { enum?: unknown[]; items?: Keys }>; propertyNames: Keys['propertyNames'] }> } }
  interface Keys { propertyNames: { not: { pattern: string } } }
  const schema = JSON.parse(readFileSync(built('schemas/experiment.schema.json'), 'utf8')) as Schema;
  assert.deepEqual(schema.if, { properties: { lora: { type: 'null' } }, required: ['lora'] });
  const { training, engine, sweep } = schema.then.properties;
  const parses = (part: object): boolean => parseExperiment({ base_model: 'm', dataset: { train: 't' }, lora: null, ...part }).problems.length === 0;
  for (const loraplus_lr_ratio of [null, 16]) assert.equal(training.properties.loraplus_lr_ratio.enum!.includes(loraplus_lr_ratio), parses({ training: { loraplus_lr_ratio } }));
  for (const precision of PRECISIONS) assert.equal(engine.properties.precision.enum!.includes(precision), parses({ engine: { precision } }));
  for (const key of SWEEP_KEYS) {
    for (const names of [sweep, sweep.properties.members.items!]) {
      const taken = parseSweep({ lora: null, sweep: { [key]: [1, 2] } }).problems.every(({ cause }) => !cause.includes('"lora" is null'));
      assert.equal(!new RegExp(names.propertyNames.not.pattern).test(key), taken, key);
    }
  }
});

test('steps and learning rates follow Trainer', () => {
  const plan = (training: object, examples = 10) => planSchedule(examples, settings({}, { learning_rate: 1, per_device_train_batch_size: 3, ...training }).training);
  const epochs = plan({ num_train_epochs: 2.5, gradient_accumulation_steps: 3 });
  assert.deepEqual([epochs.batches_per_epoch, epochs.steps_per_epoch, epochs.total_steps, epochs.epochs], [4, 2, 5, 3]);
  assert.equal(plan({ max_steps: 7, num_train_epochs: 1 }).total_steps, 7);
  const rates = (training: object) => Array.from({ length: 4 }, (_, i) => plan({ max_steps: 4, ...training }).learningRate(i + 1));
  assert.deepEqual(rates({}), [1, 0.75, 0.5, 0.25]);
  assert.deepEqual(rates({ warmup_steps: 2 }), [0, 0.5, 1, 0.5]);
  assert.deepEqual(rates({ warmup_steps: 0.3 }), [0, 0.5, 1, 0.5], 'a share of all steps is rounded up');
  assert.deepEqual(rates({ lr_scheduler_type: 'constant', warmup_steps: 2 }), [1, 1, 1, 1]);
  assert.deepEqual(rates({ lr_scheduler_type: 'constant_with_warmup', warmup_steps: 2 }), [0, 0.5, 1, 1]);
  rates({ lr_scheduler_type: 'cosine' }).forEach((rate, i) => assert.ok(Math.abs(rate - 0.5 * (1 + Math.cos((Math.PI * i) / 4))) < 1e-12));
});
