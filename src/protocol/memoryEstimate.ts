/** What a run will need in memory, from shapes. Pure. */
import { countAdapter, type AdapterCount, type AdapterSettings, type ModelShape } from './adapterMath';
import type { BaseDropout, ModuleInfo } from './engine';
import type { Experiment } from './experiment';
import { trainedPortion } from './portions';
import { BLOCKED_FROM, MOST_BLOCKS, savingsOf, TURN_BYTES } from './savings';

/** The settings that memory depends on. */
export type MemorySettings = Pick<Experiment, 'task' | 'base_model'> & {
  engine: Pick<Experiment['engine'], 'device' | 'precision' | 'prefix_cache' | 'prefix_cache_mb'> & Partial<Pick<Experiment['engine'], 'without'>>;
  training: Pick<Experiment['training'], 'per_device_train_batch_size' | 'max_length' | 'gradient_checkpointing'> & Partial<Pick<Experiment['training'], 'num_train_epochs' | 'max_steps' | 'gradient_accumulation_steps' | 'packing' | 'predict_with_generate' | 'max_target_length'>>;
  lora: AdapterSettings & { lora_dropout?: number };
  /** Of a sweep, whose members are in one process. */
  sweep?: SweepSize;
};

/** What the memory of a sweep depends on: how many experiments it has, and the highest rank among them. */
export interface SweepSize { members: number; r: number }

export interface MemoryEstimate {
  /** The engine itself, with Node and ONNX Runtime. */
  process: number;
  /** Base weights as the device holds them. */
  weights: number;
  /** Values, gradients, AdamW's two moments and what the step and the update make of them, of everything that is trained. */
  training: number;
  /** What the forward pass keeps for the backward pass, and what is computed with at a time. */
  activations: number;
  /** What a run has beside its steps: states of a frozen prefix, the base a second time to write with, the other members of a sweep, and what JavaScript has not cleared away. A measured step has none of it. */
  beside: number;
  total: number;
}

/** What of the base model and the data memory depends on. `heads`: query heads of each layer. `rows`: how many batches are made of, where that is known: examples, or packed rows. */
export interface MemoryModel extends ModelShape { dropout?: BaseDropout; heads?: number; data_bytes?: number | null; rows?: number }

const [FLOAT, HALF] = [4, 2];
/** Size of one attention head where nobody tells their number: 64 in BERT, GPT-2, T5 and most models of their size. */
const HEAD_SIZE = 64;
/** As in the engine: classes of a vocabulary that are computed at a time, where its layer is frozen. */
const CHUNK_CLASSES = 8192;
/** Measured on nine BERTs, GPT-2 and a Qwen2: the engine by itself, and what it takes beside its weights. */
const [PROCESS, BESIDE_WEIGHTS] = [200e6, 0.05];
/** Of what ONNX Runtime makes copies of while it loads rounded weights and chunks of a tied output layer, so much stays with the process: measured on BERT-base and GPT-2. */
const LEFT_OF_COPIES = 0.7;
/** Many large tensors leave holes in ONNX Runtime's arena: of what goes beyond this, so much more (measured 1.03 GB more beside 1.6 GB, 0.22 beside 0.87). */
const [HOLES_FROM, HOLES] = [512e6, 0.5];
/** On the CPU, ONNX Runtime packs every matrix for the product of each direction; while it does, about half of the file's pages are in memory too. */
const [PACKED, LOADING] = [2, 0.5];
/** Bytes an element of one rounded copy: int4 has a half and, in blocks of 64, one float scale. The scales of int8 are too few to count. */
const ROUNDED = { fp32: undefined, fp16: undefined, int8: 1, int4: 0.5 + FLOAT / 64 } as const;
/** Floats for each trained value: measured, on BERTs of 11 M, 29 M and 110 M parameters that are trained whole. */
const TRAINED = 14.5;
/** A GPU has all vectors whole: floats for each trained value, and for each of a linear layer that is trained whole beside them, from when the CPU had them so. */
const [TRAINED_GPU, TRAINED_GPU_LINEAR] = [16, 9];
/** Floats for each trained value of a further member of a sweep: values, moments, sums of gradients, start. */
const TRAINED_MEMBER = 8;
/** What steps were fed and gave is freed by JavaScript once it is so much. The vectors of a few steps count with what is trained. */
const UNCOLLECTED = 32e6;
/** Scores, probabilities and their gradients of what attention of long texts computes at a time. */
const TURNS = 4;
/** Times the states of a token: what attention keeps of its own where it computes probabilities again, measured. */
const SLOTS = 2;
/** Bytes of a data file for each token: less than English texts have in any tokenizer, so that a kept prefix is not thought too small. */
const BYTES_PER_TOKEN = 4;

