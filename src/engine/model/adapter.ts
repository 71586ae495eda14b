/** Adapter folders in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`. */
import { join, resolve } from 'node:path';
import { LabError } from '../errors';
import { listFolder, lookUp, readJsonObject } from '../files';
import { transaction, writeFile } from '../transaction';
import { PROBLEM_TYPES, type LoraSettings, type ProblemType } from '../../protocol/experiment';
import { adapterConfig, settingsFromAdapter, type AdapterConfig } from './adapterConfig';
import type { AdapterPlan, Trainable } from './lora.types';
import { baseLayers, checkBaseLayers, isBaseLayer } from './baseLayers';
import { readHeader, readTensor, type TensorRef } from './safetensors';
import { converted, convertedSettings, startNames, unconverted } from './startFactors';
import { writeSafetensors, type TensorSource } from './safetensorsWriter';
import type { LoadedModel } from './weights';

export { settingsFromAdapter, type AdapterConfig };

export interface Adapter {
  folder: string;
  config: AdapterConfig;
  /** Values by their key in the file: `base_model.model.<module>.lora_A.weight`. */
  tensors: Map<string, { shape: number[]; data: Float32Array }>;
  /** Class names in order of class number; null in adapters of other programs, which have no place for them. */
  labels: string[] | null;
  /** What the labels were; null in adapters of other programs. */
  problem_type: ProblemType | null;
  /** `LoadedModel.fingerprint` of the base it was trained on; null in adapters of other programs. */
  base_fingerprint: string | null;
}

export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';
/** What PEFT puts before the name of every module. */
export const PREFIX = 'base_model.model.';
/** Our own entries in the metadata of `adapter_model.safetensors`, where other programs overlook them. */
const LABELS_KEY = 'lora_lab.labels';
const PROBLEM_KEY = 'lora_lab.problem_type';
const FINGERPRINT_KEY = 'lora_lab.base_fingerprint';

export interface AdapterContent {
  model: LoadedModel;
  plan: AdapterPlan;
  lora: LoraSettings;
  /** All trained values, flat, in the order of `plan.trainables`. */
  trainables: Float32Array;
  labels: readonly string[];
}

/** Writes an adapter folder as a whole, replacing an earlier one. */
export async function writeAdapter(folder: string, content: AdapterContent): Promise<void> {
  await transaction(folder, temporary => writeAdapterFiles(temporary, content));
}

/** Writes the two files into an existing folder that belongs to a transaction. */
export async function writeAdapterFiles(folder: string, { model, plan, lora, trainables, labels }: AdapterContent): Promise<void> {
  const bad = trainables.findIndex(value => !Number.isFinite(value));
  if (bad >= 0) {
    const name = plan.trainables.find(t => bad >= t.offset && bad < t.offset + t.size)?.name;
    throw new LabError({ code: 'adapter.not-finite', file: folder, where: name, cause: 'the adapter holds values that are not finite', action: 'go back to an earlier checkpoint and lower the learning rate' });
  }
  const tensors: TensorSource[] = plan.trainables.map(trainable => ({ name: trainable.name, dtype: 'F32', ...savedValues(trainable, trainables, plan, model) }));
  tensors.push(...baseLayers(model, plan, lora));
  // Parameters that the base lacks and that were not trained would be drawn anew in another program: they go along.
  const frozen = model.missing.filter(name => !plan.trainables.some(t => t.parameter === name));
  for (const name of frozen) {
    const weight = model.weights.get(name);
    if (weight?.source === 'memory') tensors.push({ name: PREFIX + name, shape: weight.shape, dtype: 'F32', data: weight.data });
  }
  const modules = [...new Set(frozen.map(name => name.slice(0, name.lastIndexOf('.'))))];
  const config = adapterConfig({ base: model.folder, task: model.task, lora: convertedSettings(lora), plan, defaults: model.family.default_target_modules, frozen: modules });
  writeFile(join(folder, ADAPTER_CONFIG), JSON.stringify(config, null, 2));
  await writeSafetensors(join(folder, ADAPTER_WEIGHTS), tensors, { format: 'pt', [LABELS_KEY]: JSON.stringify(labels), ...(model.task === 'SEQ_CLS' ? { [PROBLEM_KEY]: model.problem_type } : {}), [FINGERPRINT_KEY]: model.fingerprint });
}

