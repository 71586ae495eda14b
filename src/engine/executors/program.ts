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
  if (whole) return { forward: outputs, gradients: { [GRADIENTS]: tf.add(tf.concat(own.map(gradient => tf.reshape(gradient, [-1]))), whole) } };
  return { forward: outputs, gradients: Object.fromEntries(program.parts!.parts.map((part, i) => [partOf(GRADIENTS, part), tf.add(own[i], inputs[partOf(addTo, part)])])) };
}

function cutParts(program: Program, inputs: Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  if (!program.parts) return {};
  const { input, parts } = program.parts;
  const whole = inputs[input] as tf.Tensor1D | undefined;
  const pieces = whole && tf.split(whole, parts.map(({ size }) => size));
  return Object.fromEntries(parts.map((part, i) => [part.name, pieces ? tf.reshape(pieces[i], part.shape) : inputs[partOf(input, part)]]));
}
