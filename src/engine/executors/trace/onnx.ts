/** Writes a recorded graph as an ONNX ModelProto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers below). */
import Pbf from 'pbf';
import type { Attribute, Constant, Graph, GraphNode, Value, ValueType } from './graph';

const OPSET = 21;
const IR_VERSION = 10;
const ELEMENT: Record<ValueType | 'bfloat16', number> = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float16: 10, bfloat16: 16 };

/**
 * A frozen weight as the graph holds it: bytes of a file, or data in memory. A `variable` one is listed as an input too, which nobody has
 * to feed: of constants ONNX Runtime computes what it can beforehand, and keeps the results beside them.
 */
export type Initializer =
  | { name: string; shape: number[]; dtype: 'float32' | 'float16' | 'bfloat16' | 'int8' | 'uint8'; location: string; offset: number; bytes: number; variable?: boolean }
  | { name: string; shape: number[]; dtype: 'float32'; data: Float32Array };

export interface ModelParts {
  graph: Graph;
  nodes: GraphNode[];
  initializers: Initializer[];
  /** Nodes of the backward pass: run only if the input `want_gradients` is true. `otherwise` are the outputs' stand-ins. */
  backward?: { nodes: GraphNode[]; outputs: { name: string; value: Value }[] };
  outputs: { name: string; value: Value }[];
}

export const WANT_GRADIENTS = 'want_gradients';

/** The model as protobuf bytes. */
export function encodeModel(parts: ModelParts): Uint8Array {
  const pbf = new Pbf();
  pbf.writeVarintField(1, IR_VERSION);
  pbf.writeStringField(2, 'lora-lab');
  pbf.writeMessage(7, writeGraph, parts);
  for (const [domain, version] of [['', OPSET], ['com.microsoft', 1]] as const) {
    pbf.writeMessage(8, (opset, p) => { p.writeStringField(1, opset.domain); p.writeVarintField(2, opset.version); }, { domain, version });
  }
  return pbf.finish();
}

function writeGraph(parts: ModelParts, pbf: Pbf): void {
  const { graph, nodes, initializers, backward, outputs } = parts;
  for (const node of nodes) pbf.writeMessage(1, writeNode, { graph, node });
  if (backward) pbf.writeMessage(1, writeBackward, { graph, ...backward });
  pbf.writeStringField(2, 'step');
  for (const initializer of initializers) pbf.writeMessage(5, writeInitializer, initializer);
  for (const constant of graph.constants.values()) pbf.writeMessage(5, writeConstant, constant);
  for (const input of graph.inputs) pbf.writeMessage(11, writeValueInfo, { ...input, dims: input.dims });
  for (const weight of initializers) if ('variable' in weight && weight.variable) pbf.writeMessage(11, writeValueInfo, { name: weight.name, dtype: weight.dtype, dims: weight.shape });
  if (backward) pbf.writeMessage(11, writeValueInfo, { name: WANT_GRADIENTS, dtype: 'bool' as const, dims: [] });
  writeSizes(graph, nodes, pbf);
  const all = backward ? [...outputs, ...backward.outputs] : outputs;
  for (const { name, value } of all) pbf.writeMessage(12, writeValueInfo, { name, dtype: value.dtype, dims: value.shape.map(size => label(graph, size)) });
}

const label = (graph: Graph, size: number): number | string => (graph.sizes.isDynamic(size) ? graph.sizes.label(size) : size);

/** Ops whose outputs' sizes cannot be inferred from their inputs' where one of these differs from batch to batch. */
const SIZES_UNKNOWN = ['Reshape', 'Split', 'Concat'];

/**
 * Names the sizes that ONNX Runtime cannot infer. Its planner looks for a free tensor of the same size for each output: where sizes have
 * no names none ever fits, and it compares every output with every tensor before it, a third of the session's creation.
 */
function writeSizes(graph: Graph, nodes: GraphNode[], pbf: Pbf): void {
  const values = nodes.filter(node => SIZES_UNKNOWN.includes(node.op)).flatMap(node => node.outputs.map(name => graph.values.get(name)!));
  for (const { name, dtype, shape } of values) pbf.writeMessage(13, writeValueInfo, { name, dtype, dims: shape.map(size => label(graph, size)) });
}

