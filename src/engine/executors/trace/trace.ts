/** Traces a program into a graph and splits its nodes into forward and backward. */
import type * as tf from '@tensorflow/tfjs-core';
import { ALL_SAVINGS, type Savings } from '../../../protocol/savings';
import type { InputSpec, Program } from '../executor';
import { evaluateProgram, partOf } from '../program';
import { DynamicSizes, Graph, readsOf, type GraphNode, type Provider, type Value } from './graph';
import { getRecorder } from './recorder';
import './kernels';

export interface Traced {
  graph: Graph;
  /** Nodes that the forward outputs need, in order. */
  forward: GraphNode[];
  /** Further nodes that the gradients need. */
  backward: GraphNode[];
  outputs: { name: string; value: Value }[];
  gradients: { name: string; value: Value }[] | undefined;
}

/** Trained values from which on their vectors are not cut and joined: for fewer, further inputs and outputs cost as much as the copies. */
const MANY = 1 << 20;

/** Whether the parts of trained values and gradients are inputs and outputs of the graph, which whoever runs it lays into the vectors: where memory is the engine's own. */
export function takesParts({ parts, inputs }: Program, provider: Provider, { trained_views } = ALL_SAVINGS): boolean {
  return trained_views && parts !== undefined && provider === 'cpu' && Number(inputs.find(({ name }) => name === parts.input)!.shape[0]) >= MANY;
}

/** What the graph takes: the program's inputs, or parts of them. */
function graphInputs(program: Program, provider: Provider, savings?: Savings): InputSpec[] {
  const { inputs, parts, gradient } = program;
  if (!parts || !takesParts(program, provider, savings)) return inputs;
  return inputs.flatMap(input => ([parts.input, gradient?.addTo].includes(input.name) ? parts.parts.map((part): InputSpec => ({ name: partOf(input.name, part), dtype: 'float32', shape: part.shape })) : [input]));
}

/** Records the program once for a provider, gradients included. Nodes that no output needs are left out. */
export function traceProgram(program: Program, provider: Provider = 'cpu', largest_table?: number, savings?: Savings): Traced {
  const specs = graphInputs(program, provider, savings);
  const dims = specs.flatMap(input => input.shape);
  const symbols = dims.filter(dim => typeof dim === 'string');
  const fixed = [...dims.filter(dim => typeof dim === 'number'), ...[...program.weights.values()].flatMap(w => (w.source === 'file' ? w.ref.shape : w.shape))];
  const graph = new Graph(new DynamicSizes(symbols, fixed), provider, largest_table, savings);
  const recorder = getRecorder();

  return recorder.record(graph, () => {
    const inputs: Record<string, tf.Tensor> = {};
    for (const { name, dtype, shape } of specs) inputs[name] = recorder.tensorOf(graph.input(name, dtype, shape));
    const weights = new Map<string, tf.Tensor>();
    const weight = (name: string): tf.Tensor => {
      let tensor = weights.get(name);
      if (!tensor) {
        const source = program.weights.get(name);
        if (!source) throw new Error(`${program.name}: no weight ${name}`);
        const value: Value = { name: `weight:${name}`, dtype: 'float32', shape: source.source === 'file' ? source.ref.shape : source.shape };
        graph.weights.set(value.name, name);
        tensor = recorder.tensorOf(value);
        weights.set(name, tensor);
      }
      return tensor;
    };
    const result = evaluateProgram(program, inputs, weight, true);
    const outputs = Object.entries(result.forward).map(([name, tensor]) => ({ name, value: named(graph, name, recorder.graphValue(tensor)) }));
    const gradients = result.gradients && Object.entries(result.gradients).map(([name, tensor]) => ({ name, value: recorder.graphValue(tensor) }));
    graph.outputs.push(...outputs, ...gradients ?? []);
    const differentiated = gradients?.map(({ value }) => value.name) ?? [];

    const wanted = [...outputs.map(o => o.value.name), ...(gradients ? graph.joint : [])];
    narrow(graph.nodes, [...wanted, ...differentiated]);
    const forward = needed(graph.nodes, wanted);
    const backward = needed(graph.nodes, differentiated);
    return {
      graph, outputs, gradients,
      forward: graph.nodes.filter(node => forward.has(node)),
      backward: graph.nodes.filter(node => backward.has(node) && !forward.has(node)),
    };
  });
}

/** Gives an output value the output's own name. */
function named(graph: Graph, name: string, value: Value): Value {
  const output = { ...value, name };
  graph.nodes.push({ op: 'Identity', domain: '', inputs: [value.name], outputs: [name], attributes: {} });
  return output;
}

/** Takes out of every Scan what nobody reads: of the first layer's attention that is the gradient of its keys, where they have no adapter. */
function narrow(nodes: GraphNode[], outputs: string[]): void {
  needed(nodes, outputs, (node, wanted) => {
    if (!node.body) return;
    const kept = node.outputs.map(output => wanted.has(output));
    const results = node.body.outputs.filter((_, i) => kept[i]);
    const inner = needed(node.body.nodes, results.map(({ name }) => name));
    node.outputs = node.outputs.filter((_, i) => kept[i]);
    node.body = { ...node.body, nodes: node.body.nodes.filter(other => inner.has(other)), outputs: results };
  });
}

/** The nodes that these outputs need. `visit` sees each before what it reads is asked for, from the last one on. */
function needed(nodes: GraphNode[], outputs: string[], visit: (node: GraphNode, wanted: ReadonlySet<string>) => void = () => {}): Set<GraphNode> {
  const wanted = new Set(outputs);
  const result = new Set<GraphNode>();
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some(output => wanted.has(output))) continue;
    visit(node, wanted);
    result.add(node);
    for (const input of readsOf(node)) wanted.add(input);
  }
  return result;
}
