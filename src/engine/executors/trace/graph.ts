/**
 * The graph that the recorder builds: ONNX nodes over named values. Sizes that differ from batch to batch are
 * traced as large primes (`DynamicSizes`), so that a traced shape tells which of its dimensions are dynamic.
 */
import { blocksOf, INT4_BLOCK, type PackLayout } from '../../model/quantize';
import { ALL_SAVINGS, type Savings } from '../../../protocol/savings';
import type { Dim } from '../executor';

/** ONNX Runtime's execution providers. Lowerings differ where one lacks a kernel: the whole graph must run on its provider. */
export type Provider = 'cpu' | 'webgpu' | 'cuda';

export type ValueType = 'float32' | 'float16' | 'int32' | 'int64' | 'bool' | 'int8' | 'uint8';

/** A tensor in the graph. Dynamic dimensions of `shape` are multiples of a marker. */
export interface Value { name: string; dtype: ValueType; shape: number[] }

export type Attribute = number | number[] | string | { float: number };

export interface GraphNode {
  op: string; domain: string; inputs: string[]; outputs: string[]; attributes: Record<string, Attribute>;
  /** Of a Scan: what is done with each slice. It may also read values of the graph around it. */
  body?: { nodes: GraphNode[]; inputs: Value[]; outputs: Value[] };
}

/** All values that a node reads, with those that its body takes from around it. */
export function readsOf({ inputs, body }: GraphNode): string[] {
  if (!body) return inputs;
  const own = new Set([...body.inputs.map(({ name }) => name), ...body.nodes.flatMap(({ outputs }) => outputs)]);
  return [...inputs, ...body.nodes.flatMap(readsOf).filter(name => !own.has(name))];
}

export interface Constant { name: string; dtype: ValueType; shape: number[]; data: Float32Array | Int32Array | BigInt64Array | Uint8Array }

/** Every WebGPU device takes buffers of this size (maxStorageBufferBindingSize of https://www.w3.org/TR/webgpu/#limits), many only of this. */
const SMALLEST_LIMIT = 1 << 27;

/** Constants of up to so many elements, numbers and shapes, are one in the graph where they are equal: ONNX Runtime would have to find them. */
const SHARED_LENGTH = 8;

const PRIMES = [10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079, 10091, 10093, 10099, 10103,
  10111, 10133, 10139, 10141, 10151, 10159, 10163, 10169, 10177, 10181, 10193, 10211, 10223, 10243, 10247, 10253, 10259, 10267, 10271, 10273, 10289, 10301];

/** The marker sizes of one program's symbols. */
export class DynamicSizes {
  private readonly markers = new Map<string, number>();

  /** `fixed` lists every fixed dimension of the program: a marker must not divide any of them. */
  constructor(symbols: Iterable<string>, fixed: Iterable<number>) {
    const taken = new Set(fixed);
    const free = PRIMES.filter(prime => ![...taken].some(size => size > 0 && size % prime === 0));
    for (const symbol of new Set(symbols)) {
      const marker = free.shift();
      if (marker === undefined) throw new Error(`no marker left for the dynamic size ${symbol}`);
      this.markers.set(symbol, marker);
    }
  }

  trace(shape: readonly Dim[]): number[] {
    return shape.map(dim => (typeof dim === 'number' ? dim : this.markers.get(dim)!));
  }

  /** The symbol that `size` is a multiple of, with the factor; undefined for a fixed size. */
  symbolOf(size: number): { symbol: string; factor: number } | undefined {
    for (const [symbol, marker] of this.markers) if (size !== 0 && size % marker === 0) return { symbol, factor: size / marker };
    return undefined;
  }

  isDynamic(size: number): boolean { return this.symbolOf(size) !== undefined; }

  /** `T`, `12·B`, `64`: for printing and for ONNX dim_param. */
  label(size: number): string {
    const found = this.symbolOf(size);
    if (!found) return String(size);
    return found.factor === 1 ? found.symbol : `${this.label(found.factor)}·${found.symbol}`;
  }
}

