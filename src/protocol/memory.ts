/** What a run will need in memory: an estimate from shapes, corrected by a measured step, and the changes that make it fit. Pure. */
import type { Experiment } from './experiment';
import type { MemoryMeasurement, ModuleInfo } from './engine';

/** What the host knows of memory. */
export interface MemoryView {
  /** Memory of this machine that is free now. */
  available_bytes: number;
  /** A step is being measured. */
  measuring: boolean;
  /** The last measured step of this experiment, and the settings that it ran with. */
  measured: { values: MemorySettings; trainable: number; result: MemoryMeasurement } | null;
}

/** The settings that memory depends on. */
export type MemorySettings = Pick<Experiment, 'task' | 'base_model' | 'engine'> & { training: Pick<Experiment['training'], 'per_device_train_batch_size' | 'max_length' | 'gradient_checkpointing'> };

export interface MemoryEstimate {
  /** The engine itself, with Node and ONNX Runtime. */
  process: number;
  /** Base weights as the device holds them. */
  weights: number;
  /** Weight, gradient and AdamW's two moments of everything that is trained. */
  training: number;
  /** What the forward pass keeps for the backward pass, and what is computed with at a time. */
  activations: number;
  total: number;
}

export interface MemoryModel { modules: readonly ModuleInfo[]; base_parameters: number }

const FLOAT = 4;
/** Size of one attention head where the shapes do not tell: 64 in BERT, GPT-2, T5 and most models of their size. */
const HEAD_SIZE = 64;
/** As in the engine: tokens that are computed at a time, and classes of a vocabulary. */
const PORTION_TOKENS = 512;
const CHUNK_CLASSES = 8192;
const PROCESS = 240e6;
/** On the CPU, ONNX Runtime packs every matrix for the product of each direction; while it does, about half of the file's pages are in memory too. */
const [PACKED, LOADING] = [2, 0.5];

/**
 * Bytes that training needs at most. On the CPU: the process; linear weights packed for both directions, and all others once; 16 bytes for
 * each trained parameter; and, unless reading the weights takes more, for the T tokens of one portion (512, or one longer text) the outputs of every linear layer, what every norm
 * reads, and the attention probabilities, of all layers, or with `gradient_checkpointing` the inputs of all layers and the whole of one.
 * A GPU holds weights once. Every example counts with `max_length` tokens, or the data's longest if a step was measured.
 */
export function estimateMemory(model: MemoryModel, trainable: number, { task, training, engine }: Omit<MemorySettings, 'base_model'>, longest = Infinity): MemoryEstimate {
  const length = Math.min(training.max_length, longest);
  const examples = Math.max(1, Math.min(training.per_device_train_batch_size, Math.floor(PORTION_TOKENS / length)));
  const tokens = examples * length;
  const layers = layersOf(model.modules);
  const kept = layers.map(layer => FLOAT * tokens * (layer.outputs + layer.norms + layer.gated + layer.heads * length));
  const widest = Math.max(0, ...layers.map(layer => FLOAT * tokens * (3 * layer.widest + 2 * layer.heads * length)));
  const inputs = sum(layers.map(layer => FLOAT * tokens * layer.hidden));
  const vocabulary = task === 'SEQ_CLS' ? undefined : vocabularyOf(model.modules);
  const logits = vocabulary ? FLOAT * tokens * (3 * Math.min(vocabulary[0], CHUNK_CLASSES) + 3 * vocabulary[1]) : 0;
  const activations = Math.max(logits, widest) + (training.gradient_checkpointing ? inputs + Math.max(0, ...kept) : sum(kept));

  const linear = sum(model.modules.filter(m => m.type === 'Linear' && !m.saved && !m.output).map(m => m.shape[0] * m.shape[1]));
  const output = vocabulary ? vocabulary[0] * vocabulary[1] : 0;
  const gpu = engine.device === 'webgpu' || engine.device === 'cuda';
  const weights = FLOAT * (gpu ? model.base_parameters : PACKED * (linear + output) + model.base_parameters - linear);
  const state = 4 * FLOAT * trainable;
  const process = gpu ? 0 : PROCESS;
  return { process, weights, training: state, activations, total: process + weights + state + Math.max(activations, gpu ? 0 : FLOAT * LOADING * linear) };
}

interface Layer { outputs: number; norms: number; gated: number; widest: number; hidden: number; heads: number }

