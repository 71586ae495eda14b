/** Traces a program into a graph and splits its nodes into forward and backward. */
import type * as tf from '@tensorflow/tfjs-core';
import type { Savings } from '../../../protocol/savings';
import type { Program } from '../executor';
import { evaluateProgram, GRADIENTS } from '../program';
import { DynamicSizes, Graph, type GraphNode, type Provider, type Value } from './graph';
import { getRecorder } from './recorder';
import './kernels';

export interface Traced {
  graph: Graph;
  /** Nodes that the forward outputs need, in order. */
  forward: GraphNode[];
  /** Further nodes that the gradients need. */
  backward: GraphNode[];
  outputs: { name: string; value: Value }[];
  gradients: { name: string; value: Value } | undefined;
}

/** Records the program once for a provider, gradients included. Nodes that no output needs are left out. */
export function traceProgram(program: Program, provider: Provider = 'cpu', largest_table?: number, savings?: Savings): Traced {
  const dims = program.inputs.flatMap(input => input.shape);
  const symbols = dims.filter(dim => typeof dim === 'string');
  const fixed = [...dims.filter(dim => typeof dim === 'number'), ...[...program.weights.values()].flatMap(w => (w.source === 'file' ? w.ref.shape : w.shape))];
  const graph = new Graph(new DynamicSizes(symbols, fixed), provider, largest_table, savings);
  const recorder = getRecorder();

  return recorder.record(graph, () => {
    const inputs: Record<string, tf.Tensor> = {};
    for (const { name, dtype, shape } of program.inputs) inputs[name] = recorder.tensorOf(graph.input(name, dtype, shape));
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
    const gradients = result.gradients && { name: GRADIENTS, value: recorder.graphValue(result.gradients) };
    graph.outputs.push(...outputs, ...(gradients ? [gradients] : []));

    const forward = needed(graph.nodes, [...outputs.map(o => o.value.name), ...(gradients ? graph.joint : [])]);
    const backward = gradients ? needed(graph.nodes, [gradients.value.name]) : new Set<GraphNode>();
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

function needed(nodes: GraphNode[], outputs: string[]): Set<GraphNode> {
  const wanted = new Set(outputs);
  const result = new Set<GraphNode>();
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some(output => wanted.has(output))) continue;
    result.add(node);
    for (const input of node.inputs) wanted.add(input);
  }
  return result;
}
