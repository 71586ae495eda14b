/** `adapter_config.json`: the keys of PEFT's LoraConfig, and which of their values this engine can honour. */
import { LabError } from '../errors';
import { isSavedBy } from '../../protocol/adapterMath';
import { LORA_FIELDS } from '../../protocol/loraFields';
import { BIASES, hasClasses, SETTINGS, TASKS, type LoraSettings } from '../../protocol/experiment';
import { isInside } from './targets';
import type { AdapterPlan } from './lora.types';

export type AdapterConfig = Record<string, unknown>;

/** PEFT looks for the head of a classifier of texts or words under these names and always lists both. */
export const CLASSIFIER_HEADS = ['classifier', 'score'];

/** Ways to start A and B that leave the base weights as they are. The others need a changed base. */
const HARMLESS_STARTS = [true, false, 'gaussian', 'orthogonal', 'eva'];

/** Every key that PEFT 0.21 writes beside the settings, with the value that stands for "not used". `runtime_config` is not written. */
const UNUSED: AdapterConfig = Object.fromEntries(Object.entries(LORA_FIELDS).filter(([key]) => key !== 'runtime_config').map(([key, field]) => [key, field.default]));

/** The content of `adapter_config.json` for an adapter trained with `lora`. `frozen` names untrained modules that are stored with it. */
export function adapterConfig(options: { base: string; task: string; lora: LoraSettings; plan: AdapterPlan; defaults: readonly string[]; frozen: readonly string[] }): AdapterConfig {
  const { base, task, lora, plan, defaults, frozen } = options;
  const asked = lora.target_modules ?? [...defaults];
  // PEFT, too, stores the names that all-linear stood for.
  const target_modules = typeof asked === 'string' && asked.toLowerCase() === 'all-linear' ? plan.modules.map(module => module.name) : asked;
  const given = lora.modules_to_save === null ? [] : [lora.modules_to_save].flat();
  const heads = hasClasses(task) ? CLASSIFIER_HEADS : [];
  const modules_to_save = [...new Set([...given, ...heads, ...plan.modules_to_save.filter(name => !given.some(entry => isSavedBy(name, entry)) && !isListed(name, heads)), ...frozen])];
  const config: AdapterConfig = {
    ...UNUSED,
    base_model_name_or_path: base, inference_mode: true, init_lora_weights: lora.init_lora_weights, peft_type: 'LORA', peft_version: '0.21.0', task_type: task,
    r: lora.r, lora_alpha: lora.lora_alpha, lora_dropout: lora.lora_dropout, bias: lora.bias,
    use_rslora: lora.use_rslora, use_dora: lora.use_dora, lora_bias: lora.lora_bias, layers_to_transform: lora.layers_to_transform, layers_pattern: lora.layers_pattern,
    rank_pattern: lora.rank_pattern, alpha_pattern: lora.alpha_pattern, trainable_token_indices: lora.trainable_token_indices,
    fan_in_fan_out: plan.modules.some(module => module.fan_in_fan_out === true && !module.embedding), target_modules, exclude_modules: lora.exclude_modules, modules_to_save: modules_to_save.length ? modules_to_save : null,
  };
  return Object.fromEntries(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const isListed = (name: string, list: readonly string[]): boolean => list.some(entry => isInside(name, entry));

/**
 * The settings that an adapter was trained with. Errors: `adapter.unsupported` for any key whose value changes what the
 * adapter computes in a way that the engine does not support, `adapter.bad-config` for a value of the wrong type.
 */
export function settingsFromAdapter(config: AdapterConfig, file = 'adapter_config.json'): LoraSettings {
  refuse(config, file);
  const known = SETTINGS.lora as Record<string, { default: unknown }>;
  const value = (key: keyof LoraSettings): unknown => config[key] ?? (known[key].default);
  const number = (key: 'r' | 'lora_alpha' | 'lora_dropout', least: number): number => {
    const found = value(key);
    if (typeof found !== 'number' || !(found >= least)) throw badValue(file, key, found);
    return found;
  };
  const flag = (key: 'use_rslora' | 'use_dora' | 'lora_bias'): boolean => {
    const found = value(key);
    if (typeof found !== 'boolean') throw badValue(file, key, found);
    return found;
  };
  const names = (key: 'target_modules' | 'exclude_modules' | 'modules_to_save' | 'layers_pattern'): string | string[] | null => {
    const found = value(key);
    if (found === null || typeof found === 'string' || Array.isArray(found) && found.every(name => typeof name === 'string')) return found as string | string[] | null;
    throw badValue(file, key, found);
  };
  const pattern = (key: 'rank_pattern' | 'alpha_pattern'): Record<string, number> => {
    const found = value(key);
    if (typeof found === 'object' && found !== null && Object.values(found).every(entry => typeof entry === 'number' && entry > 0)) return { ...found } as Record<string, number>;
    throw badValue(file, key, found);
  };
  const layers = value('layers_to_transform');
  if (layers !== null && ![layers].flat().every(layer => Number.isSafeInteger(layer))) throw badValue(file, 'layers_to_transform', layers);
  const bias = BIASES.find(choice => choice === value('bias'));
  if (!bias) throw badValue(file, 'bias', config.bias);
  const saved = names('modules_to_save');
  const others = saved === null ? [] : [saved].flat().filter(name => !hasClasses(String(config.task_type)) || !CLASSIFIER_HEADS.includes(name));
  return {
    r: number('r', 1), lora_alpha: number('lora_alpha', Number.MIN_VALUE), lora_dropout: number('lora_dropout', 0),
    target_modules: withoutSaved(names('target_modules'), saved), exclude_modules: names('exclude_modules'),
    rank_pattern: pattern('rank_pattern'), alpha_pattern: pattern('alpha_pattern'),
    modules_to_save: others.length ? others : null, bias, init_adapter: null, trainable_token_indices: tokensOf(value('trainable_token_indices'), file),
    use_rslora: flag('use_rslora'), use_dora: flag('use_dora'), lora_bias: flag('lora_bias'), init_lora_weights: config.init_lora_weights === false || config.init_lora_weights === 'gaussian' ? config.init_lora_weights : true,
    layers_to_transform: isEmpty(layers) ? null : layers as number | number[] | null, layers_pattern: isEmpty(value('layers_pattern')) ? null : names('layers_pattern'),
  };
}

function tokensOf(value: unknown, file: string): LoraSettings['trainable_token_indices'] {
  const isList = (list: unknown): boolean => Array.isArray(list) && list.every(index => Number.isSafeInteger(index) && index >= 0);
  if (value === null || isEmpty(value)) return null;
  if (isList(value) || typeof value === 'object' && !Array.isArray(value) && Object.values(value as object).every(isList)) return value as LoraSettings['trainable_token_indices'];
  throw badValue(file, 'trainable_token_indices', value);
}

/** PEFT lists the layers of a head of several among the targets of all-linear, although it trains them whole. */
function withoutSaved(targets: string | string[] | null, saved: string | string[] | null): string | string[] | null {
  return Array.isArray(targets) && saved !== null ? targets.filter(name => !isListed(name, [saved].flat())) : targets;
}

function refuse(config: AdapterConfig, file: string): void {
  const unsupported = (key: string, action: string): LabError => new LabError({
    code: 'adapter.unsupported', file, where: key, cause: `${JSON.stringify(config[key])} is not supported`, action,
  });
  if (config.peft_type !== 'LORA') throw unsupported('peft_type', 'use an adapter of type LORA');
  if (config.task_type != null && !(TASKS as readonly unknown[]).includes(config.task_type)) throw unsupported('task_type', `use an adapter trained for one of: ${TASKS.join(', ')}`);
  if (config.init_lora_weights !== undefined && !HARMLESS_STARTS.includes(config.init_lora_weights as never)) {
    throw unsupported('init_lora_weights', 'this start changes the base weights; save the adapter in Python with path_initial_model_for_weight_conversion first');
  }
  const supported = new Set(['peft_type', 'task_type', ...Object.keys(SETTINGS.lora)]);
  for (const [key, value] of Object.entries(config)) {
    if (supported.has(key) || Object.hasOwn(LORA_FIELDS, key) && LORA_FIELDS[key].inert || isUnused(value)) continue;
    throw unsupported(key, 'merge this adapter with PEFT in Python, or train it without this option');
  }
}

/** PEFT writes an option that is off as null, false, or an empty list or object. */
const isUnused = (value: unknown): boolean => value === null || value === false || (typeof value === 'object' && Object.keys(value).length === 0);

/** PEFT takes an empty list or text as not given. */
const isEmpty = (value: unknown): boolean => value === '' || Array.isArray(value) && value.length === 0;

const badValue = (file: string, key: string, value: unknown): LabError => new LabError({
  code: 'adapter.bad-config', file, where: key, cause: `${JSON.stringify(value)} is not a possible value`, action: 'use the adapter_config.json that PEFT wrote for this adapter',
});
