/**
 * A fused op is one tfjs kernel of our own: its composition from ordinary ops for eager executors, its gradient,
 * and its ONNX lowering for the compiled executor, side by side in one file.
 */
import * as tf from '@tensorflow/tfjs-core';
import { lower } from '../executors/trace/recorder';
import type { Graph, Value } from '../executors/trace/graph';

export interface FusedOp<I extends string, A extends object> {
  name: string;
  /** Eager: the op from ordinary tfjs ops. */
  compose(inputs: Record<I, tf.Tensor>, attrs: A): tf.Tensor | tf.Tensor[];
  /** Inputs and outputs (by position) that the gradient needs, in this order. */
  save: { inputs: I[]; outputs?: boolean[] };
  /** Gradient of each input that can have one. `dy` is the gradient of the first output. */
  gradient(dy: tf.Tensor, saved: tf.Tensor[], attrs: A): Partial<Record<I, () => tf.Tensor>>;
  /** Compiled: the op as ONNX nodes. An absent optional input is undefined. */
  lower(graph: Graph, inputs: Record<I, Value>, attrs: A): Value | Value[];
}

const ops: { name: string; compose: FusedOp<string, object>['compose'] }[] = [];

/** Registers the op and returns the function that applies it; its result is the first output. */
export function defineOp<I extends string, A extends object = Record<string, never>>(op: FusedOp<I, A>): (inputs: Partial<Record<I, tf.Tensor>>, attrs: A) => tf.Tensor {
  ops.push(op as unknown as FusedOp<string, object>);
  lower<A>(op.name, ({ graph, inputs, attrs, value }) => {
    const values = Object.fromEntries(Object.keys(inputs).map(name => [name, value(name)])) as Record<I, Value>;
    return op.lower(graph, values, attrs);
  });
  tf.registerGradient({
    kernelName: op.name,
    inputsToSave: op.save.inputs,
    outputsToSave: op.save.outputs,
    gradFunc: (dy, saved, attrs) => op.gradient(Array.isArray(dy) ? dy[0] : dy, saved, attrs as unknown as A) as Record<string, () => tf.Tensor>,
  });
  return (inputs, attrs) => outputsOf(op.name, inputs, attrs)[0];
}

/** All outputs of the op of this name. Only the first one has a gradient. */
export function outputsOf(name: string, inputs: Partial<Record<string, tf.Tensor>>, attrs: object): tf.Tensor[] {
  const present = Object.fromEntries(Object.entries(inputs).filter(([, tensor]) => tensor !== undefined));
  const out = tf.engine().runKernel(name, present as tf.NamedTensorMap, attrs as unknown as tf.NamedAttrMap) as tf.Tensor | tf.Tensor[];
  return Array.isArray(out) ? out : [out];
}

/** Makes every fused op available on an eager tfjs backend, by composition. */
export function registerEagerOps(backendName: string): void {
  for (const op of ops) {
    if (tf.getKernel(op.name, backendName)) continue;
    tf.registerKernel({
      kernelName: op.name,
      backendName,
      kernelFunc: ({ inputs, attrs }) => {
        const out = tf.tidy(() => op.compose(inputs as Record<string, tf.Tensor>, attrs ?? {}));
        return out as tf.TensorInfo | tf.TensorInfo[];
      },
    });
  }
}
