/** Activation functions as fused ops: y = f(x) element by element, with dx = dy f'(x). */
import * as tf from '@tensorflow/tfjs-core';
import type { Graph, Value } from '../executors/trace/graph';
import { inPieces } from '../executors/trace/pieces';
import { defineOp } from './op';

export interface Activation {
  name: string;
  compose(x: tf.Tensor): tf.Tensor;
  lower(graph: Graph, x: Value): Value;
  slope: {
    compose(x: tf.Tensor): tf.Tensor;
    /** `node` adds an elementwise node; `scalar` is a constant. */
    lower(x: Value, node: (op: string, ...inputs: Value[]) => Value, scalar: (value: number) => Value): Value;
  };
}

/** Registers an activation and its slope. The slope is a chain of nodes, which ONNX Runtime does not fuse on the CPU (pieces.ts). x of any shape. */
export function defineActivation({ name, compose, lower, slope }: Activation): (inputs: { x: tf.Tensor }, attrs: Record<string, never>) => tf.Tensor {
  const slopeOf = defineOp<'x'>({
    name: `${name}Slope`,
    compose: ({ x }) => slope.compose(x),
    save: { inputs: [] },
    gradient: () => ({}),
    lower: (graph, { x }) => inPieces(graph, x, piece => slope.lower(piece, (op, ...inputs) => graph.node(op, inputs, piece), value => graph.scalar(value))),
  });
  return defineOp<'x'>({
    name,
    compose: ({ x }) => compose(x),
    save: { inputs: ['x'] },
    gradient: (dy, [x]) => ({ x: () => tf.mul(dy, slopeOf({ x }, {})) }),
    lower: (graph, { x }) => lower(graph, x),
  });
}
