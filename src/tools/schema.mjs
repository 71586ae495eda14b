/** Writes the JSON schemas for `*.lora.json` and `adapter_config.json`, made from the tables in src/protocol/experiment.ts and loraFields.ts. */
import { build } from 'esbuild';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Writes `experiment.schema.json` and `adapter_config.schema.json` into `outDir`. */
export async function writeSchemas(outDir) {
  const { SETTINGS, SECTIONS, LORA_FIELDS, SWEEP_KEYS, SWEEP_DOCS } = await loadSettings();
  mkdirSync(outDir, { recursive: true });
  const schemas = { 'experiment.schema.json': experimentSchema(SETTINGS, SECTIONS, LORA_FIELDS, sweepSchema(SETTINGS, SWEEP_KEYS, SWEEP_DOCS)), 'adapter_config.schema.json': adapterSchema(SETTINGS) };
  for (const [name, schema] of Object.entries(schemas)) writeFileSync(join(outDir, name), `${JSON.stringify(schema, null, 2)}\n`);
}

/** Accepts what `parseExperiment` accepts. */
export function experimentSchema(settings, sections, loraFields, sweep) {
  const { properties, required } = objectOf(settings.experiment);
  const inner = Object.fromEntries(sections.map(name => {
    const object = objectOf(settings[name]);
    if (name === 'lora') object.properties = { ...object.properties, ...unusedProperties(loraFields) };
    // `"lora": null` trains the whole model; in other sections null stands for all defaults, where there are some.
    return [name, { type: object.required.length ? 'object' : ['object', 'null'], additionalProperties: false, ...object }];
  }));
  return {
    $schema: 'http://json-schema.org/draft-07/schema#', title: 'LoRA experiment', type: 'object', allowComments: true, allowTrailingCommas: true,
    properties: { $schema: { type: 'string' }, ...properties, ...inner, sweep }, required: [...required, 'dataset'], additionalProperties: false,
    ...withoutAdapter(),
    defaultSnippets: [{
      label: 'LoRA experiment',
      body: {
        base_model: '${1:model}', task: 'SEQ_CLS', dataset: { train: '${2:train.jsonl}', eval: '${3:eval.jsonl}' },
        lora: { r: 8, lora_alpha: 16, target_modules: ['query', 'value'] }, training: { num_train_epochs: 3, learning_rate: 5e-4 }, output_dir: '${4:runs/first}',
      },
    }],
  };
}

/** What `"lora": null` leaves no meaning to: LoRA+, precisions of frozen layers, and sweeps over keys of the adapter. */
function withoutAdapter() {
  const only = (section, properties) => ({ [section]: { properties } });
  const none = message => ({ enum: [null], errorMessage: message });
  const sweepKeys = { propertyNames: { not: { pattern: '^(lora\\.|training\\.loraplus_lr_ratio$)' } } };
  return {
    if: { properties: { lora: { type: 'null' } }, required: ['lora'] },
    then: {
      properties: {
        ...only('training', { loraplus_lr_ratio: none('There are no A and B where "lora" is null: remove this key.') }),
        ...only('engine', { precision: { enum: ['fp32'], errorMessage: 'No layer is frozen where "lora" is null, and only frozen ones can be rounded: write "fp32".' } }),
        sweep: { ...sweepKeys, properties: { members: { items: sweepKeys } } },
      },
    },
  };
}

/** PEFT's other keys: an experiment may hold them at the values that stand for "not used". Completion does not offer them. */
function unusedProperties(fields) {
  return Object.fromEntries(Object.entries(fields).map(([key, { default: value, also = [], instead }]) => {
    const doc = `A key of PEFT that has no effect here. If it has another value: ${instead}.`;
    return [key, { enum: [...new Set([value, ...also, null])], doNotSuggest: true, errorMessage: `This value is not supported: ${instead}.`, description: doc, markdownDescription: doc }];
  }));
}

