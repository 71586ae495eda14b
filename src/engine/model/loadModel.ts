/** From a checkpoint folder to a base model with a weight for every parameter of the task. */
import { join } from 'node:path';
import { hasClasses, type ProblemType } from '../../protocol/experiment';
import { LabError } from '../errors';
import { random } from '../random';
import { openCheckpoint, type Checkpoint } from './checkpoint';
import { tasksOf, type Config, type Family, type ParameterSpec } from './family';
import type { TensorRef } from './safetensors';
import type { LoadedModel, Weight } from './weights';

export interface LoadOptions {
  task: string;
  /** Class names in order of class number; null takes those of the checkpoint's config. */
  labels: readonly string[] | null;
  /** What the labels of a classifier are; by default one class. */
  problem_type?: ProblemType;
  /** Seed of the parameters that the checkpoint lacks. */
  seed: number;
  families: readonly Family[];
}

/**
 * Finds a weight for every parameter; those that the checkpoint lacks (head, pooler) are drawn at random.
 * Errors: `checkpoint.model-type`, `model.shape`, `model.labels`, `model.missing-weights`, and those of `openCheckpoint`.
 */
export function loadModel(folder: string, options: LoadOptions): LoadedModel {
  return modelOf(openCheckpoint(folder), options);
}

/** `loadModel` for a checkpoint that is open already. */
export function modelOf(checkpoint: Checkpoint, { task, labels: given, problem_type = 'single_label_classification', seed, families }: LoadOptions): LoadedModel {
  const { folder } = checkpoint;
  const family = familyOf(checkpoint.config, families, folder);
  const config = inFolder(folder, () => family.resolve?.(checkpoint, task) ?? checkpoint.config);
  checkTask(family, task, config, folder);
  const labels = hasClasses(task) ? [...given ?? configLabels(config)] : [];
  const parameters = inFolder(folder, () => family.parameters(config, task, labels.length));
  const weights = new Map<string, Weight>();
  const missing: ParameterSpec[] = [];
  for (const spec of parameters) {
    const ref = storedTensor(checkpoint, family, spec.name);
    if (!ref) { missing.push(spec); continue; }
    checkShape(ref, spec, family.headModules(task), labels, problem_type);
    checkType(ref);
    weights.set(spec.name, { source: 'file', ref });
  }
  refuseMissing(missing, family.headModules(task), folder);
  for (const spec of missing) weights.set(spec.name, { source: 'memory', shape: spec.shape, data: startValues(spec, config, seed) });
  return { folder, family, config, task, problem_type, labels, parameters, weights, missing: missing.map(spec => spec.name), fingerprint: checkpoint.fingerprint };
}

/** Error `model.task`: the architecture cannot learn the task; `checkpoint.config`: the weights are quantized. */
function checkTask(family: Family, task: string, config: Config, folder: string): void {
  const file = join(folder, 'config.json');
  if (!(tasksOf(family) as readonly string[]).includes(task)) {
    throw new LabError({ code: 'model.task', file, where: 'model_type', cause: `a "${String(config.model_type)}" model cannot be trained for ${task}`, action: `set "task" to ${tasksOf(family).join(' or ')}, or use another checkpoint` });
  }
  if (config.quantization_config != null) {
    throw new LabError({ code: 'checkpoint.config', file, where: 'quantization_config', cause: 'quantized checkpoints are not supported', action: 'use the checkpoint in float32, float16 or bfloat16' });
  }
}

/** The task that an adapter or a checkpoint is for where nothing else says so: a classifier of texts or words if its class is one, else the architecture's usual one. */
export function usualTask(config: Config, family: Family): string {
  const stored = (end: string): boolean => Array.isArray(config.architectures) && config.architectures.some(name => String(name).endsWith(end));
  return stored('ForSequenceClassification') ? 'SEQ_CLS' : stored('ForTokenClassification') ? 'TOKEN_CLS' : tasksOf(family)[0];
}

/** Families know only the content of config.json: its place is added here. */
function inFolder<T>(folder: string, read: () => T): T {
  try { return read(); } catch (error) {
    if (!(error instanceof LabError) || error.report.file !== 'config.json') throw error;
    throw new LabError({ ...error.report, file: join(folder, 'config.json') }, { cause: error.cause });
  }
}