/** Of linear layers alone: embeddings have no start that is subtracted. */
const FACTOR = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/;

/** A trained tensor as it is saved: with its start, if that is subtracted in training. */
function savedValues({ name, shape, offset, size }: Trainable, trainables: Float32Array, plan: AdapterPlan, model: LoadedModel): { shape: number[]; data: Float32Array } {
  const data = trainables.subarray(offset, offset + size);
  const [, module, side] = (plan.subtracts_start && FACTOR.exec(name)) || [];
  if (module === undefined || side !== 'A' && side !== 'B') return { shape, data };
  return converted(data, side, model.weights.get(startNames(module)[side])!, shape[side === 'A' ? 0 : 1]);
}

/** An adapter that was saved with its start, as the values that go on being trained. */
export function withoutStart(adapter: Adapter): Adapter {
  const tensors = [...adapter.tensors].map(([name, tensor]) => {
    const side = FACTOR.exec(name)?.[2];
    return [name, side === 'A' || side === 'B' ? unconverted(tensor, side) : tensor] as const;
  });
  return { ...adapter, tensors: new Map(tensors) };
}

/**
 * Reads an adapter folder. Errors: `adapter.no-folder`, `.no-config`, `.pickle-only`, `.no-weights`, `.bad-config`,
 * and those of the safetensors header.
 */
export function readAdapter(path: string): Adapter {
  const folder = resolve(path);
  if (!lookUp(folder)?.isDirectory) throw new LabError({ code: 'adapter.no-folder', file: folder, cause: 'there is no such folder', action: 'check the path of the adapter' });
  const file = join(folder, ADAPTER_CONFIG);
  if (!lookUp(file) && lookUp(join(folder, 'config.json'))) throw new LabError({ code: 'adapter.no-config', file: folder, cause: 'this is a whole model, not an adapter, and there is nothing to merge', action: 'use it as the base, or give the folder of a PEFT adapter' });
  if (!lookUp(file)) throw new LabError({ code: 'adapter.no-config', file: folder, cause: `the folder has no ${ADAPTER_CONFIG}`, action: 'give the folder of a PEFT adapter, such as the adapter folder of a run' });
  const config = readJsonObject(file, 1 << 20);
  const weights = join(folder, ADAPTER_WEIGHTS);
  if (!lookUp(weights)) {
    const pickle = listFolder(folder).find(name => name.endsWith('.bin'));
    throw pickle
      ? new LabError({ code: 'adapter.pickle-only', file: join(folder, pickle), cause: 'the adapter is stored as a Python pickle, which can run code when it is read, and is never opened here', action: 'save it again in Python: model.save_pretrained(dir, safe_serialization=True)' })
      : new LabError({ code: 'adapter.no-weights', file: folder, cause: `the folder has no ${ADAPTER_WEIGHTS}`, action: 'copy the whole adapter folder' });
  }
  const { tensors: refs, metadata } = readHeader(weights);
  const tensors: Adapter['tensors'] = new Map();
  for (const [name, ref] of refs) {
    const data = readTensor(ref);
    if (!data.every(Number.isFinite)) throw new LabError({ code: 'adapter.not-finite', file: weights, where: `tensor "${name}"`, cause: 'holds values that are not finite', action: 'use another checkpoint of this adapter' });
    tensors.set(name, { shape: ref.shape, data });
  }
  const problem_type = PROBLEM_TYPES.find(type => type === metadata.get(PROBLEM_KEY)) ?? null;
  return { folder, config, tensors, labels: parseLabels(metadata.get(LABELS_KEY)), problem_type, base_fingerprint: metadata.get(FINGERPRINT_KEY) ?? null };
}

function parseLabels(json: string | undefined): string[] | null {
  if (json === undefined) return null;
  let value: unknown;
  try { value = JSON.parse(json); } catch { return null; }
  return Array.isArray(value) && value.every(label => typeof label === 'string') ? value : null;
}

/**
 * The adapter's values as the flat vector of a plan. An adapter that names no task comes without a head: it keeps the base's.
 * Errors: `adapter.wrong-base` (recorded for other base weights), `adapter.base-layer`, `adapter.missing`, `adapter.unexpected`, `adapter.shape`.
 */