/**
 * Bytes that training needs at most. On the CPU: the process; linear weights packed for both directions, or for one where no gradient passes, with DoRA those of adapted layers once more, and all others once, or rounded ones
 * in as many copies and a part of them once more, these and all others while they are loaded also where they are made; 58 bytes for each trained parameter; and, unless
 * reading the weights takes more, for the T tokens of one portion (512, more where much is trained: `trainedPortion`; or one longer text) the outputs of every linear layer, what every norm reads, the attention probabilities, or where they are computed again what attention keeps instead,
 * the masks of dropout and what adapters keep (A's and DoRA's outputs), of all layers from the lowest one in which something is trained, or with `gradient_checkpointing` the inputs of these layers and the whole of one.
 * A GPU takes 64 bytes for each trained parameter, 100 in a linear layer that is trained whole, and holds weights once, in half precision those of all layers and embeddings, and the copies of rounded ones. A kept prefix counts with the states of all tokens that the data's size allows, up to what it may take in memory. The process of a long run grows by up to 32 MB that JavaScript has not cleared away.
 * T has no gap: a portion of shorter texts is as full as one of the longest, and packed rows are. Every example counts with `max_length` tokens, or the data's longest if that is known; of an encoder-decoder that is the source, and the target counts with `max_target_length` in the decoder, which has two attentions in each layer.
 */
