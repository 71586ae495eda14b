/** Runs a program's functions with tfjs: the one place where gradients are taken, for the recorder and for eager backends. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import type { Program } from './executor';

export const GRADIENTS = 'gradients';

/**
 * The program's outputs for these inputs; with `gradients` also `gradients` [N]. Call inside tf.tidy: outputs are kept.
 */
export function evaluateProgram(
  program: Program, inputs: Record<string, tf.Tensor>, weight: (name: string) => tf.Tensor, gradients: boolean,
): { forward: Record<string, tf.Tensor>; gradients: tf.Tensor | undefined } {
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
  const flat = grads.map((gradient, i) => tf.reshape(gradient ?? tf.zeros(by[i].shape), [-1]));
  return { forward: outputs, gradients: tf.add(tf.concat(flat), inputs[addTo]) };
}

function cutParts(program: Program, inputs: Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  if (!program.parts) return {};
  const whole = inputs[program.parts.input] as tf.Tensor1D;
  const { parts } = program.parts;
  const pieces = tf.split(whole, parts.map(({ size }) => size));
  return Object.fromEntries(parts.map(({ name, shape }, i) => [name, tf.reshape(pieces[i], shape)]));
}