export function fillTrainables(plan: AdapterPlan, adapter: Adapter, model: Pick<LoadedModel, 'folder' | 'fingerprint' | 'missing' | 'weights' | 'parameters'>): Float32Array {
  checkBase(adapter, model);
  const stored = checkBaseLayers(adapter, model);
  const file = join(adapter.folder, ADAPTER_WEIGHTS);
  const own = adapter.config.task_type == null ? plan.trainables.filter(({ name, parameter }) => !adapter.tensors.has(name) && baseWeight(model, parameter)) : [];
  checkKeys(plan.trainables.filter(t => !own.includes(t)).map(t => t.name), adapter, [...stored, ...model.missing.map(name => PREFIX + name)]);
  const values = new Float32Array(plan.trainable_parameters);
  for (const { parameter, offset } of own) values.set(readTensor(baseWeight(model, parameter)!), offset);
  for (const { name, shape, offset } of plan.trainables.filter(t => !own.includes(t))) {
    const stored = adapter.tensors.get(name)!;
    if (stored.shape.join() !== shape.join()) {
      throw new LabError({ code: 'adapter.shape', file, where: `tensor "${name}"`, cause: `has shape [${stored.shape.join(', ')}], these settings and this base need [${shape.join(', ')}]`, action: 'use the same r and target_modules as the adapter, the base that it was trained on, and data with the same classes' });
    }
    values.set(stored.data, offset);
  }
  return values;
}

function baseWeight(model: Pick<LoadedModel, 'weights'>, parameter: string | undefined): TensorRef | undefined {
  const weight = parameter === undefined ? undefined : model.weights.get(parameter);
  return weight?.source === 'file' ? weight.ref : undefined;
}

/** The model with those of its randomly started, untrained parameters that the adapter brings along (a pooler that the base lacks). */
export function withAdapterWeights(model: LoadedModel, adapter: Adapter): LoadedModel {
  const weights = new Map(model.weights);
  for (const name of model.missing) {
    const stored = adapter.tensors.get(PREFIX + name);
    const current = weights.get(name);
    if (stored && current?.source === 'memory' && stored.shape.join() === current.shape.join()) weights.set(name, { source: 'memory', ...stored });
  }
  return { ...model, weights };
}

/** Error `adapter.wrong-base` if the adapter says that it was trained on other weights. */
export function checkBase(adapter: Adapter, base: { folder: string; fingerprint: string }): void {
  if (adapter.base_fingerprint === null || adapter.base_fingerprint === base.fingerprint) return;
  throw new LabError({
    code: 'adapter.wrong-base', file: adapter.folder, cause: `the adapter was trained on other base weights than those in ${base.folder}`,
    action: `use the base that it was trained on${typeof adapter.config.base_model_name_or_path === 'string' ? ` (then at ${adapter.config.base_model_name_or_path})` : ''}`,
  });
}

/** Errors `adapter.missing` and `adapter.unexpected`. `tolerated` are keys that may be there or not. */
export function checkKeys(expected: readonly string[], adapter: Adapter, tolerated: readonly string[] = []): void {
  const file = join(adapter.folder, ADAPTER_WEIGHTS);
  const known = new Set(expected);
  const missing = expected.filter(name => !adapter.tensors.has(name));
  // With "bias": "all" PEFT stores the biases of saved modules twice more, under its wrapper's names; the first copy is the one it reads.
  const isCopy = (name: string): boolean => adapter.config.bias === 'all' && /\.(modules_to_save|original_module)\.(.+\.)?bias$/.test(name);
  const isKnownLayer = (name: string): boolean => isBaseLayer(name) && expected.some(other => other.startsWith(name.replace(/base_layer\.weight$/, 'lora_')));
  const unexpected = [...adapter.tensors.keys()].filter(name => !known.has(name) && !isCopy(name) && !isKnownLayer(name) && !tolerated.includes(name));
  const list = (names: string[]): string => `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;
  const action = 'use the target_modules and modules_to_save that the adapter was trained with, and a base of the same architecture';
  if (missing.length) throw new LabError({ code: 'adapter.missing', file, cause: `the adapter lacks ${list(missing)}`, action });
  if (unexpected.length) throw new LabError({ code: 'adapter.unexpected', file, cause: `the adapter holds ${list(unexpected)}, which these settings do not use`, action });
}