export function estimateMemory(model: MemoryModel, settings: Omit<MemorySettings, 'base_model'>, longest = Infinity): MemoryEstimate {
  const { task, training, engine, sweep } = settings;
  const lora = sweep ? { ...settings.lora, r: sweep.r } : settings.lora;
  const count = countAdapter(model, lora);
  const savings = savingsOf(engine);
  const length = Math.min(training.max_length, longest);
  const pairs = task === 'SEQ_2_SEQ_LM';
  // An encoder-decoder's decoder reads the targets.
  const target = pairs ? Math.min(training.max_target_length ?? training.max_length, longest) : 0;
  // Half precision is computed on GPUs alone, whatever `auto` stands for.
  const gpu = engine.device === 'webgpu' || engine.device === 'cuda' || engine.precision === 'fp16';
  const decoder = task === 'CAUSAL_LM' || (task === 'SEQ_CLS' && model.modules.some(({ name }) => /\.(q_proj|qkv_proj|c_attn)$/.test(name)));
  if (longest === Infinity && savings.attention_blocks) {
    // Texts that are just too short for it keep their probabilities.
    const shorter = Object.values(BLOCKED_FROM).filter(from => from <= Math.max(length, target)).map(from => from - 1);
    return [Math.max(length, target), ...shorter].map(known => estimateMemory(model, settings, known)).reduce((most, other) => (other.total > most.total ? other : most));
  }
  const again = (attention: Attention): boolean =>
    savings.attention_blocks && attention.longest >= BLOCKED_FROM[decoder || attention.kind === 'decoder' ? 'decoder' : 'encoder'] && computedAgain(attention, { model, count, lora, gpu, decoder });
  const portion = savings.portions ? trainedPortion(count) : Infinity;
  // Not a whole number of the longest: shorter ones fill a portion.
  const row = training.packing ? training.max_length : length + target;
  const examples = Math.max(1, Math.min(training.per_device_train_batch_size * row, portion) / (length + target));
  const layers = layersOf(model.modules, model.heads);
  const frozen = frozenLayers(model.modules, layers, count, lora);
  const tokens = (layer: Layer): number => examples * (layer.decoder ? target : length);
  const attentions = (layer: Layer): Attention[] => (layer.decoder ? [{ kind: 'decoder', keys: target, longest: target }, { kind: 'cross', keys: length, longest: Math.max(length, target) }] : [{ kind: 'own', keys: length, longest: Math.max(length, target) }]);
  const beside_layers = besideOf(model, layers, count, lora);
  const last = (i: number): boolean => task === 'SEQ_CLS' && savings.last_layer_positions && i === layers.length - 1;
  /** Floats that the attentions of a layer keep for each token: probabilities, with dropout its mask and what it leaves of them too. */
  const attended = (layer: Layer): number => sum(attentions(layer).map(attention => (again(attention) ? SLOTS * layer.hidden : (model.dropout?.attention ? 3 : 1) * layer.heads * attention.keys)));
  const kept = layers.map((layer, i) => FLOAT * (tokens(layer) * (last(i) ? layer.inward : layer.outputs + layer.norms + layer.gated + attended(layer) + beside_layers[i]) + (layer.decoder ? examples * length * layer.crossing : 0))).slice(frozen);
  const scores = layers.map(layer => Math.max(0, ...attentions(layer).map(attention => (again(attention) && !gpu ? TURNS * Math.max(TURN_BYTES, FLOAT * layer.group * attention.keys ** 2 / MOST_BLOCKS) : 2 * FLOAT * tokens(layer) * layer.heads * attention.keys))));
  const widest = Math.max(0, ...layers.map((layer, i) => 3 * FLOAT * tokens(layer) * layer.widest + scores[i]));
  const inputs = sum(layers.slice(frozen).map(layer => FLOAT * tokens(layer) * layer.hidden));
  const written = task === 'CAUSAL_LM' || task === 'SEQ_2_SEQ_LM' ? vocabularyOf(model.modules) : undefined;
  const vocabulary = written?.shape;
  const classes = vocabulary ? (savings.chunked_loss && !isTrained(written!, count, lora) ? Math.min(vocabulary[0], CHUNK_CLASSES) : vocabulary[0]) : 0;
  // The logits of an adapter are added to those of the layer that it is on.
  const times = count.adapters.some(({ name }) => name === written?.name && written.type === 'Linear') ? 4 : 3;
  const logits = vocabulary ? FLOAT * examples * (pairs ? target : length) * (times * classes + 3 * vocabulary[1]) : 0;
  // What T5 adds to the scores for the distance of two tokens is the same in all layers of a stack, which read it once more where they compute them again.
  const positioned = model.modules.some(({ name }) => POSITIONS.test(name)) ? [...new Map(layers.map(layer => [layer.decoder, layer])).values()] : [];
  const positions = sum(positioned.map(layer => ({ layer, own: attentions(layer)[0] })).filter(({ own }) => again(own)).map(({ layer, own }) => FLOAT * layer.heads * own.keys ** 2 * (layer.decoder ? 1 : examples)));
  const live = Math.max(logits, widest) + positions + (training.gradient_checkpointing ? inputs + Math.max(0, ...kept) : sum(kept));
  // A planned block is there beside what the first run of its size allocated.
  const planned = gpu || savings.on_demand_memory ? 0 : live;
  const activations = live + planned + (gpu ? 0 : HOLES * Math.max(0, live - HOLES_FROM));

  const below = sum(layers.slice(0, frozen).map(layer => layer.elements));
  const linear = sum(model.modules.filter(m => m.type === 'Linear' && !m.saved && !m.output).map(elements)) - below;
  const output = vocabulary ? vocabulary[0] * vocabulary[1] : 0;
  const tied = written?.type === 'Embedding' ? output : 0;
  const frozen_weights: Held = { linear, below, output, tied, all: model.base_parameters };
  const held = (copies: number): number => heldWeights(frozen_weights, engine.precision, gpu, copies);
  // For the lengths of their rows DoRA reads adapted weights neither packed nor in half precision; int8 and int4 it refuses.
  const unpacked = FLOAT * (lora.use_dora && (!gpu || engine.precision === 'fp16') ? sum(model.modules.filter(module => module.type === 'Linear' && count.adapters.some(({ name }) => name === module.name)).map(elements)) : 0);
  // A model that is trained whole has no frozen weights: its values are counted with their gradients and moments.
  const weights = lora.full ? 0 : held(PACKED) + unpacked;
  const state = FLOAT * (gpu ? TRAINED_GPU * count.trainable_parameters + (lora.full ? TRAINED_GPU_LINEAR * linear : 0) : TRAINED * count.trainable_parameters);
  const process = gpu ? 0 : PROCESS + weights * BESIDE_WEIGHTS;
  const split = frozen > 0 && keepsPrefix(settings, model.rows) && !model.dropout?.hidden && !model.dropout?.attention;
  const loading = gpu || lora.full ? 0 : madeWeights(frozen_weights, engine.precision, PACKED) ?? FLOAT * LOADING * (split ? Math.max(linear, below) : linear + below);
  const states = split ? Math.min(engine.prefix_cache_mb * 1e6, FLOAT * layers[frozen - 1].hidden * (model.data_bytes ?? Infinity) / BYTES_PER_TOKEN) : 0;
  const members = FLOAT * TRAINED_MEMBER * count.trainable_parameters * ((sweep?.members ?? 1) - 1);
  const beside = states + (training.predict_with_generate ? held(1) : 0) + members + (gpu ? 0 : Math.max(0, UNCOLLECTED - state));
  return { process, weights, training: state, activations, beside, total: process + weights + state + Math.max(activations, loading) + beside };
}

