/**
 * The embeddings and the output layer that PEFT stores with an adapter on them (`save_embedding_layers="auto"`), so that a base whose
 * vocabulary was changed still fits: `<module>.base_layer.weight`.
 */
import { join } from 'node:path';
import { LabError } from '../errors';
import { ADAPTER_WEIGHTS, PREFIX, type Adapter } from './adapter';
import { weightOf } from './factors';
import type { LoraSettings } from '../../protocol/experiment';
import type { AdapterPlan } from './lora.types';
import { fullMatcher } from '../../protocol/pythonRegExp';
import { readBytes, readTensor } from './safetensors';
import type { TensorSource } from './safetensorsWriter';
import type { LoadedModel } from './weights';

/** PEFT's EMBEDDING_LAYER_NAMES: only these names in `target_modules` make it store anything. */
const NAMES = ['embed_tokens', 'lm_head'];
const STORED = /(?:^|\.)(?:word_embeddings|wte|embed_tokens|lm_head)$/;
const KEY = /^base_model\.model\.(.+)\.base_layer\.weight$/;

/** True for a key of a stored base layer. */
export const isBaseLayer = (key: string): boolean => KEY.test(key);

/** The base weights that are stored with an adapter. */
export function baseLayers(model: LoadedModel, plan: AdapterPlan, { target_modules, trainable_token_indices }: LoraSettings): TensorSource[] {
  const adapted = plan.modules.map(module => module.name);
  const named = Array.isArray(target_modules) ? target_modules.some(entry => NAMES.includes(entry))
    : target_modules !== null && target_modules.toLowerCase() !== 'all-linear' && adapted.filter(name => NAMES.includes(name.split('.').pop()!)).some(fullMatcher(target_modules));
  if (!named || trainable_token_indices !== null) return [];
  // Modules with a weight of another name only share it, and are neither the input nor the output embeddings.
  return plan.modules.filter(module => STORED.test(module.name) && module.weight === undefined).flatMap(module => {
    const weight = model.weights.get(weightOf(module))!;
    if (weight.source === 'memory') return [];
    const { ref } = weight;
    return [{ name: `${PREFIX}${module.name}.base_layer.weight`, dtype: ref.dtype, shape: ref.shape, data: () => readBytes(ref) }];
  });
}

/** Error `adapter.base-layer`: the adapter brings base weights along that are not this base's. */
export function checkBaseLayers(adapter: Adapter, model: Pick<LoadedModel, 'weights' | 'folder'>): void {
  for (const [key, { shape, data }] of adapter.tensors) {
    const module = KEY.exec(key)?.[1];
    const weight = module === undefined ? undefined : model.weights.get(`${module}.weight`);
    if (weight?.source !== 'file') continue;
    const wrong = (cause: string): LabError => new LabError({ code: 'adapter.base-layer', file: join(adapter.folder, ADAPTER_WEIGHTS), where: `tensor "${key}"`, cause, action: `use the base that the adapter was trained on: its ${module} differs from that in ${model.folder}` });
    if (shape.join() !== weight.ref.shape.join()) throw wrong(`has shape [${shape.join(', ')}], the base [${weight.ref.shape.join(', ')}]`);
    const base = readTensor(weight.ref);
    // A program that works in bfloat16 stores it so.
    if (data.some((value, i) => Math.abs(value - base[i]) > Math.abs(base[i]) / 128 + 1e-30)) throw wrong('holds other values than the base');
  }
}
