/**
 * Merging: W + scaling · B A in the place of every adapted weight. Sums are rounded once, to the stored type (those of an F64 weight to float32). The result
 * is a plain checkpoint with the names of the task model, written tensor by tensor in bounded memory.
 */
import { join, resolve } from 'node:path';
import { LabError } from '../errors';
import { freeBytes, liesIn, listFolder, lookUp, makeFolder } from '../files';
import { transaction, writeFile } from '../transaction';
import type { MergeReport } from '../../protocol/engine';
import { isSavedBy } from '../../protocol/adapterMath';
import { hasClasses } from '../../protocol/experiment';
import { checkBase, checkKeys, PREFIX, readAdapter, settingsFromAdapter, type Adapter } from './adapter';
import { onThisBase } from './adapterSettings';
import { openCheckpoint, type Checkpoint } from './checkpoint';
import { classWeight, type Family } from './family';
import { configLabels, familyOf, modelOf, storedTensor, usualTask } from './loadModel';
import { checkBaseLayers } from './baseLayers';
import { factorSuffixes, weightOf } from './factors';
import { adaptableModules, adapterTensors, checkSavedOutput, trainedBiases } from './lora';
import type { AdaptedModule } from './lora.types';
import { changedJson, copyCompanions } from './mergeFiles';
import { mergedChunks, type Delta } from './mergeTensor';
import { readBytes, readTensor, type TensorRef } from './safetensors';
import { writeSafetensors, type TensorSource } from './safetensorsWriter';
import { INDEX_NAME } from './shards';
import { problemTypeOf } from './problemType';
import { matchTargets } from './targets';
import { OUTPUT_LAYER, TOKENS_KEY, trainedTokens, withTokens } from './trainedTokens';
import { TIED_IN_CONFIG } from './tying';
import type { LoadedModel } from './weights';

export interface MergeOptions { base: string; adapter: string; out: string; families: readonly Family[] }

/**
 * Writes base + adapter as a new checkpoint folder. The inputs are never changed; `out` appears whole or not at all, and of two merges into it the first to end has it.
 * Errors: `merge.out-not-empty`, `merge.out-inside`, `merge.not-finite`, `adapter.*`, `checkpoint.*`, `disk.*`.
 */
export async function mergeAdapter({ base, adapter: adapterFolder, out, families }: MergeOptions): Promise<MergeReport> {
  const start = performance.now();
  const checkpoint = openCheckpoint(base);
  const adapter = readAdapter(adapterFolder);
  const target = resolve(out);
  checkTarget(target, checkpoint.folder, adapter.folder);
  checkBase(adapter, checkpoint);
  const plan = planMerge(checkpoint, adapter, families);
  checkSpace(target, checkpoint);
  const bytes = await transaction(target, async temporary => {
    const written = await writeWeights(temporary, checkpoint, plan);
    writeFile(join(temporary, 'config.json'), changedJson(join(checkpoint.folder, 'config.json'), mergedConfig(checkpoint, plan)));
    copyCompanions(checkpoint.folder, temporary);
    // Reading back what was written shows that it loads before it gets its name.
    modelOf(openCheckpoint(temporary), { task: plan.model.task, labels: plan.model.labels, seed: 0, families });
    return written;
    // Another merge may have been quicker to the same name.
  }, () => checkTarget(target, checkpoint.folder, adapter.folder));
  return {
    out: target, merged_modules: [...plan.deltas.keys()].map(name => name.replace(/\.weight$/, '')), replaced_modules: [...plan.saved.keys()].filter(name => name.endsWith('.weight')).map(name => name.replace(/\.weight$/, '')),
    bytes, seconds: (performance.now() - start) / 1000,
  };
}

/** The weight of an output layer apart from the embeddings. */
const OUTPUT = `${OUTPUT_LAYER}.weight`;

export interface MergePlan {
  model: LoadedModel;
  /** By parameter name. */
  deltas: Map<string, Delta>;
  saved: Map<string, { shape: number[]; data: Float32Array }>;
  /** Stored name → name in the merged checkpoint. */
  names: Map<string, string>;
  /** The base's embeddings, where those of the merged checkpoint are no longer its output layer. */
  output: TensorRef | null;
}