/** An attention of a layer: of a decoder that has an encoder its own, or that over the source; or that of any other layer. With the tokens that each sees at most, and those that decide how it is computed. */
interface Attention { kind: 'own' | 'decoder' | 'cross'; keys: number; longest: number }

/**
 * Whether an attention computes the probabilities of long texts again instead of keeping them: on the CPU all do, but those of T5 to which embeddings of positions are added while embeddings
 * are trained; on a GPU those of decoders to which neither dropout nor, as in Gemma 2, a bound is applied.
 */
function computedAgain({ kind }: Attention, { model: { modules, dropout }, count, lora, gpu, decoder }: { model: MemoryModel; count: AdapterCount; lora: AdapterSettings; gpu: boolean; decoder: boolean }): boolean {
  if (gpu) return decoder && !dropout?.attention && !modules.some(({ name }) => /\.pre_feedforward_layernorm$/.test(name));
  const positions = kind !== 'cross' && modules.some(({ name }) => POSITIONS.test(name));
  return !positions || (!lora.full && !count.adapters.some(({ name }) => modules.find(module => module.name === name)?.type === 'Embedding'));
}

interface Held { linear: number; below: number; output: number; tied: number; all: number }

/**
 * Bytes of frozen weights: fp32 packed for so many directions on the CPU, those `below` all that is trained for one, or rounded. Beside rounded weights none are read from the
 * checkpoint's file: embeddings that are the output layer too are then there whole, for the input, and in chunks of classes.
 */
function heldWeights({ linear, below, output, tied, all }: Held, precision: Experiment['engine']['precision'], gpu: boolean, copies: number): number {
  if (precision === 'fp16') return HALF * all;
  const rounded = ROUNDED[precision];
  const [once, packed] = [all - linear - below, copies * linear + below];
  if (gpu) return rounded ? FLOAT * once + rounded * packed : FLOAT * all;
  if (!rounded) return FLOAT * (packed + copies * output + once);
  return (1 + LEFT_OF_COPIES) * rounded * packed + FLOAT * (once + copies * output + LEFT_OF_COPIES * tied);
}

/** Bytes in which the engine makes rounded weights and those beside them, until ONNX Runtime has loaded them. Undefined where it reads them itself. */
function madeWeights({ linear, below, tied, all }: Held, precision: Experiment['engine']['precision'], copies: number): number | undefined {
  const rounded = ROUNDED[precision];
  return rounded && rounded * (copies * linear + below) + FLOAT * (all - linear - below + tied);
}

/** Whether layers below all that is trained may be computed once for all epochs. Where nothing tells how many steps an epoch has, `max_steps` may be more. */
function keepsPrefix({ task, training, engine }: Omit<MemorySettings, 'base_model'>, rows: number | undefined): boolean {
  const { num_train_epochs = 1, max_steps = -1, gradient_accumulation_steps = 1, per_device_train_batch_size } = training;
  const epoch = rows === undefined ? 0 : Math.ceil(Math.ceil(rows / per_device_train_batch_size) / gradient_accumulation_steps);
  return savingsOf(engine).prefix_cache && engine.prefix_cache_mb > 0 && (max_steps > 0 ? max_steps > epoch : num_train_epochs > 1) && task !== 'SEQ_2_SEQ_LM';
}

interface Layer {
  name: string;
  /** Of a decoder that has an encoder. */
  decoder: boolean;
  /** Floats of one token of the source: keys and values of a decoder's. */
  crossing: number;
  /** Floats of one token: outputs of all linear layers, of those that the attention reads, inputs of norms, of a gate, the widest output, the states. */
  outputs: number; inward: number; norms: number; gated: number; widest: number; hidden: number;
  heads: number;
  /** Heads that share keys. */
  group: number;
  /** Of its linear weights. */
  elements: number;
}

const elements = (module: ModuleInfo): number => module.shape[0] * module.shape[1];
const layerName = (name: string): string | undefined => /^.*?\.\d+\./.exec(name)?.[0];
/** T5's embeddings of relative positions. */
const POSITIONS = /\.relative_attention_bias$/;
const INWARD = /(query|key|value|q_proj|k_proj|v_proj|q_lin|k_lin|v_lin|qkv_proj|c_attn)$/;

