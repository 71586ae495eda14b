/**
 * LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) as PEFT defines it: which modules get an adapter, how many
 * parameters are trained. y = x Wᵀ + (lora_alpha / r) · (x Aᵀ) Bᵀ.
 */
import { isSavedBy } from '../../protocol/adapterMath';
import type { LoraSettings } from '../../protocol/experiment';
import { LabError } from '../errors';
import { factorSuffixes } from './factors';
import { checkStart, startsFromBase } from './startFactors';
import { isInside, matchTargets, UNTIED, type AdaptableModule, type PlanOptions } from './targets';
import type { AdaptedModule, AdapterPlan, Trainable } from './lora.types';
import { CLASSIFIER_HEADS } from './adapterConfig';
import { OUTPUT_LAYER, TOKENS_KEY, trainedTokens } from './trainedTokens';
import type { LoadedModel } from './weights';
import type { ParameterSpec } from './family';

export { initialTrainables } from './loraStart';

const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The linear layers and embeddings of a model that adapters could be put on. */
export function adaptableModules(parameters: readonly ParameterSpec[]): AdaptableModule[] {
  return parameters.filter(p => p.kind === 'linear' || p.kind === 'embedding').flatMap(({ name, kind, modules, shape: [rows, columns], fan_in_fan_out = false, output = false }): AdaptableModule | AdaptableModule[] => {
    if (kind === 'linear') return { name: moduleOf(name), fan_in_fan_out, output, in_features: fan_in_fan_out ? rows : columns, out_features: fan_in_fan_out ? columns : rows };
    const table = { fan_in_fan_out: true, embedding: true as const, ...(output ? { tied: true as const } : {}), in_features: rows, out_features: columns };
    return modules ? modules.map(module => ({ ...table, name: module, weight: name })) : { ...table, name: moduleOf(name) };
  });
}

/** Modules that hold a parameter which others read in their place, with the names of those. */
const unreadModules = (parameters: readonly ParameterSpec[]): Map<string, readonly string[]> => new Map(parameters.flatMap(({ name, modules }) => (modules ? [[moduleOf(name), modules] as const] : [])));

/** The tensors of one adapter, by the end of their key in `adapter_model.safetensors`. */
export function adapterTensors({ in_features, out_features, r, embedding }: AdaptedModule, lora: Pick<LoraSettings, 'use_dora' | 'lora_bias'>): [suffix: string, shape: number[]][] {
  const { A, B } = factorSuffixes(embedding);
  return [
    [A, [r, in_features]],
    [B, [out_features, r]],
    ...(lora.lora_bias ? [['lora_B.bias', [out_features]] as [string, number[]]] : []),
    // Unlike the others a plain parameter to PEFT, so no `.weight`.
    ...(lora.use_dora ? [['lora_magnitude_vector', [out_features]] as [string, number[]]] : []),
  ];
}

/** The biases that `bias` adds to what is trained, parameter name → key without prefix: PEFT wraps an adapted layer as `base_layer`. */
export function trainedBiases(parameters: readonly ParameterSpec[], adapted: readonly string[], saved: readonly string[], bias: LoraSettings['bias']): Map<string, string> {
  const trained = new Map<string, string>();
  for (const { name } of parameters) {
    const module = moduleOf(name);
    if (bias === 'none' || !name.endsWith('.bias') || saved.includes(module)) continue;
    if (adapted.includes(module)) trained.set(name, `${module}.base_layer.bias`);
    else if (bias === 'all') trained.set(name, name);
  }
  return trained;
}

/** Resolves `lora` against the model. Throws LabError for targets that match nothing, ranks that are too large, and keys that exclude each other. */
export function planAdapter(model: Pick<LoadedModel, 'family' | 'config' | 'parameters' | 'task'>, lora: LoraSettings, { stored = false }: PlanOptions = {}): AdapterPlan {
  if (lora.full) return wholeModel(model.parameters);
  checkCombination(lora);
  const heads = model.family.headModules(model.task);
  const modules_to_save = savedModules(model.parameters, lora.modules_to_save, heads, stored);
  const whole = [...heads, ...(lora.modules_to_save === null ? [] : [lora.modules_to_save].flat())];
  const candidates = adaptableModules(model.parameters).filter(m => !whole.some(entry => isInside(m.name, entry)));
  checkUnread(lora.target_modules, unreadModules(model.parameters));
  const modules = matchTargets(candidates, lora, model.family.default_target_modules, heads, { stored });
  checkStart(lora, modules);
  checkEmbeddings(lora, modules);

  const trainables: Trainable[] = [];
  let offset = 0;
  const add = (name: string, shape: number[], decay: boolean, parameter?: string): void => {
    trainables.push({ name: `base_model.model.${name}`, shape, offset, size: count(shape), decay, ...(parameter === undefined ? {} : { parameter }) });
    offset += count(shape);
  };
  for (const module of modules) {
    for (const [suffix, shape] of adapterTensors(module, lora)) add(`${module.name}.${suffix}`, shape, !suffix.endsWith('.bias'));
  }
  const tokens = trainedTokens(model, lora.trainable_token_indices, [...modules.map(m => m.name), ...modules_to_save]);
  for (const { name, indices, shape } of tokens) add(`${name}.${TOKENS_KEY}`, [indices.length, shape[1]], true);
  // Trainer decays everything but biases and the parameters of norms.
  for (const p of model.parameters.filter(p => modules_to_save.includes(moduleOf(p.name)))) add(p.name, p.shape, p.kind === 'linear' || p.kind === 'embedding', p.name);
  const added = offset;
  const biases = trainedBiases(model.parameters, modules.map(m => m.name), modules_to_save, lora.bias);
  for (const p of model.parameters) if (biases.has(p.name)) add(biases.get(p.name)!, p.shape, false, p.name);
  const base = model.parameters.reduce((sum, p) => sum + count(p.shape), 0);
  return { modules, modules_to_save, tokens, trainables, trainable_parameters: offset, all_parameters: base + added, ...(startsFromBase(lora.init_lora_weights) ? { subtracts_start: true } : {}) };
}

