/**
 * LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) as PEFT defines it: which modules get an adapter, how many
 * parameters are trained, and where they start. y = x Wᵀ + (lora_alpha / r) · (x Aᵀ) Bᵀ.
 */
import type { LoraSettings } from '../../protocol/experiment';
import { random } from '../random';
import { LabError } from '../errors';
import { matchTargets, type LinearModule } from './targets';
import { SEQ_CLS_HEADS } from './adapterConfig';
import { readTensor } from './safetensors';
import type { AdapterPlan, Trainable } from './lora.types';
import type { LoadedModel } from './weights';
import type { ParameterSpec } from './family';

const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The linear modules of a model that adapters could be put on. */
export function linearModules(parameters: readonly ParameterSpec[]): LinearModule[] {
  return parameters.filter(p => p.kind === 'linear').map(({ name, shape: [rows, columns], fan_in_fan_out = false, output = false }) => ({
    name: name.replace(/\.weight$/, ''), fan_in_fan_out, output, in_features: fan_in_fan_out ? rows : columns, out_features: fan_in_fan_out ? columns : rows,
  }));
}

/** Resolves `lora` against the model. Throws LabError for targets that match nothing and ranks that are too large. */
export function planAdapter(model: Pick<LoadedModel, 'family' | 'parameters' | 'task'>, lora: LoraSettings): AdapterPlan {
  const heads = model.family.headModules(model.task);
  const modules_to_save = savedModules(model.parameters, lora.modules_to_save, heads);
  const candidates = linearModules(model.parameters).filter(m => !modules_to_save.includes(m.name));
  const modules = matchTargets(candidates, lora, model.family.default_target_modules, heads);

  const trainables: Trainable[] = [];
  let offset = 0;
  const add = (name: string, shape: number[], decay: boolean): void => {
    trainables.push({ name: `base_model.model.${name}`, shape, offset, size: count(shape), decay });
    offset += count(shape);
  };
  for (const { name, in_features, out_features, r } of modules) {
    add(`${name}.lora_A.weight`, [r, in_features], true);
    add(`${name}.lora_B.weight`, [out_features, r], true);
  }
  // Trainer decays everything but biases and the parameters of norms.
  for (const p of model.parameters.filter(p => modules_to_save.includes(moduleOf(p.name)))) add(p.name, p.shape, p.kind === 'linear' || p.kind === 'embedding');
  const base = model.parameters.reduce((sum, p) => sum + count(p.shape), 0);
  return { modules, modules_to_save, trainables, trainable_parameters: offset, all_parameters: base + offset };
}

const moduleOf = (parameter: string): string => parameter.slice(0, parameter.lastIndexOf('.'));

function savedModules(parameters: readonly ParameterSpec[], asked: string | string[] | null, heads: string[]): string[] {
  const entries = [...new Set([...heads, ...(asked === null ? [] : [asked].flat())])];
  const modules = [...new Set(parameters.map(p => moduleOf(p.name)))];
  return [...new Set(entries.flatMap(entry => {
    // An entry may name a module that holds others, such as a whole pooler.
    const matched = modules.filter(name => `.${name}.`.includes(`.${entry}.`));
    const tied = parameters.find(p => p.kind === 'embedding' && p.output && matched.includes(moduleOf(p.name)));
    if (tied) {
      throw new LabError({ code: 'lora.modules-to-save', where: 'lora.modules_to_save', cause: `"${entry}" is also the output layer (tie_word_embeddings), of which only one use would be trained`, action: 'remove it from modules_to_save' });
    }
    const fixed = parameters.find(p => p.fixed !== undefined && matched.includes(moduleOf(p.name)));
    if (fixed) throw new LabError({ code: 'lora.modules-to-save', where: 'lora.modules_to_save', cause: `"${entry}" cannot be trained whole: ${fixed.fixed}`, action: 'remove it from modules_to_save' });
    // PEFT lists both usual names of a head in adapter_config.json, from where people copy them.
    if (matched.length || SEQ_CLS_HEADS.includes(entry)) return matched;
    throw new LabError({ code: 'lora.modules-to-save', where: 'lora.modules_to_save', cause: `"${entry}" is no module of this model`, action: `name one of: ${modules.slice(-6).join(', ')}` });
  }))];
}

/**
 * Start values, flat [trainable_parameters]: A Kaiming-uniform with a = √5 (that is, uniform within ±1/√in), B zero,
 * saved modules as in the loaded model.
 */
export function initialTrainables(model: LoadedModel, plan: AdapterPlan, seed: number): Float32Array {
  const values = new Float32Array(plan.trainable_parameters);
  for (const { name, shape, offset, size } of plan.trainables) {
    const part = values.subarray(offset, offset + size);
    if (name.endsWith('.lora_A.weight')) {
      const generator = random(seed, name);
      const bound = 1 / Math.sqrt(shape[1]);
      for (let i = 0; i < size; i++) part[i] = (2 * generator.next() - 1) * bound;
    } else if (!name.endsWith('.lora_B.weight')) {
      const weight = model.weights.get(name.replace(/^base_model\.model\./, ''))!;
      part.set(weight.source === 'memory' ? weight.data : readTensor(weight.ref));
    }
  }
  return values;
}