function planMerge(checkpoint: Checkpoint, adapter: Adapter, families: readonly Family[]): MergePlan {
  const { family, lora, model } = describe(checkpoint, adapter, families);
  // PEFT trains the head of its own accord only if the adapter names its task.
  const heads = adapter.config.task_type == null ? [] : family.headModules(model.task);
  const adapted = onThisBase(adapter, checkpoint.folder, () => matchTargets(adaptableModules(model.parameters), lora, family.default_target_modules, heads, { stored: true }));

  const entries = [...heads, ...(lora.modules_to_save === null ? [] : [lora.modules_to_save].flat())];
  onThisBase(adapter, checkpoint.folder, () => checkSavedOutput(model.parameters, entries));
  const isSaved = savedBy(entries);
  const savedNames = model.parameters.map(spec => spec.name).filter(isSaved);
  const modulesOf = (names: readonly string[]): string[] => [...new Set(names.map(name => name.slice(0, name.lastIndexOf('.'))))];
  const biases = trainedBiases(model.parameters, adapted.map(({ name }) => name), modulesOf(savedNames), lora.bias);
  const tokens = onThisBase(adapter, checkpoint.folder, () => trainedTokens(model, lora.trainable_token_indices, [...adapted.map(({ name }) => name), ...modulesOf(savedNames)]));
  const keys = [...adapted.flatMap(module => adapterTensors(module, lora).map(([suffix]) => `${module.name}.${suffix}`)), ...tokens.map(({ name }) => `${name}.${TOKENS_KEY}`)];
  const stored = checkBaseLayers(adapter, model);
  checkKeys([...keys, ...savedNames, ...biases.values()].map(name => PREFIX + name), adapter, [...stored, ...model.missing.map(name => PREFIX + name)]);
  if (tokens.some(({ name, weight, readers }) => readers.length === 1 && name !== OUTPUT_LAYER && `${name}.weight` !== weight)) throw sharedEmbeddings(adapter, tokens[0].name);
  const shared = adapted.find(module => module.embedding && module.weight !== undefined);
  if (shared) throw sharedEmbeddings(adapter, shared.name);
  const table = model.parameters.find(({ name, modules }) => modules && savedNames.includes(name));
  if (table) throw sharedEmbeddings(adapter, table.name);

  const deltas = new Map<string, Delta>();
  for (const module of adapted) {
    const { name, r, in_features, out_features, fan_in_fan_out, scaling, embedding } = module;
    const factors = factorSuffixes(embedding);
    const A = matrix(adapter, `${PREFIX}${name}.${factors.A}`, [r, in_features]);
    const B = matrix(adapter, `${PREFIX}${name}.${factors.B}`, [out_features, r]);
    const magnitude = lora.use_dora ? { values: matrix(adapter, `${PREFIX}${name}.lora_magnitude_vector`, [out_features]), of: fan_in_fan_out ? 'columns' as const : 'rows' as const } : undefined;
    // (B A)ᵀ = Aᵀ Bᵀ for a weight that is stored transposed.
    deltas.set(weightOf(module), fan_in_fan_out
      ? { A: transposed(B, r), B: transposed(A, in_features), r, in_features: out_features, out_features: in_features, scaling, magnitude }
      : { A, B, r, in_features, out_features, scaling, magnitude });
  }
  const saved = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const spec of model.parameters) {
    const key = PREFIX + (biases.get(spec.name) ?? spec.name);
    if (adapter.tensors.has(key) && !stored.includes(key)) saved.set(spec.name, { shape: spec.shape, data: matrix(adapter, key, spec.shape) });
  }
  if (lora.lora_bias) for (const module of adapted) saved.set(`${module.name}.bias`, withLoraBias(module, adapter, model, saved.get(`${module.name}.bias`)?.data));
  const names = new Map<string, string>();
  for (const spec of model.parameters) {
    const ref = storedTensor(checkpoint, family, spec.name);
    if (ref) names.set(ref.name, spec.name);
  }
  const tied = model.parameters.find(spec => spec.kind === 'embedding' && spec.output && (deltas.has(spec.name) || savedNames.includes(spec.name)));
  let output = tied ? storedTensor(checkpoint, family, tied.name) ?? null : null;
  for (const trained of tokens) {
    const ref = storedTensor(checkpoint, family, trained.weight)!;
    const values = matrix(adapter, `${PREFIX}${trained.name}.${TOKENS_KEY}`, [trained.indices.length, trained.shape[1]]);
    const place = trained.name === OUTPUT_LAYER ? OUTPUT : trained.weight;
    saved.set(place, { shape: [...trained.shape], data: withTokens(readTensor(ref), values, trained) });
    // Embeddings and output layer part where only one of them has these rows.
    const spec = model.parameters.find(({ name }) => name === trained.weight)!;
    if (spec.kind === 'embedding' && spec.output && (place === OUTPUT || !trained.readers.includes(OUTPUT_LAYER))) output = ref;
  }
  return { model, deltas, saved, names, output };
}

const sharedEmbeddings = (adapter: Adapter, where: string): LabError => new LabError({ code: 'merge.shared-embeddings', file: adapter.folder, where, cause: 'encoder and decoder share the embeddings, and would need different ones', action: 'use this adapter unmerged' });