/** Every parameter is trained. Trainer decays none with "bias" in its name, which T5's relative attention bias has too. */
function wholeModel(parameters: readonly ParameterSpec[]): AdapterPlan {
  let offset = 0;
  const trainables = parameters.map(({ name, shape, kind }): Trainable => {
    const size = count(shape);
    offset += size;
    return { name, parameter: name, shape, offset: offset - size, size, decay: (kind === 'linear' || kind === 'embedding') && !name.includes('bias') };
  });
  return { modules: [], modules_to_save: [], trainables, full: true, trainable_parameters: offset, all_parameters: offset };
}

const moduleOf = (parameter: string): string => parameter.slice(0, parameter.lastIndexOf('.'));

/** An entry of `modules_to_save` for embeddings that are the output layer too, or for that layer. */
const tiedSave = (entry: string): LabError => new LabError({
  code: 'lora.modules-to-save', where: 'lora.modules_to_save', cause: `"${entry}" is embeddings and output layer in one (tie_word_embeddings), of which only one use would be trained`, action: `remove it from modules_to_save, or ${UNTIED}`,
});

/** Error `lora.modules-to-save`: an output layer that is the embeddings is among the `entries`. */
export function checkSavedOutput(parameters: readonly ParameterSpec[], entries: readonly string[]): void {
  const entry = parameters.some(isTiedTable) ? entries.find(one => isSavedBy(OUTPUT_LAYER, one)) : undefined;
  if (entry !== undefined) throw tiedSave(entry);
}

const isTiedTable = ({ kind, output }: ParameterSpec): boolean => kind === 'embedding' && output === true;

function savedModules(parameters: readonly ParameterSpec[], asked: string | string[] | null, heads: string[], stored: boolean): string[] {
  const entries = [...new Set([...heads, ...(asked === null ? [] : [asked].flat())])];
  const modules = [...new Set(parameters.map(p => moduleOf(p.name)))];
  return [...new Set(entries.flatMap(entry => {
    // An entry may name a module that holds others, such as a whole pooler.
    const matched = modules.filter(name => isSavedBy(name, entry));
    const tied = parameters.some(p => isTiedTable(p) && (matched.includes(moduleOf(p.name)) || isSavedBy(OUTPUT_LAYER, entry)));
    if (tied) throw tiedSave(entry);
    const fixed = parameters.find(p => p.fixed !== undefined && matched.includes(moduleOf(p.name)));
    if (fixed) throw new LabError({ code: 'lora.modules-to-save', where: 'lora.modules_to_save', cause: `"${entry}" cannot be trained whole: ${fixed.fixed}`, action: 'remove it from modules_to_save' });
    // PEFT lists both usual names of a head in adapter_config.json, from where people copy them.
    if (matched.length || stored || CLASSIFIER_HEADS.includes(entry)) return matched;
    throw new LabError({ code: 'lora.modules-to-save', where: 'lora.modules_to_save', cause: `"${entry}" is no module of this model`, action: `name one of: ${modules.slice(-6).join(', ')}` });
  }))];
}

/** Error `lora.target-unread`: PEFT would put an adapter there that no forward pass reads. */
function checkUnread(targets: LoraSettings['target_modules'], unread: ReadonlyMap<string, readonly string[]>): void {
  for (const [name, readers] of unread) {
    if (!Array.isArray(targets) || !targets.includes(name)) continue;
    throw new LabError({ code: 'lora.target-unread', where: 'lora.target_modules', cause: `an adapter on "${name}" would never be read: the model uses these embeddings as ${readers.join(' and ')}`, action: `name "${readers[0].split('.').pop()}"` });
  }
}

/** Error `lora.combination` for what PEFT does not do on embeddings. */
function checkEmbeddings({ lora_bias }: LoraSettings, modules: readonly AdaptedModule[]): void {
  const embedding = modules.find(module => module.embedding);
  if (!embedding || !lora_bias) return;
  throw new LabError({ code: 'lora.combination', where: 'lora.lora_bias', cause: `cannot be used on ${embedding.name}, which is an embedding (PEFT neither)`, action: 'turn lora_bias off, or take the embedding out of target_modules' });
}

/** Error `lora.combination` for keys that LoraConfig does not take together. */
function checkCombination({ lora_bias, use_dora, init_lora_weights }: LoraSettings): void {
  if (!lora_bias) return;
  const problem = (cause: string): LabError => new LabError({ code: 'lora.combination', where: 'lora.lora_bias', cause, action: 'turn one of the two off' });
  if (use_dora) throw problem('lora_bias and use_dora cannot be used together');
  if (typeof init_lora_weights === 'string') throw problem(`lora_bias cannot be used with init_lora_weights "${init_lora_weights}"`);
}
