/** What a run will need in memory: an estimate from shapes, corrected by a measured step. Pure. */
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
export type MemorySettings = Pick<Experiment, 'task' | 'base_model' | 'engine'> & {
  training: Pick<Experiment['training'], 'per_device_train_batch_size' | 'max_length' | 'gradient_checkpointing'> & Partial<Pick<Experiment['training'], 'num_train_epochs' | 'predict_with_generate'>>;
  /** Only what decides which layers are frozen. */
  lora?: Partial<Pick<Experiment['lora'], 'full' | 'layers_to_transform' | 'bias' | 'trainable_token_indices'>>;
};

export interface MemoryEstimate {
  /** The engine itself, with Node and ONNX Runtime. */
  process: number;
  /** Base weights as the device holds them. */
  weights: number;
  /** Values, gradients, AdamW's two moments and what the step and the update make of them, of everything that is trained. */
  training: number;
  /** What the forward pass keeps for the backward pass, and what is computed with at a time. */
  activations: number;
  /** What a run has beside its steps: states of a frozen prefix, and the base a second time to write with. A measured step has none of it. */
  beside: number;
  total: number;
}

export interface MemoryModel { modules: readonly ModuleInfo[]; base_parameters: number }

const [FLOAT, HALF] = [4, 2];
/** Size of one attention head where the shapes do not tell: 64 in BERT, GPT-2, T5 and most models of their size. */
const HEAD_SIZE = 64;
/** As in the engine: tokens that are computed at a time, and classes of a vocabulary. */
const PORTION_TOKENS = 512;
const CHUNK_CLASSES = 8192;
const PROCESS = 240e6;
/** On the CPU, ONNX Runtime packs every matrix for the product of each direction; while it does, about half of the file's pages are in memory too. */
const [PACKED, LOADING] = [2, 0.5];
/** Bytes an element of both rounded copies: int4 has a half and, in blocks of 64, one float scale. The scales of int8 are too few to count. */
const ROUNDED = { fp32: undefined, fp16: undefined, int8: 2, int4: 2 * (0.5 + FLOAT / 64) } as const;
/** Floats for each trained value, and for each of a linear layer that is trained whole beside them: measured, on BERTs of 11 M, 29 M and 110 M parameters. */
const [TRAINED, TRAINED_LINEAR] = [18, 9];

/**
 * Bytes that training needs at most. On the CPU: the process; linear weights packed for both directions, and all others once, or rounded ones in two
 * copies, these and all others once in ONNX Runtime and once where they were read to; 72 bytes for each trained parameter, 108 in a linear layer that is trained whole; and, unless reading the weights takes more, for the T tokens of one portion (512, or one longer text) the outputs of every linear layer, what every norm
 * reads, and the attention probabilities, of all layers, or with `gradient_checkpointing` the inputs of all layers and the whole of one.
 * A GPU holds weights once, in half precision those of all layers and embeddings, and both copies of rounded ones. A kept prefix counts with all it may take in memory, whatever the data. Every example counts with `max_length` tokens, or the data's longest if a step was measured.
 */
export function estimateMemory(model: MemoryModel, trainable: number, { task, training, engine, lora = {} }: Omit<MemorySettings, 'base_model'>, longest = Infinity): MemoryEstimate {
  const length = Math.min(training.max_length, longest);
  const examples = Math.max(1, Math.min(training.per_device_train_batch_size, Math.floor(PORTION_TOKENS / length)));
  const tokens = examples * length;
  const layers = layersOf(model.modules);
  const kept = layers.map(layer => FLOAT * tokens * (layer.outputs + layer.norms + layer.gated + layer.heads * length));
  const widest = Math.max(0, ...layers.map(layer => FLOAT * tokens * (3 * layer.widest + 2 * layer.heads * length)));
  const inputs = sum(layers.map(layer => FLOAT * tokens * layer.hidden));
  const written = task === 'CAUSAL_LM' || task === 'SEQ_2_SEQ_LM' ? vocabularyOf(model.modules) : undefined;
  const vocabulary = written?.shape;
  const logits = vocabulary ? FLOAT * tokens * (3 * Math.min(vocabulary[0], CHUNK_CLASSES) + 3 * vocabulary[1]) : 0;
  const activations = Math.max(logits, widest) + (training.gradient_checkpointing ? inputs + Math.max(0, ...kept) : sum(kept));

  // Half precision is computed on GPUs alone, whatever `auto` stands for.
  const gpu = engine.device === 'webgpu' || engine.device === 'cuda' || engine.precision === 'fp16';
  const linear = sum(model.modules.filter(m => m.type === 'Linear' && !m.saved && !m.output).map(m => m.shape[0] * m.shape[1]));
  const output = vocabulary ? vocabulary[0] * vocabulary[1] : 0;
  const tied = written?.type === 'Embedding' ? output : 0;
  const held = (copies: number): number => heldWeights({ linear, output, tied, all: model.base_parameters }, engine.precision, gpu, copies);
  // A model that is trained whole has no frozen weights: its values are counted with their gradients and moments.
  const weights = lora.full ? 0 : held(PACKED);
  const state = FLOAT * (TRAINED * trainable + (lora.full ? TRAINED_LINEAR * linear : 0));
  const process = gpu ? 0 : PROCESS;
  const loading = gpu || lora.full || ROUNDED[engine.precision] ? 0 : FLOAT * LOADING * linear;
  const beside = (keepsPrefix({ task, training, engine, lora }) ? engine.prefix_cache_mb * 1e6 : 0) + (training.predict_with_generate ? held(1) : 0);
  return { process, weights, training: state, activations, beside, total: process + weights + state + Math.max(activations, loading) + beside };
}