/** Sizes of one token's states in each numbered layer. */
function layersOf(modules: readonly ModuleInfo[]): Layer[] {
  const groups = new Map<string, ModuleInfo[]>();
  for (const module of modules) {
    const name = /^.*?\.\d+\./.exec(module.name)?.[0];
    if (name) groups.set(name, [...groups.get(name) ?? [], module]);
  }
  return [...groups.values()].map(group => {
    const linears = group.filter(m => m.type === 'Linear');
    const hidden = Math.min(...linears.map(m => m.shape[1]));
    const queries = linears.find(m => /(query|q_proj|q_lin|\.q)$/.test(m.name))?.shape[0] ?? hidden;
    const gate = linears.find(m => /(gate_proj|wi_1|gate_up_proj)$/.test(m.name));
    return {
      outputs: sum(linears.map(m => m.shape[0])), norms: sum(group.filter(m => m.type === 'LayerNorm').map(m => m.shape[0])), gated: gate ? 2 * gate.shape[0] : 0,
      widest: Math.max(0, ...linears.map(m => m.shape[0])), hidden: linears.length ? hidden : 0, heads: linears.length ? Math.max(1, Math.round(queries / HEAD_SIZE)) : 0,
    };
  });
}

/** Shape of the output layer over the vocabulary, or of the embeddings that are tied to it: [tokens, width]. */
const vocabularyOf = (modules: readonly ModuleInfo[]): number[] | undefined =>
  (modules.find(m => m.output) ?? modules.filter(m => m.type === 'Embedding').sort((a, b) => b.parameters - a.parameters)[0])?.shape;

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** The estimate, moved by what a measured step needed more or less than its own estimate. `measured` says whether one was. */
export function neededMemory(model: MemoryModel, trainable: number, values: Omit<MemorySettings, 'base_model'> & { base_model: string }, memory: MemoryView | undefined): { estimate: MemoryEstimate; total: number; measured: 'this' | 'other' | false } {
  const probe = memory?.measured;
  const usable = probe && probe.values.base_model === values.base_model && probe.values.task === values.task && JSON.stringify(probe.values.engine) === JSON.stringify(values.engine) && probe.result.device.startsWith('cpu') ? probe : undefined;
  const longest = usable?.result.longest ?? Infinity;
  // A step that was cut to max_length says nothing of longer texts.
  const known = usable && longest < usable.values.training.max_length ? longest : Infinity;
  const estimate = estimateMemory(model, trainable, values, known);
  if (!usable) return { estimate, total: estimate.total, measured: false };
  const then = estimateMemory(model, usable.trainable, usable.values, longest);
  const same = usable.trainable === trainable && JSON.stringify(settingsOf(usable.values)) === JSON.stringify(settingsOf(values));
  return { estimate, total: Math.max(0, estimate.total + usable.result.peak_memory_bytes - then.total), measured: same ? 'this' : 'other' };
}

/** Only what memory depends on, in one order. */
export const settingsOf = ({ task, base_model, engine, training: { per_device_train_batch_size, max_length, gradient_checkpointing } }: MemorySettings): MemorySettings =>
  ({ task, base_model, engine, training: { per_device_train_batch_size, max_length, gradient_checkpointing } });

/** A change of settings with which a run fits. */
export interface FittingChange { label: string; edits: { path: string[]; value: unknown }[]; total: number }

/**
 * The smallest change of each kind that brings the need down to `available` bytes: a smaller batch with the accumulation raised so that
 * their product stays, recomputed activations, shorter texts. Kinds that cannot are left out.
 */
export function fittingChanges(values: MemorySettings & { training: { gradient_accumulation_steps: number } }, available: number, need: (values: MemorySettings) => number): FittingChange[] {
  const { training } = values;
  const at = (part: Partial<MemorySettings['training']>): number => need({ ...values, training: { ...training, ...part } });
  const key = (name: string, value: unknown): FittingChange['edits'][number] => ({ path: ['training', name], value });
  const changes: FittingChange[] = [];
  const first = <T>(candidates: T[], total: (candidate: T) => number, change: (candidate: T) => Omit<FittingChange, 'total'>): void => {
    const fits = candidates.find(candidate => total(candidate) <= available);
    if (fits !== undefined) changes.push({ ...change(fits), total: total(fits) });
  };
  const { per_device_train_batch_size: batch, gradient_accumulation_steps: steps, max_length } = training;
  const divisors = Array.from({ length: batch - 1 }, (_, i) => batch - 1 - i).filter(size => batch % size === 0);
  first(divisors, size => at({ per_device_train_batch_size: size }), size => ({
    label: `Batch ${size}, accumulation ${steps * (batch / size)}`, edits: [key('per_device_train_batch_size', size), key('gradient_accumulation_steps', steps * (batch / size))],
  }));
  if (!training.gradient_checkpointing) first([true], () => at({ gradient_checkpointing: true }), () => ({ label: 'Recompute activations', edits: [key('gradient_checkpointing', true)] }));
  const shorter = [0.75, 0.5, 0.375, 0.25, 0.125].map(share => Math.floor(max_length * share)).filter(length => length >= 8);
  first(shorter, length => at({ max_length: length }), length => ({ label: `max_length ${length}`, edits: [key('max_length', length)] }));
  return changes;
}