export class Graph {
  readonly nodes: GraphNode[] = [];
  readonly inputs: (Value & { dims: Dim[] })[] = [];
  readonly constants = new Map<string, Constant>();
  /** Frozen weights that the graph uses: value name → weight name. */
  readonly weights = new Map<string, string>();
  /** Frozen weights that the graph multiplies by in a few bits: weight name, format, and the values that stand for it. */
  readonly packed: { weight: string; layout: PackLayout; data: Value; scale: Value }[] = [];
  /** Values that stand for a frozen weight stored in half precision: they are among `weights` too. */
  readonly halves = new Set<string>();
  /** Weights of which the graph uses some rows as a tensor of its own, by the value's name. */
  readonly weightRows = new Map<string, { begin: number; end: number }>();
  /** Values that only gradients need, but that are computed with the forward pass. */
  readonly joint: string[] = [];
  readonly outputs: { name: string; value: Value }[] = [];
  /** What the nodes compute, by name. */
  readonly values = new Map<string, Value>();
  private count = 0;
  /** Short constants by type, shape and values. */
  private readonly shared = new Map<string, Value>();
  /** What each Reshape was made from. */
  private readonly reshaped = new Map<string, Value>();
  private readonly dimensions = new Map<string, Value>();
  private readonly made = new Map<string, unknown>();

  /** `largest_table`: bytes of a frozen table that rows are gathered from whole. `savings`: those that lowerings make. */
  constructor(
    readonly sizes: DynamicSizes, readonly provider: Provider = 'cpu', readonly largest_table = provider === 'webgpu' ? SMALLEST_LIMIT : Infinity,
    readonly savings: Savings = ALL_SAVINGS,
  ) {}

  /** What `make` adds to the graph, made once for all that need the same. */
  once<T>(key: string, make: () => T): T {
    if (!this.made.has(key)) this.made.set(key, make());
    return this.made.get(key) as T;
  }

  fresh(hint: string): string { return `${hint}_${this.count++}`; }

  input(name: string, dtype: ValueType, dims: Dim[]): Value {
    const value = { name, dtype, shape: this.sizes.trace(dims), dims };
    this.inputs.push(value);
    return value;
  }

  /** Adds a node with one output. */
  node(op: string, inputs: (Value | null)[], output: { dtype: ValueType; shape: number[] }, attributes: Record<string, Attribute> = {}, domain = ''): Value {
    return this.nodes_(op, inputs, [output], attributes, domain)[0];
  }

  /** Adds a node with several outputs. An absent optional input is null. */
  nodes_(op: string, inputs: (Value | null)[], outputs: { dtype: ValueType; shape: number[] }[], attributes: Record<string, Attribute> = {}, domain = ''): Value[] {
    const values = outputs.map(output => ({ ...output, name: this.fresh(op) }));
    for (const value of values) this.values.set(value.name, value);
    this.nodes.push({ op, domain, inputs: inputs.map(v => v?.name ?? ''), outputs: values.map(v => v.name), attributes });
    return values;
  }

  /** What `step` makes of each slice of `inputs` along their first axis, one slice after the other (a Scan): its values, one behind the other along a first axis. */
  scan(inputs: Value[], step: (slices: Value[]) => Value[]): Value[] {
    const slices = inputs.map(({ dtype, shape }) => ({ name: this.fresh('slice'), dtype, shape: shape.slice(1) }));
    const begin = this.nodes.length;
    const outputs = step(slices);
    // What is the same for all slices is computed once, before them; what was made on the way may be used after them.
    const [ofSlices, nodes] = [new Set(slices.map(({ name }) => name)), [] as GraphNode[]];
    for (const node of this.nodes.splice(begin)) {
      if (!readsOf(node).some(name => ofSlices.has(name))) { this.nodes.push(node); continue; }
      nodes.push(node);
      for (const name of node.outputs) ofSlices.add(name);
    }
    const results = outputs.map(({ dtype, shape }) => ({ dtype, shape: [inputs[0].shape[0], ...shape], name: this.fresh('Scan') }));
    for (const value of results) this.values.set(value.name, value);
    this.nodes.push({
      op: 'Scan', domain: '', inputs: inputs.map(({ name }) => name), outputs: results.map(({ name }) => name), attributes: { num_scan_inputs: inputs.length }, body: { nodes, inputs: slices, outputs },
    });
    return results;
  }