/**
 * Bytes of frozen weights: fp32 packed for so many directions on the CPU, or rounded. Beside rounded weights none are read from the
 * checkpoint's file: embeddings that are the output layer too are then there whole, for the input, and in chunks of classes.
 */
function heldWeights({ linear, output, tied, all }: { linear: number; output: number; tied: number; all: number }, precision: Experiment['engine']['precision'], gpu: boolean, copies: number): number {
  if (precision === 'fp16') return HALF * all;
  const rounded = ROUNDED[precision];
  if (gpu) return FLOAT * (rounded ? all - linear : all) + (rounded ?? 0) * linear;
  if (!rounded) return FLOAT * (copies * (linear + output) + all - linear);
  return 2 * ((copies / PACKED) * rounded * linear + FLOAT * (all - linear + tied)) + FLOAT * copies * output;
}

/** Whether layers below all that is trained may be computed once for all epochs; where settings alone do not tell, no. */
const keepsPrefix = ({ task, training, engine, lora = {} }: Omit<MemorySettings, 'base_model'>): boolean =>
  engine.prefix_cache === 'auto' && engine.prefix_cache_mb > 0 && (training.num_train_epochs ?? 1) > 1 && task !== 'SEQ_2_SEQ_LM' && !lora.full && lora.bias !== 'all' && lora.trainable_token_indices == null
  && Math.min(...[lora.layers_to_transform ?? 0].flat()) > 0;

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

/** The output layer over the vocabulary, or the embeddings that are tied to it; its shape is [tokens, width]. */
const vocabularyOf = (modules: readonly ModuleInfo[]): ModuleInfo | undefined =>
  modules.find(m => m.output) ?? modules.filter(m => m.type === 'Embedding').sort((a, b) => b.parameters - a.parameters)[0];

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** The estimate, moved by what a measured step needed more or less than its own estimate. `measured` says whether one was. */
export function neededMemory(model: MemoryModel, trainable: number, values: Omit<MemorySettings, 'base_model'> & { base_model: string }, memory: MemoryView | undefined): { estimate: MemoryEstimate; total: number; measured: 'this' | 'other' | false } {
  const probe = memory?.measured;
  const usable = probe && probe.values.base_model === values.base_model && probe.values.task === values.task && probe.values.engine.device === values.engine.device && probe.result.device.startsWith('cpu') ? probe : undefined;
  const longest = usable?.result.longest ?? Infinity;
  // A step that was cut to max_length says nothing of longer texts.
  const known = usable && longest < usable.values.training.max_length ? longest : Infinity;
  const estimate = estimateMemory(model, trainable, values, known);
  if (!usable) return { estimate, total: estimate.total, measured: false };
  const then = estimateMemory(model, usable.trainable, usable.values, longest);
  const same = usable.trainable === trainable && JSON.stringify(settingsOf(usable.values)) === JSON.stringify(settingsOf(values));
  return { estimate, total: Math.max(0, estimate.total + usable.result.peak_memory_bytes - (then.total - then.beside)), measured: same ? 'this' : 'other' };
}

/** Only what memory depends on, in one order. */
export const settingsOf = ({ task, base_model, engine, lora, training: { per_device_train_batch_size, max_length, gradient_checkpointing, num_train_epochs, predict_with_generate } }: MemorySettings): MemorySettings => ({
  task, base_model, engine,
  // Every epoch after the second finds the same in memory.
  training: { per_device_train_batch_size, max_length, gradient_checkpointing, num_train_epochs: Math.min(2, num_train_epochs ?? 1), predict_with_generate },
  lora: { full: lora?.full, layers_to_transform: lora?.layers_to_transform, bias: lora?.bias, trainable_token_indices: lora?.trainable_token_indices },
});