/** Each numbered layer, in the order of the forward pass. */
function layersOf(modules: readonly ModuleInfo[], known_heads?: number): Layer[] {
  const groups = new Map<string, ModuleInfo[]>();
  for (const module of modules) {
    const name = layerName(module.name);
    if (name) groups.set(name, [...groups.get(name) ?? [], module]);
  }
  return [...groups].map(([name, group]) => {
    const linears = group.filter(m => m.type === 'Linear');
    const hidden = Math.min(...linears.map(m => m.shape[1]));
    const queries = linears.find(m => /(query|q_proj|q_lin|\.q)$/.test(m.name))?.shape[0] ?? hidden;
    const keys = linears.find(m => /k_proj$/.test(m.name))?.shape[0];
    const fused = linears.find(m => /qkv_proj$/.test(m.name))?.shape[0];
    const sharing = Math.max(1, Math.round(keys ? queries / keys : fused ? 2 * queries / (fused - queries) : 1));
    const gate = linears.find(m => /(gate_proj|wi_1|gate_up_proj)$/.test(m.name));
    const crossing = sum(linears.filter(m => /EncDecAttention\.(k|v)$/.test(m.name)).map(m => m.shape[0]));
    return {
      name, decoder: crossing > 0, crossing, outputs: sum(linears.map(m => m.shape[0])) - crossing, inward: sum(linears.filter(m => INWARD.test(m.name)).map(m => m.shape[0])), norms: sum(group.filter(m => m.type === 'LayerNorm').map(m => m.shape[0])), gated: gate ? 2 * gate.shape[0] : 0,
      widest: Math.max(0, ...linears.map(m => m.shape[0])), hidden: linears.length ? hidden : 0, heads: linears.length ? known_heads ?? Math.max(1, Math.round(queries / HEAD_SIZE)) : 0, group: sharing, elements: sum(linears.map(elements)),
    };
  });
}

/** How many layers lie below everything that is trained: no gradient passes through them. */
function frozenLayers(modules: readonly ModuleInfo[], layers: readonly Layer[], { adapters, saved }: AdapterCount, lora: AdapterSettings): number {
  if (lora.full || lora.bias === 'all' || lora.trainable_token_indices != null) return 0;
  const first = modules.findIndex(({ name }) => layerName(name) !== undefined);
  const layerOf = (trained: string): number => {
    const place = layers.findIndex(({ name }) => `${trained}.`.startsWith(name));
    // Embeddings and what else comes before the layers lies below all of them, heads above.
    return place >= 0 ? place : modules.findIndex(({ name }) => name === trained || name.startsWith(`${trained}.`)) < first ? 0 : layers.length;
  };
  return Math.min(layers.length, ...[...adapters.map(({ name }) => name), ...saved].map(layerOf));
}

/**
 * Floats of one token that each layer keeps beside its own: of the base's dropout the masks, of each adapter what A makes, with DoRA the output before it is scaled, and with dropout mask and
 * input. Without, what a trained linear layer reads is kept already, but for what an activation makes of the layer before it; gates count with theirs.
 */
function besideOf({ dropout }: MemoryModel, layers: readonly Layer[], { adapters }: AdapterCount, lora: MemorySettings['lora']): number[] {
  return layers.map(({ name, hidden, gated }) => {
    const own = adapters.filter(adapter => adapter.name.startsWith(name));
    const inputs = lora.lora_dropout ? sum(own.map(({ A }) => 2 * A[1])) : gated ? 0 : Math.max(0, ...own.map(({ A }) => A[1]).filter(width => width > hidden));
    return (dropout?.hidden ?? 0) / layers.length + sum(own.map(({ A, B }) => A[0] + (lora.use_dora ? B[0] : 0))) + inputs;
  });
}

/** Whether a module is trained, whole or by an adapter. */
const isTrained = ({ name }: ModuleInfo, { adapters, saved }: AdapterCount, { full }: AdapterSettings): boolean =>
  full === true || adapters.some(adapter => adapter.name === name) || saved.some(other => `${name}.`.startsWith(`${other}.`));

/** The output layer over the vocabulary, or the embeddings that are tied to it; its shape is [tokens, width]. */
const vocabularyOf = (modules: readonly ModuleInfo[]): ModuleInfo | undefined =>
  modules.find(m => m.output) ?? modules.filter(m => m.type === 'Embedding').sort((a, b) => b.parameters - a.parameters)[0];

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