/** The family that implements a config's `model_type`. Error: `checkpoint.model-type`, naming the supported ones. */
export function familyOf(config: Config, families: readonly Family[], folder: string): Family {
  const type = config.model_type as string;
  const family = families.find(candidate => (candidate.model_types as readonly string[]).includes(type));
  if (family) return family;
  throw new LabError({
    code: 'checkpoint.model-type', file: join(folder, 'config.json'), where: 'model_type', cause: `"${type}" is not supported`,
    action: `use a checkpoint of one of these types: ${families.flatMap(candidate => candidate.model_types).join(', ')}`,
  });
}

/** The tensor that a checkpoint stores for a parameter, under whichever of its names. */
export function storedTensor(checkpoint: Pick<Checkpoint, 'tensors'>, family: Family, name: string): TensorRef | undefined {
  for (const stored of family.storedNames(name)) {
    const ref = checkpoint.tensors.get(stored);
    if (ref) return ref;
  }
  return undefined;
}

/** Class names of a config: `id2label`, else LABEL_0 … as transformers names them (2 classes unless `num_labels` says otherwise). */
export function configLabels(config: Config): string[] {
  const names = config.id2label;
  if (typeof names === 'object' && names !== null && !Array.isArray(names)) {
    const entries = Object.entries(names as Record<string, unknown>).map(([id, name]) => [Number(id), String(name)] as const).sort(([a], [b]) => a - b);
    if (entries.length && entries.every(([id], place) => id === place)) return entries.map(([, name]) => name);
  }
  const count = typeof config.num_labels === 'number' && Number.isSafeInteger(config.num_labels) && config.num_labels > 0 ? Math.min(config.num_labels, 100_000) : 2;
  return Array.from({ length: count }, (_, i) => `LABEL_${i}`);
}

function checkShape(ref: TensorRef, spec: ParameterSpec, heads: string[], labels: readonly string[], problem_type: ProblemType): void {
  if (ref.shape.length === spec.shape.length && ref.shape.every((size, axis) => size === spec.shape[axis])) return;
  const place = { file: ref.file, where: `tensor "${ref.name}"` };
  const isHead = heads.some(head => spec.name.startsWith(`${head}.`));
  if (isHead && ref.shape[0] !== labels.length && spec.shape[0] === labels.length) {
    if (problem_type === 'regression') {
      throw new LabError({ ...place, code: 'model.labels', cause: `the checkpoint's head has ${ref.shape[0]} outputs, and a value (problem_type "regression") takes one`, action: 'use a checkpoint without a classification head, or set problem_type to what its head was trained for' });
    }
    throw new LabError({
      ...place, code: 'model.labels', cause: `the checkpoint's head tells ${ref.shape[0]} classes apart, the data has ${labels.length} (${labels.slice(0, 5).join(', ')}${labels.length > 5 ? ', …' : ''})`,
      action: 'use data with the same classes, or a checkpoint without a classification head',
    });
  }
  throw new LabError({
    ...place, code: 'model.shape', cause: `has shape [${ref.shape.join(', ')}], config.json asks for [${spec.shape.join(', ')}]`, action: 'use the config.json that belongs to these weights',
  });
}

function checkType(ref: TensorRef): void {
  if (['F64', 'F32', 'F16', 'BF16'].includes(ref.dtype)) return;
  throw new LabError({ code: 'safetensors.dtype', file: ref.file, where: `tensor "${ref.name}"`, cause: `is stored as ${ref.dtype}, which cannot be read as weights`, action: 'save the checkpoint as float32, float16 or bfloat16' });
}

/** Only the head and the pooler may start at random: anything else missing means that this is not the checkpoint it should be. */
function refuseMissing(missing: ParameterSpec[], heads: string[], folder: string): void {
  const wrong = missing.filter(({ name }) => !heads.some(head => name.startsWith(`${head}.`)) && !name.split('.').includes('pooler'));
  if (!wrong.length) return;
  const some = wrong.slice(0, 3).map(spec => spec.name).join(', ');
  throw new LabError({
    code: 'model.missing-weights', file: folder, cause: `the checkpoint lacks ${wrong.length} of the model's weights: ${some}${wrong.length > 3 ? ', …' : ''}`,
    action: 'check that config.json and the weights belong together, and that the download is complete',
  });
}

function startValues(spec: ParameterSpec, config: Config, seed: number): Float32Array {
  const data = new Float32Array(spec.shape.reduce((product, size) => product * size, 1));
  if (spec.init === 'ones') data.fill(1);
  if (spec.init === 'normal') {
    const deviation = typeof config.initializer_range === 'number' ? config.initializer_range : 0.02;
    const stream = random(seed, spec.name);
    for (let i = 0; i < data.length; i++) data[i] = deviation * stream.normal();
  }
  return data;
}