/** The bias of a module plus scaling · the bias of its B. Error `merge.no-bias` where the module has none to add it to. */
function withLoraBias({ name, scaling, out_features }: AdaptedModule, adapter: Adapter, model: LoadedModel, trained: Float32Array | undefined): { shape: number[]; data: Float32Array } {
  const weight = model.weights.get(`${name}.bias`);
  if (!weight) throw new LabError({ code: 'merge.no-bias', file: adapter.folder, where: `lora_bias of ${name}`, cause: 'the base model has no bias there that it could be added to', action: 'use this adapter unmerged' });
  const base = trained ?? (weight.source === 'memory' ? weight.data : readTensor(weight.ref));
  const added = matrix(adapter, `${PREFIX}${name}.lora_B.bias`, [out_features]);
  return { shape: [out_features], data: base.map((value, i) => value + scaling * added[i]) };
}

/** A matrix of `columns` columns, row after row → its transpose. */
function transposed(matrix: Float32Array, columns: number): Float32Array {
  const rows = matrix.length / columns;
  return Float32Array.from(matrix, (_, i) => matrix[(i % rows) * columns + Math.floor(i / rows)]);
}

/** The task model that the merged checkpoint will hold; its head is the adapter's, so the base's own may differ or be missing. */
function describe(checkpoint: Checkpoint, adapter: Adapter, families: readonly Family[]) {
  const family = familyOf(checkpoint.config, families, checkpoint.folder);
  const lora = settingsFromAdapter(adapter.config, join(adapter.folder, 'adapter_config.json'));
  const task = typeof adapter.config.task_type === 'string' ? adapter.config.task_type : usualTask(checkpoint.config, family);
  const heads = family.headModules(task);
  const head = heads.length ? adapter.tensors.get(PREFIX + classWeight(family, task)) : undefined;
  const own = configLabels(checkpoint.config);
  const count = head?.shape[0] ?? own.length;
  const labels = adapter.labels?.length === count ? adapter.labels : own.length === count ? own : Array.from({ length: count }, (_, i) => `LABEL_${i}`);
  const isHead = savedBy(heads);
  const replaced = new Set(heads.length ? family.parameters(checkpoint.config, task, count).map(spec => spec.name).filter(name => isHead(name) && adapter.tensors.has(PREFIX + name)).flatMap(name => family.storedNames(name)) : []);
  const withoutHead = { ...checkpoint, tensors: new Map([...checkpoint.tensors].filter(([name]) => !replaced.has(name))) };
  const problem_type = problemTypeOf(checkpoint.config, { task, trained: adapter.problem_type, classes: count });
  return { family, lora, model: modelOf(withoutHead, { task, labels, problem_type, seed: 0, families }) };
}

/** True for the parameters of the modules that end in one of the entries, and of the modules inside of them. */
const savedBy = (entries: readonly string[]) => (parameter: string): boolean => entries.some(entry => isSavedBy(parameter.slice(0, parameter.lastIndexOf('.')), entry));

function matrix(adapter: Adapter, name: string, shape: number[]): Float32Array {
  const tensor = adapter.tensors.get(name)!;
  if (tensor.shape.join() === shape.join()) return tensor.data;
  throw new LabError({
    code: 'adapter.shape', file: join(adapter.folder, 'adapter_model.safetensors'), where: `tensor "${name}"`, cause: `has shape [${tensor.shape.join(', ')}], this base and adapter_config.json need [${shape.join(', ')}]`,
    action: 'use the base that the adapter was trained on',
  });
}

/** Writes the weights into as many files as the base has, under the same file names. Returns their bytes. */
export async function writeWeights(folder: string, checkpoint: Checkpoint, plan: MergePlan): Promise<number> {
  const stale = staleCopies(checkpoint, plan);
  const files = groupByFile(checkpoint).map(([file, refs]) => [file, refs.filter(ref => !stale.has(ref.name))] as const);
  const kept = new Set(plan.names.values());
  const added = [...plan.saved.keys()].filter(name => !kept.has(name) && (stale.has(name) || !checkpoint.tensors.has(name)));
  const index: Record<string, string> = {};
  let bytes = 0;
  let total_size = 0;
  for (const [place, [file, refs]] of files.entries()) {
    const tensors = refs.map(ref => source(ref, plan));
    if (place === files.length - 1) {
      const dtype = majorityType(checkpoint);
      for (const name of added) tensors.push({ name, dtype, ...plan.saved.get(name)! });
      const { output } = plan;
      if (output && !checkpoint.tensors.has(OUTPUT) && !plan.saved.has(OUTPUT)) tensors.push({ name: OUTPUT, dtype: output.dtype, shape: output.shape, data: () => readBytes(output) });
    }
    for (const tensor of tensors) index[tensor.name] = file;
    makeFolder(resolve(folder, file, '..'));
    const written = await writeSafetensors(join(folder, file), tensors, { format: 'pt' });
    bytes += written.file_bytes;
    total_size += written.tensor_bytes;
  }
  if (checkpoint.sharded) {
    const weight_map = Object.fromEntries(Object.entries(index).sort(([a], [b]) => (a < b ? -1 : 1)));
    writeFile(join(folder, INDEX_NAME), `${JSON.stringify({ metadata: { total_size }, weight_map }, null, 2)}\n`);
  }
  return bytes;
}

