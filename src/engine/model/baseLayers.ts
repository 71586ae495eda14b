/**
 * The embeddings and the output layer that PEFT stores with an adapter (`save_embedding_layers="auto"`), so that a base whose vocabulary was
 * changed still fits: with an adapter on them `<module>.base_layer.weight`, else, where the vocabulary was resized, `<module>.weight`.
 */
import { join } from 'node:path';
import { LabError } from '../errors';
import { ADAPTER_WEIGHTS, PREFIX, type Adapter } from './adapter';
import { weightOf } from './factors';
import { isSavedBy } from '../../protocol/adapterMath';
import type { LoraSettings } from '../../protocol/experiment';
import type { AdapterPlan } from './lora.types';
import { fullMatcher } from '../../protocol/pythonRegExp';
import { readBytes, readTensor, type TensorRef } from './safetensors';
import type { TensorSource } from './safetensorsWriter';
import { OUTPUT_LAYER } from './trainedTokens';
import type { LoadedModel } from './weights';

/** PEFT's EMBEDDING_LAYER_NAMES: only these names in `target_modules` make it store anything. */
const NAMES = ['embed_tokens', 'lm_head'];
const STORED = /(?:^|\.)(?:word_embeddings|wte|embed_tokens|lm_head)$/;
/** The embeddings, and the output layer, where the vocabulary was resized and nothing is put on them. */
const RESIZED = /^base_model\.model\.((?:.+\.)?(?:word_embeddings|wte|embed_tokens|shared|lm_head))\.weight$/;
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

type Base = Pick<LoadedModel, 'weights' | 'folder' | 'parameters'>;

/**
 * The base's weights that the adapter brings along, by their keys in it. Error `adapter.base-layer`: they are not this base's. To PEFT the adapter's
 * count, over which its values were trained.
 */
export function checkBaseLayers(adapter: Adapter, model: Base): string[] {
  return [...adapter.tensors].flatMap(([key, { shape, data }]) => {
    const module = KEY.exec(key)?.[1] ?? resizedModule(key, adapter);
    const base = module === undefined ? undefined : fileWeight(model, module);
    if (!base) return [];
    const wrong = (cause: string, action: string): LabError => new LabError({ code: 'adapter.base-layer', file: join(adapter.folder, ADAPTER_WEIGHTS), where: `tensor "${key}"`, cause, action });
    const [rows, width] = shape;
    const [own_rows, own_width] = base.shape;
    const save = 'PeftModel.from_pretrained(model, folder).unload().save_pretrained(base) in Python';
    if (rows !== own_rows && width === own_width) throw wrong(`has a row for each of ${rows} tokens, the base for ${own_rows}: its vocabulary was resized before the adapter was trained`, `use the base as it was resized: model.resize_token_embeddings(${rows}), then ${save}, with the adapter's tokenizer beside it`);
    if (shape.join() !== base.shape.join()) throw wrong(`has shape [${shape.join(', ')}], the base [${base.shape.join(', ')}]`, `use the base that the adapter was trained on: its ${module} differs from that in ${model.folder}`);
    const values = readTensor(base);
    // A program that works in bfloat16 stores it so.
    if (data.some((value, i) => Math.abs(value - values[i]) > Math.abs(values[i]) / 128 + 1e-30)) throw wrong(`holds other values than the ${module} of ${model.folder}`, `use the base that the adapter was trained on, or one with these values: ${save}`);
    return [key];
  });
}

/** The module of a layer that PEFT stores as it is because the vocabulary was resized; undefined for other keys, and for what the adapter has trained whole. */
function resizedModule(key: string, { config }: Adapter): string | undefined {
  const module = RESIZED.exec(key)?.[1];
  const saved = [config.modules_to_save ?? []].flat().map(String);
  return module === undefined || saved.some(entry => isSavedBy(module, entry)) ? undefined : module;
}

/** A module's weight in the base's files: of an output layer without one of its own the embeddings. */
function fileWeight({ weights, parameters }: Base, module: string): TensorRef | undefined {
  const tied = module === OUTPUT_LAYER ? parameters.find(({ kind, output }) => kind === 'embedding' && output)?.name : undefined;
  const weight = weights.get(`${module}.weight`) ?? (tied === undefined ? undefined : weights.get(tied));
  return weight?.source === 'file' ? weight.ref : undefined;
}
