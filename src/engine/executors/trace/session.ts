/** Turns a traced program into an ONNX Runtime session. */
import { realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import * as ort from 'onnxruntime-node';
import { ALL_SAVINGS, type Savings } from '../../../protocol/savings';
import type { Program } from '../executor';
import type { Weight } from '../../model/weights';
import { LabError } from '../../errors';
import { toF16 } from '../../model/floats';
import { touchAhead } from '../../memoryAhead';
import { ReturnedMemory } from '../../returnedMemory';
import { packWeight, roomFor } from '../../model/quantize';
import { readTensor } from '../../model/safetensors';
import type { Traced } from './trace';
import { encodeModel, type Initializer } from './onnx';
import { readsOf, type Graph, type GraphNode, type Provider, type Value } from './graph';

export interface SessionSettings {
  provider: Provider;
  /** Threads that compute on the CPU; undefined lets ONNX Runtime choose. */
  threads?: number;
  /** Bytes of a frozen table that rows are gathered from whole; default is what every device of the provider can hold. */
  largest_table?: number;
  /** Default: all. */
  savings?: Savings;
  /** Prefix of a file that ONNX Runtime writes its times of every node to, when the session ends. */
  profile?: string;
}

/** Threads wait this long for the next node before they sleep: as long as most pauses between nodes, so that the editor has the cores between steps. */
const SPIN_MICROSECONDS = '50';

/** Rewritings of ONNX Runtime's that do harm. */
function unwanted(provider: Provider, { split_bias, transposed_gradients }: Savings): string[] {
  if (provider !== 'cpu') return [];
  // They undo what lowerings do: they make Gemms with three inputs, and products of few rows and many columns.
  return [...(split_bias ? ['MatMulAddFusion', 'GemmSumFusion'] : []), ...(transposed_gradients ? ['GemmTransposeFusion'] : [])];
}

/**
 * How far ONNX Runtime is to improve the graph. Lowerings for the CPU leave its levels above `basic` nothing in a training step, and that one what is
 * made of weights and constants alone or is there twice. Looking for more takes 40 of the 100 ms that a session of BERT-base takes without its weights.
 */
function optimizationLevel(provider: Provider, { graph, forward, backward, gradients }: Traced, casts: GraphNode[]): 'all' | 'basic' | 'disabled' {
  if (provider !== 'cpu' || !gradients) return 'all';
  const fixed = (name: string): boolean => graph.constants.has(name) || graph.weights.has(name);
  const improvable = (nodes: GraphNode[]): boolean => {
    const computed = nodes.map(({ op, inputs }) => `${op}(${inputs})`);
    return new Set(computed).size < nodes.length || nodes.some(({ inputs, body }) => inputs.every(fixed) || (body !== undefined && improvable(body.nodes)));
  };
  return casts.length || improvable(forward) || improvable(backward) ? 'basic' : 'disabled';
}

/**
 * Probabilities of masked keys are denormal numbers, with which softmax takes five times as long, and the products after it half as long again.
 * Threads of a session follow its own option; for the thread that calls it the first session of the process decides, and a run has a process of its own.
 */
export const denormalOptions = ({ flushed_denormals } = ALL_SAVINGS): Record<string, string> => (flushed_denormals ? { set_denormal_as_zero: '1' } : {});

const FLOAT_BYTES = 4;
const STORED_TYPE = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/** Builds the session. Weights are read by ONNX Runtime straight from the checkpoint's files, unless some are rounded first. Error `checkpoint.range` for one that half precision cannot hold. */
export async function createSession(program: Program, traced: Traced, settings: SessionSettings): Promise<ort.InferenceSession> {
  const { graph, gradients } = traced;
  const { savings = ALL_SAVINGS } = settings;
  const read = new Set([...traced.forward, ...traced.backward].flatMap(readsOf));
  const used = [...graph.weights].filter(([value]) => read.has(value)).map(([value, name]) => ({ value, weight: partOf(program.weights.get(name)!, graph.weightRows.get(value)), half: graph.halves.has(value), name }));
  const shared = commonFolder(used.map(u => u.weight));
  const rounded = graph.packed.length > 0 || used.some(({ half, weight }) => half && !(shared !== undefined && weight.source === 'file' && weight.ref.dtype === 'F16'));
  const memory = new ReturnedMemory();
  const { initializers, casts, files, folder } = rounded ? inMemory(program, graph, used, read, memory) : inFiles(used, shared);
  const stop = gradients && settings.provider === 'cpu' && savings.touched_memory ? await touchAhead(packedSizes(traced, used)) : undefined;
  const bytes = encodeModel({
    graph, initializers, outputs: traced.outputs,
    nodes: [...casts, ...traced.forward],
    backward: gradients && { nodes: traced.backward, outputs: gradients },
  });
  return ort.InferenceSession.create(bytes, {
    executionProviders: [settings.provider],
    graphOptimizationLevel: optimizationLevel(settings.provider, traced, casts),
    // A pattern is one block for everything that a batch of these sizes computes, beside what the first run of it allocated: twice the activations.
    enableMemPattern: !savings.on_demand_memory,
    logSeverityLevel: 3,
    // The binding knows no other device's memory: what CUDA keeps goes through the engine's.
    ...(settings.provider === 'webgpu' && program.keep?.length ? { preferredOutputLocation: Object.fromEntries(program.keep.map(name => [name, 'gpu-buffer' as const])) } : {}),
    ...(files.length ? { externalData: files } : {}),
    ...(settings.profile ? { enableProfiling: true, profileFilePrefix: settings.profile } : {}),
    ...(settings.threads ? { intraOpNumThreads: settings.threads } : {}),
    extra: {
      session: {
        intra_op: savings.thread_spinning ? { allow_spinning: '1', spin_duration_us: SPIN_MICROSECONDS } : { allow_spinning: '0' },
        ...denormalOptions(savings),
        // A node that WebGPU cannot run must be an error here, never a copy to the CPU and back in every step. CUDA's provider
        // leaves small integer nodes to the CPU by its own choice.
        ...(settings.provider === 'webgpu' ? { disable_cpu_ep_fallback: '1' } : {}),
        ...(folder ? { model_external_initializers_file_folder_path: folder } : {}),
      },
      optimization: { disable_specified_optimizers: unwanted(settings.provider, savings).join(';') },
    },
  }).finally(() => {
    memory.giveBack();
    stop?.();
  });
}

/** Products whose second input ONNX Runtime packs for the CPU where it is a weight, each for itself. */
const PRODUCTS = ['MatMul', 'Gemm', 'FusedMatMul'];

/** Bytes of each packed weight, once for each direction that it is multiplied in: recomputed products keep no third copy. */
function packedSizes({ forward, backward }: Traced, used: Used): number[] {
  const sizes = new Map(used.map(({ value, weight }) => [value, FLOAT_BYTES * sizeOf(shapeOf(weight))]));
  const products = [...forward, ...backward].filter(({ op, inputs }) => PRODUCTS.includes(op) && sizes.has(inputs[1]));
  const packed = new Map(products.map(({ inputs: [, weight], attributes }) => [`${Boolean(attributes.transB)} ${weight}`, sizes.get(weight)!]));
  return [...packed.values()];
}

type Used = { value: string; weight: Weight; half: boolean; name: string }[];
interface Initializers { initializers: Initializer[]; casts: GraphNode[]; files: { path: string; data: Uint8Array }[]; folder?: string }

/** Weights as they stand in the checkpoint's files, where all of these are in one folder. */
function inFiles(used: Used, folder: string | undefined): Initializers {
  const initializers: Initializer[] = [], casts: GraphNode[] = [];
  for (const { value, weight, half } of used) {
    const stored = weight.source === 'file' && folder !== undefined ? STORED_TYPE[weight.ref.dtype as keyof typeof STORED_TYPE] : undefined;
    if (weight.source === 'file' && stored) {
      const name = stored === 'float32' || half ? value : `stored:${value}`;
      initializers.push({ name, shape: weight.ref.shape, dtype: stored, location: basename(realpathSync(weight.ref.file)), offset: weight.ref.offset, bytes: weight.ref.bytes, variable: half });
      if (name !== value) casts.push({ op: 'Cast', domain: '', inputs: [name], outputs: [value], attributes: { to: 1 } });
    } else {
      initializers.push({ name: value, shape: shapeOf(weight), dtype: 'float32', data: valuesOf(weight) });
    }
  }
  return { initializers, casts, files: [], folder };
}

/**
 * Weights in few bits and the others beside them, each as a file that is in memory only, which ONNX Runtime copies: it takes all
 * external data from memory or none, and a model of many gigabytes fits in no protobuf. The files are in `memory`.
 */
function inMemory(program: Program, graph: Graph, used: Used, read: ReadonlySet<string>, memory: ReturnedMemory): Initializers {
  const initializers: Initializer[] = [], files: Initializers['files'] = [];
  const add = ({ name, shape, dtype }: Value, data: Uint8Array, variable = false): void => {
    const path = `weight-${files.length}`;
    files.push({ path, data });
    initializers.push({ name, shape, dtype: dtype as 'float32' | 'float16' | 'int8' | 'uint8', location: path, offset: 0, bytes: data.byteLength, variable });
  };
  const rounded = graph.packed.filter(({ data }) => read.has(data.name));
  // What is rounded is read to the same place, and rounded in the same.
  const halves = new Uint16Array(Math.max(0, ...used.filter(({ half }) => half).map(({ weight }) => sizeOf(shapeOf(weight)))));
  const place = new Float32Array(Math.max(halves.length, ...rounded.map(({ weight }) => sizeOf(shapeOf(program.weights.get(weight)!)))));
  const room = roomFor(rounded.map(({ layout }) => layout));
  const here = (size: number): Float32Array => place.subarray(0, size);
  for (const { value, weight, half, name } of used) {
    const shape = shapeOf(weight);
    if (half) add({ name: value, dtype: 'float16', shape }, memory.copy(halfOf(name, weight, valuesOf(weight, here), halves)), true);
    else add({ name: value, dtype: 'float32', shape }, bytesOf(valuesOf(weight, size => new Float32Array(memory.take(FLOAT_BYTES * size)))));
  }
  // Both copies of a weight one after the other, so that it is read once.
  let last: { name: string; values: Float32Array } | undefined;
  for (const { weight: name, layout, data, scale } of rounded.sort((a, b) => (a.weight < b.weight ? -1 : a.weight > b.weight ? 1 : 0))) {
    last = last?.name === name ? last : { name, values: valuesOf(program.weights.get(name)!, here) };
    const packed = packWeight(last.values, layout, room);
    add(data, memory.copy(packed.data));
    add(scale, memory.copy(packed.scale));
  }
  return { initializers, casts: [], files };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);
const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const shapeOf = (weight: Weight): number[] => (weight.source === 'memory' ? weight.shape : weight.ref.shape);
/** Those in a file are read to where `place` says. */
const valuesOf = (weight: Weight, place?: (size: number) => Float32Array): Float32Array => (weight.source === 'memory' ? weight.data : readTensor(weight.ref, place?.(sizeOf(weight.ref.shape))));

/** The values of a weight in half precision, in `room`. Error `checkpoint.range` if that cannot hold one of them. */
function halfOf(name: string, weight: Weight, values: Float32Array, room: Uint16Array): Uint16Array {
  const large = values.find(value => Math.abs(value) > LARGEST_HALF);
  if (large === undefined) return toF16(values, room.subarray(0, values.length));
  throw new LabError({
    code: 'checkpoint.range', file: weight.source === 'file' ? weight.ref.file : undefined, where: `tensor "${name}"`,
    cause: `holds ${large}, and half precision ends at ${LARGEST_HALF}`, action: 'set engine.precision to "fp32"',
  });
}

const LARGEST_HALF = 65504;

/** A weight, or some rows of it. */
function partOf(weight: Weight, rows: { begin: number; end: number } | undefined): Weight {
  if (!rows) return weight;
  const cut = ([all, ...rest]: number[]): { shape: number[]; share: number } => ({ shape: [rows.end - rows.begin, ...rest], share: 1 / all });
  if (weight.source === 'memory') {
    const { shape, share } = cut(weight.shape);
    const width = weight.data.length * share;
    return { ...weight, shape, data: weight.data.subarray(rows.begin * width, rows.end * width) };
  }
  const { shape, share } = cut(weight.ref.shape);
  const width = weight.ref.bytes * share;
  return { ...weight, ref: { ...weight.ref, shape, offset: weight.ref.offset + rows.begin * width, bytes: (rows.end - rows.begin) * width } };
}

/** The one folder that holds all weight files, symbolic links resolved: ONNX Runtime reads external data from one folder only. */
function commonFolder(weights: Weight[]): string | undefined {
  const folders = new Set(weights.flatMap(w => (w.source === 'file' ? [dirname(realpathSync(w.ref.file))] : [])));
  return folders.size === 1 ? [...folders][0] : undefined;
}