  constant(dtype: ValueType, shape: number[], data: number[] | Float32Array | Int32Array | Uint8Array): Value {
    const key = data.length <= SHARED_LENGTH ? `${dtype}[${shape}]${data}` : undefined;
    const known = key !== undefined ? this.shared.get(key) : undefined;
    if (known) return known;
    const typed = dtype === 'float32' ? Float32Array.from(data) : dtype === 'int32' ? Int32Array.from(data)
      : dtype === 'int64' ? BigInt64Array.from(Array.from(data, BigInt)) : Uint8Array.from(data);
    const value = { name: this.fresh('const'), dtype, shape };
    this.constants.set(value.name, { ...value, data: typed });
    if (key !== undefined) this.shared.set(key, value);
    return value;
  }

  /** The values that a frozen weight is multiplied by in the format of `layout`. */
  pack(weight: Value, layout: PackLayout): { data: Value; scale: Value } {
    const name = this.weights.get(weight.name);
    if (name === undefined) throw new Error(`${weight.name} is no frozen weight`);
    const known = this.packed.find(p => p.weight === name && p.layout.along === layout.along && p.layout.across === layout.across);
    if (known) return known;
    const { format, K, N, along, across } = layout;
    const at = `${format}[${along},${across}]:${name}`;
    const shapes = format === 'int8' ? [[K, N], [N]] : [[N, blocksOf(K), INT4_BLOCK / 2], [N * blocksOf(K)]];
    const data: Value = { name: at, dtype: format === 'int8' ? 'int8' : 'uint8', shape: shapes[0] };
    const scale: Value = { name: `${at}.scale`, dtype: 'float32', shape: shapes[1] };
    this.packed.push({ weight: name, layout, data, scale });
    return { data, scale };
  }

  /** A frozen weight as it is stored in half precision: float16, in the weight's shape. */
  half(weight: Value): Value {
    const stored = this.weights.get(weight.name);
    if (stored === undefined) throw new Error(`${weight.name} is no frozen weight`);
    const name = `half:${weight.name}`;
    this.weights.set(name, stored);
    this.halves.add(name);
    return { name, dtype: 'float16', shape: weight.shape };
  }

  scalar(value: number): Value { return this.constant('float32', [], [value]); }

  /** A tensor that holds `value` everywhere. */
  filled(dtype: ValueType, shape: number[], value: number): Value {
    const scalar = this.constant(dtype, [], [value]);
    if (this.provider !== 'cpu' && shape.some(size => this.sizes.isDynamic(size))) return this.filledByProducts(scalar, shape);
    return shape.length ? this.node('Expand', [scalar, this.shapeVector(shape)], { dtype, shape }) : scalar;
  }

  /**
   * As `filled`, for providers that compute no int64 and so cannot join a shape vector: the product of one vector of ones
   * for each dynamic size, broadcast along its own axis.
   */
  private filledByProducts(scalar: Value, shape: number[]): Value {
    const { dtype } = scalar;
    const factors = shape.flatMap(size => this.factors(size));
    let product = scalar;
    factors.forEach((size, axis) => {
      if (size === 1) return;
      const ones = this.node('Expand', [this.constant(dtype, [], [1]), this.dimension(size)], { dtype, shape: [size] });
      const along = this.reshape(ones, factors.map((_, i) => (i === axis ? size : 1)));
      product = this.node('Mul', [product, along], { dtype, shape: along.shape.map((length, i) => Math.max(length, product.shape[i] ?? 1)) });
    });
    return this.reshape(product, shape);
  }

  /** A size as the product of dynamic sizes and one fixed number, each an axis of its own; [size] if it is but one. */
  private factors(size: number): number[] {
    const found = this.sizes.symbolOf(size);
    return found && found.factor !== 1 ? [size / found.factor, ...this.factors(found.factor)] : [size];
  }

  /** Rows of a matrix. Those of a frozen weight are read from its file by themselves: no copy, and a buffer of their own size. */
  rows(x: Value, begin: number, end: number): Value {
    const [all, ...rest] = x.shape;
    if (begin === 0 && end === all) return x;
    const value = { dtype: x.dtype, shape: [end - begin, ...rest] };
    const weight = this.weights.get(x.name);
    if (weight === undefined) return this.node('Slice', [x, ...[begin, end, 0].map(number => this.constant('int64', [1], [number]))], value);
    const name = `${x.name}[${begin}:${end}]`;
    this.weights.set(name, weight);
    this.weightRows.set(name, { begin, end });
    if (this.halves.has(x.name)) this.halves.add(name);
    return { ...value, name };
  }