/** `If(want_gradients)`: the backward pass, or empty stand-ins for its outputs. */
function writeBackward({ graph, nodes, outputs }: { graph: Graph; nodes: GraphNode[]; outputs: { name: string; value: Value }[] }, pbf: Pbf): void {
  pbf.writeStringField(1, WANT_GRADIENTS);
  for (const { name } of outputs) pbf.writeStringField(2, name);
  pbf.writeStringField(3, 'backward');
  pbf.writeStringField(4, 'If');
  pbf.writeMessage(5, (_, attribute) => {
    attribute.writeStringField(1, 'then_branch');
    attribute.writeMessage(6, (_branch, p) => {
      for (const node of nodes) p.writeMessage(1, writeNode, { graph, node });
      p.writeStringField(2, 'backward');
      writeSizes(graph, nodes, p);
      for (const { value } of outputs) p.writeMessage(12, writeValueInfo, { name: value.name, dtype: value.dtype, dims: value.shape.map(size => label(graph, size)) });
    }, null);
    attribute.writeVarintField(20, 5);
  }, null);
  pbf.writeMessage(5, (_, attribute) => {
    attribute.writeStringField(1, 'else_branch');
    attribute.writeMessage(6, (_branch, p) => {
      for (const { value } of outputs) p.writeMessage(5, writeConstant, { name: `no_${value.name}`, dtype: value.dtype, shape: value.shape.map(() => 0), data: new Float32Array(0) });
      for (const { value } of outputs) p.writeMessage(1, writeNode, { graph, node: { op: 'Identity', domain: '', inputs: [`no_${value.name}`], outputs: [`nothing_${value.name}`], attributes: {} } });
      p.writeStringField(2, 'forward_only');
      for (const { value } of outputs) p.writeMessage(12, writeValueInfo, { name: `nothing_${value.name}`, dtype: value.dtype, dims: value.shape.map(() => 0) });
    }, null);
    attribute.writeVarintField(20, 5);
  }, null);
}

function writeNode({ graph, node }: { graph: Graph; node: GraphNode }, pbf: Pbf): void {
  for (const input of node.inputs) pbf.writeStringField(1, input);
  for (const output of node.outputs) pbf.writeStringField(2, output);
  pbf.writeStringField(3, node.outputs[0]);
  pbf.writeStringField(4, node.op);
  for (const [name, value] of Object.entries(node.attributes)) pbf.writeMessage(5, writeAttribute, { name, value });
  if (node.body) pbf.writeMessage(5, writeBody, { graph, body: node.body });
  if (node.domain) pbf.writeStringField(7, node.domain);
}

/** The attribute that holds the graph of a Scan. */
function writeBody({ graph, body: { nodes, inputs, outputs } }: { graph: Graph; body: NonNullable<GraphNode['body']> }, pbf: Pbf): void {
  const info = ({ name, dtype, shape }: Value) => ({ name, dtype, dims: shape.map(size => label(graph, size)) });
  pbf.writeStringField(1, 'body');
  pbf.writeMessage(6, (_, p) => {
    for (const node of nodes) p.writeMessage(1, writeNode, { graph, node });
    p.writeStringField(2, 'slice');
    for (const value of inputs) p.writeMessage(11, writeValueInfo, info(value));
    for (const value of outputs) p.writeMessage(12, writeValueInfo, info(value));
    writeSizes(graph, nodes, p);
  }, null);
  pbf.writeVarintField(20, 5);
}

function writeAttribute({ name, value }: { name: string; value: Attribute }, pbf: Pbf): void {
  pbf.writeStringField(1, name);
  if (typeof value === 'number') { pbf.writeVarintField(3, value); pbf.writeVarintField(20, 2); }
  else if (typeof value === 'string') { pbf.writeBytesField(4, Buffer.from(value)); pbf.writeVarintField(20, 3); }
  else if (Array.isArray(value)) { for (const v of value) pbf.writeVarintField(8, v); pbf.writeVarintField(20, 7); }
  else { pbf.writeFloatField(2, value.float); pbf.writeVarintField(20, 1); }
}

function writeConstant(constant: Constant, pbf: Pbf): void {
  for (const size of constant.shape) pbf.writeVarintField(1, size);
  pbf.writeVarintField(2, ELEMENT[constant.dtype]);
  pbf.writeStringField(8, constant.name);
  pbf.writeBytesField(9, bytesOf(constant.data));
}

function writeInitializer(weight: Initializer, pbf: Pbf): void {
  for (const size of weight.shape) pbf.writeVarintField(1, size);
  pbf.writeVarintField(2, ELEMENT[weight.dtype]);
  pbf.writeStringField(8, weight.name);
  if ('data' in weight) { pbf.writeBytesField(9, bytesOf(weight.data)); return; }
  for (const [key, value] of [['location', weight.location], ['offset', String(weight.offset)], ['length', String(weight.bytes)]]) {
    pbf.writeMessage(13, (entry, p) => { p.writeStringField(1, entry.key); p.writeStringField(2, entry.value); }, { key, value });
  }
  pbf.writeVarintField(14, 1);
}

function writeValueInfo({ name, dtype, dims }: { name: string; dtype: ValueType | 'bfloat16'; dims: (number | string)[] }, pbf: Pbf): void {
  pbf.writeStringField(1, name);
  pbf.writeMessage(2, (_, type) => type.writeMessage(1, (_tensor, tensor) => {
    tensor.writeVarintField(1, ELEMENT[dtype]);
    tensor.writeMessage(2, (_shape, shape) => {
      for (const dim of dims) {
        shape.writeMessage(1, (d, p) => (typeof d === 'number' ? p.writeVarintField(1, d) : p.writeStringField(2, d)), dim);
      }
    }, null);
  }, null), null);
}

const bytesOf = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