/** Lists of values by key, or a list of members. */
function sweepSchema(settings, keys, docs) {
  const described = (schema, doc) => ({ ...schema, description: doc, markdownDescription: doc });
  const values = Object.fromEntries(keys.map(key => {
    const [section, name] = key.split('.');
    const { default: _, ...property } = propertyOf(settings[section][name]);
    return [key, property];
  }));
  const lists = Object.fromEntries(Object.entries(values).map(([key, { description, markdownDescription, ...items }]) => [key, { type: 'array', items, minItems: 1, description, markdownDescription }]));
  const whole = (minimum, standard) => ({ type: 'integer', minimum, default: standard });
  const halving = { type: ['object', 'null'], properties: { eta: described(whole(2, 2), docs.eta), min_epochs: described(whole(1, 1), docs.min_epochs) }, additionalProperties: false };
  const members = { type: 'array', items: { type: 'object', properties: values, additionalProperties: false }, minItems: 2 };
  return described({ type: ['object', 'null'], properties: { ...lists, members: described(members, docs.members), halving: described(halving, docs.halving) }, additionalProperties: false }, docs.sweep);
}

/** PEFT writes more keys than an experiment has; those are left to PEFT. */
export function adapterSchema(settings) {
  const { init_adapter: _, ...lora } = settings.lora;
  const { properties } = objectOf(lora);
  // PEFT also knows values that this extension does not train with; an adapter file that has them is still right.
  properties.init_lora_weights = { ...properties.init_lora_weights, anyOf: undefined, type: ['boolean', 'string'] };
  for (const property of Object.values(properties)) delete property.default;
  return {
    $schema: 'http://json-schema.org/draft-07/schema#', title: 'PEFT LoRA adapter', type: 'object',
    properties: {
      peft_type: { type: 'string', markdownDescription: 'Kind of adapter; `LORA` here.' },
      task_type: { type: ['string', 'null'], markdownDescription: 'Task that the adapter was trained for, e.g. `SEQ_CLS`.' },
      base_model_name_or_path: { type: ['string', 'null'], markdownDescription: 'The base model: a folder or a name on the Hugging Face Hub.' },
      fan_in_fan_out: { type: 'boolean', markdownDescription: 'True if the base stores weights as [in, out], as GPT-2 does.' },
      ...properties,
    },
    required: ['peft_type'],
  };
}

function objectOf(table) {
  return {
    properties: Object.fromEntries(Object.entries(table).map(([key, setting]) => [key, propertyOf(setting)])),
    required: Object.entries(table).filter(([, setting]) => setting.default === undefined).map(([key]) => key),
  };
}

function propertyOf(setting) {
  const range = Object.fromEntries(['minimum', 'exclusiveMinimum', 'maximum'].filter(key => setting[key] !== undefined).map(key => [key, setting[key]]));
  const names = { anyOf: [{ type: 'string', minLength: 1 }, { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1 }, { type: 'null' }] };
  const nullable = type => (setting.nullable ? { type: [type, 'null'] } : { type });
  const kinds = {
    text: () => ({ ...nullable('string'), minLength: 1 }),
    boolean: () => nullable('boolean'),
    integers: () => ({ anyOf: [{ type: 'integer', ...range }, { type: 'array', items: { type: 'integer', ...range }, minItems: 1 }, { type: 'null' }] }),
    choice: () => {
      const listed = { enum: setting.nullable ? [...setting.choices, null] : setting.choices };
      return setting.pattern ? { anyOf: [listed, { type: 'string', pattern: setting.pattern }] } : listed;
    },
    choices: () => ({ type: 'array', items: { enum: setting.choices, markdownEnumDescriptions: setting.choice_docs } }),
    number: () => ({ ...nullable('number'), ...range }),
    integer: () => ({ ...nullable('integer'), ...range }),
    tokens: () => { const list = { type: 'array', items: { type: 'integer', minimum: 0 } }; return { anyOf: [list, { type: 'object', additionalProperties: list }, { type: 'null' }] }; },
    names: () => names,
    overrides: () => ({ type: 'object', additionalProperties: { type: 'number', ...range } }),
  };
  const standard = setting.default === undefined ? {} : { default: setting.default };
  const doc = [setting.doc, ...(setting.choice_docs ?? []).map((text, i) => `- \`${setting.choices[i]}\`: ${text}`)].join('\n');
  return { ...kinds[setting.type](), ...standard, description: setting.doc, markdownDescription: doc };
}

/** The tables are TypeScript; they are bundled in memory and imported. */
async function loadSettings() {
  const result = await build({ stdin: { contents: "export * from './experiment'; export * from './loraFields'; export * from './sweep';", resolveDir: join(root, 'src/protocol') }, bundle: true, write: false, format: 'esm', platform: 'neutral', logLevel: 'silent' });
  return import(`data:text/javascript;base64,${Buffer.from(result.outputFiles[0].text).toString('base64')}`);
}