  /** Reshapes `x`; copied dimensions and one inferred dimension keep it valid for every batch. */
  reshape(x: Value, shape: number[]): Value {
    const same = (value: Value): boolean => shape.length === value.shape.length && shape.every((size, i) => size === value.shape[i]);
    if (same(x)) return x;
    // Gradients reshape back what the forward pass flattened: nothing to do, and no shape of several dynamic sizes to compute.
    const original = this.reshaped.get(x.name);
    if (original && same(original)) return original;
    const target = shape.map(size => (this.sizes.isDynamic(size) ? -1 : size));
    if (original && target.filter(size => size === -1).length <= 1) return this.reshape(original, shape);
    if (target.filter(size => size === -1).length > 1) {
      for (let i = 0; i < shape.length; i++) if (target[i] === -1 && x.shape[i] === shape[i]) target[i] = 0;
    }
    const simple = target.filter(size => size === -1).length <= 1;
    const vector = simple ? this.constant('int64', [shape.length], target) : this.shapeVector(shape);
    const result = this.node('Reshape', [x, vector], { dtype: x.dtype, shape });
    this.reshaped.set(result.name, x);
    return result;
  }

  /** An int64 vector that holds `shape` at run time. */
  shapeVector(shape: number[]): Value {
    if (!shape.some(size => this.sizes.isDynamic(size))) return this.constant('int64', [shape.length], shape);
    const parts = shape.map(size => this.dimension(size));
    return this.node('Concat', parts, { dtype: 'int64', shape: [shape.length] }, { axis: 0 });
  }

  /** One size as an int64 vector of length 1, read off a graph input where it is dynamic. */
  private dimension(size: number): Value {
    const found = this.sizes.symbolOf(size);
    if (!found) return this.constant('int64', [1], [size]);
    let base = this.dimensions.get(found.symbol);
    if (!base) {
      const input = this.inputs.find(i => i.dims.includes(found.symbol));
      if (!input) throw new Error(`no input has the dynamic size ${found.symbol}`);
      const axis = input.dims.indexOf(found.symbol);
      base = this.node('Shape', [input], { dtype: 'int64', shape: [1] }, { start: axis, end: axis + 1 });
      this.dimensions.set(found.symbol, base);
    }
    if (found.factor === 1) return base;
    return this.node('Mul', [base, this.dimension(found.factor)], { dtype: 'int64', shape: [1] });
  }

  /** The graph as text, one node a line: for people and for snapshot tests. */
  print(): string {
    const describe = (v: Value) => `${v.name}: ${v.dtype}[${v.shape.map(s => this.sizes.label(s)).join(', ')}]`;
    const lines = [
      ...this.inputs.map(input => `input ${describe(input)}`),
      ...[...this.weights].map(([value, weight]) => `weight ${value} = ${weight}`),
      ...this.packed.map(({ data, weight }) => `packed ${describe(data)} = ${weight}`),
      ...this.nodes.flatMap(node => printNode(node)),
      ...this.outputs.map(({ name, value }) => `output ${name} = ${describe(value)}`),
    ];
    return lines.join('\n');
  }
}

/** A node, and below it those of its body. */
function printNode({ op, inputs, outputs, attributes, body }: GraphNode): string[] {
  const line = `${outputs.join(', ')} = ${op}(${inputs.join(', ')})${printAttributes(attributes)}`;
  if (!body) return [line];
  const names = (values: Value[]): string => values.map(({ name }) => name).join(', ');
  return [`${line} of each (${names(body.inputs)}):`, ...body.nodes.flatMap(printNode).map(inner => `  ${inner}`), `  gives ${names(body.outputs)}`];
}

function printAttributes(attributes: Record<string, Attribute>): string {
  const entries = Object.entries(attributes);
  if (!entries.length) return '';
  return ` {${entries.map(([k, v]) => `${k}: ${typeof v === 'object' && !Array.isArray(v) ? v.float : Array.isArray(v) ? `[${v}]` : v}`).join(', ')}}`;
}
