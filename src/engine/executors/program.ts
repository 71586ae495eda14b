/** Runs a program's functions with tfjs: the one place where gradients are taken, for the recorder and for eager backends. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import type { Part, Program } from './executor';

export const GRADIENTS = 'gradients';

/** The name of a part of a vector, as an input or output of its own. */
export const partOf = (vector: string, { name }: Part): string => `${vector}:${name}`;

/**
 * The program's outputs for these inputs; with `gradients` also `gradients` [N], or where the inputs hold the parts of the vectors these parts of it. Call inside tf.tidy: outputs are kept.
 */
export function evaluateProgram(
  program: Program, inputs: Record<string, tf.Tensor>, weight: (name: string) => tf.Tensor, gradients: boolean,
): { forward: Record<string, tf.Tensor>; gradients: Record<string, tf.Tensor> | undefined } {
  const parts = cutParts(program, inputs);
  const forward = (): Record<string, tf.Tensor> => program.forward({ ...inputs, ...parts }, weight);
  if (!gradients || !program.gradient) return { forward: forward(), gradients: undefined };

  const { of, addTo } = program.gradient;
  const by = Object.values(parts);
  let outputs: Record<string, tf.Tensor> = {};
  const { grads } = tf.engine().gradients(() => {
    outputs = forward();
    for (const tensor of Object.values(outputs)) tf.keep(tensor);
    return outputs[of];
  }, by, undefined, true);
  const whole = inputs[addTo] as tf.Tensor | undefined;
  const own = grads.map((gradient, i) => gradient ?? tf.zeros(by[i].shape));
  if (whole) return { forward: outputs, gradients: { [GRADIENTS]: tf.add(joined(own), whole) } };
  const own_parts = program.parts!.parts;
  const sums = lastFirst(own, (gradient, i) => tf.add(gradient, inputs[partOf(addTo, own_parts[i])]));
  return { forward: outputs, gradients: Object.fromEntries(own_parts.map((part, i) => [partOf(GRADIENTS, part), sums[i]])) };
}

/** Gradients of any shapes behind each other, [N]. Each is reshaped to what none of them is, and so has a node of its own. */
const joined = (gradients: tf.Tensor[]): tf.Tensor => tf.reshape(tf.concat(lastFirst(gradients, gradient => tf.reshape(gradient, [1, 1, -1])), 2), [-1]);

/**
 * What `record` makes of each gradient, recorded the sooner the later the backward pass comes to it: what ends a graph, or is joined there, ONNX Runtime computes from the node
 * that was recorded last to the first one. A gradient that is computed at the end keeps its layer's dy until then.
 */
function lastFirst(gradients: tf.Tensor[], record: (gradient: tf.Tensor, i: number) => tf.Tensor): tf.Tensor[] {
  const results: tf.Tensor[] = [];
  for (const i of [...gradients.keys()].sort((a, b) => gradients[b].id - gradients[a].id)) results[i] = record(gradients[i], i);
  return results;
}

function cutParts(program: Program, inputs: Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  if (!program.parts) return {};
  const { input, parts } = program.parts;
  const whole = inputs[input] as tf.Tensor1D | undefined;
  const pieces = whole && tf.split(whole, parts.map(({ size }) => size));
  return Object.fromEntries(parts.map((part, i) => [part.name, pieces ? tf.reshape(pieces[i], part.shape) : inputs[partOf(input, part)]]));
}