/** Tensors that a checkpoint stores once more under another name, as the tied output layer, and that would be of the old weight. */
function staleCopies({ tensors }: Checkpoint, { model, deltas, saved, names }: MergePlan): Set<string> {
  const stale = new Set<string>();
  for (const { name, kind, output } of model.parameters) {
    if (!deltas.has(name) && !saved.has(name)) continue;
    const copies = [...model.family.storedNames(name), ...(kind === 'embedding' && output && !saved.has(OUTPUT) && !deltas.has(name) ? [OUTPUT] : [])];
    for (const copy of copies) if (tensors.has(copy) && !names.has(copy)) stale.add(copy);
  }
  return stale;
}

/** Stored tensors by the file they go to, in the order of the file names. */
function groupByFile(checkpoint: Checkpoint): [string, TensorRef[]][] {
  const groups = new Map<string, TensorRef[]>();
  for (const [name, ref] of checkpoint.tensors) {
    const file = checkpoint.files.get(name)!;
    groups.set(file, [...groups.get(file) ?? [], ref]);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

function source(ref: TensorRef, plan: MergePlan): TensorSource {
  const name = plan.names.get(ref.name) ?? ref.name;
  const replacement = plan.saved.get(name);
  if (replacement) return { name, dtype: ref.dtype, ...replacement };
  const delta = plan.deltas.get(name);
  return { name, dtype: ref.dtype, shape: ref.shape, data: () => (delta ? mergedChunks(ref, delta) : readBytes(ref)) };
}

/** The type that holds most of the base's values: new tensors are stored in it. */
function majorityType(checkpoint: Checkpoint): 'F32' | 'F16' | 'BF16' {
  const bytes = new Map<string, number>();
  for (const ref of checkpoint.tensors.values()) bytes.set(ref.dtype, (bytes.get(ref.dtype) ?? 0) + ref.bytes);
  const [most] = [...bytes].sort(([, a], [, b]) => b - a)[0] ?? ['F32'];
  return most === 'F16' || most === 'BF16' ? most : 'F32';
}

export function mergedConfig({ config }: Checkpoint, { model, output }: MergePlan): Record<string, unknown> {
  const { labels, family, task } = model;
  const architectures = family.architecture ? [family.architecture(task, config)] : config.architectures;
  if (!hasClasses(task)) return { ...config, architectures, ...(output || model.config[TIED_IN_CONFIG] ? { tie_word_embeddings: false } : {}) };
  const merged: Record<string, unknown> = {
    ...config, architectures,
    id2label: Object.fromEntries(labels.map((label, id) => [id, label])),
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
  };
  // One class is what transformers takes labels for anyway.
  if (model.problem_type !== 'single_label_classification' || config.problem_type != null) merged.problem_type = model.problem_type;
  if ('num_labels' in config) merged.num_labels = labels.length;
  return merged;
}

function checkTarget(out: string, base: string, adapter: string): void {
  for (const input of [base, adapter]) {
    if (liesIn(out, input)) throw new LabError({ code: 'merge.out-inside', file: out, cause: `the output folder lies inside ${input}, which must stay as it is`, action: 'choose a folder beside it' });
  }
  const existing = lookUp(out);
  if (existing && (!existing.isDirectory || listFolder(out).length)) {
    throw new LabError({ code: 'merge.out-not-empty', file: out, cause: existing.isDirectory ? 'the output folder is not empty' : 'there is a file of this name', action: 'choose a new or empty folder' });
  }
}

function checkSpace(out: string, checkpoint: Checkpoint): void {
  let parent = resolve(out, '..');
  while (!lookUp(parent)) parent = resolve(parent, '..');
  const needed = [...checkpoint.tensors.values()].reduce((sum, ref) => sum + ref.bytes, 0) * 1.01 + (1 << 20);
  const free = freeBytes(parent);
  if (free >= needed) return;
  throw new LabError({ code: 'disk.full', file: out, cause: `the merged model needs ${Math.ceil(needed / 1e6)} MB, ${Math.floor(free / 1e6)} MB are free`, action: 'free some space or choose another disk' });
}
