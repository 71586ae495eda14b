/** One small training step, run on a device and on the CPU: a device is ready if both give the same numbers. */
import * as tf from '@tensorflow/tfjs-core';
import { parseExperiment } from '../../protocol/experiment';
import { attention } from '../ops/attention';
import { crossEntropy } from '../ops/crossEntropy';
import { gelu } from '../ops/gelu';
import { halfLinear } from '../ops/halfLinear';
import { layerNorm } from '../ops/layerNorm';
import { linear } from '../ops/linear';
import { NEXT, optimizerProgram } from './optimizer';
import { random } from '../random';
import type { Executor, Feeds, Program, Results } from '../executors/executor';
import { GRADIENTS } from '../executors/program';

const [ROWS, WIDTH, CLASSES] = [6, 8, 3];
const SIZE = CLASSES * WIDTH;

/** Linear, norm, GELU, attention and cross-entropy with their gradients, so that each kind of kernel is compiled once. */
const step: Program = {
  name: 'probe',
  weights: new Map([['w', { source: 'memory', shape: [WIDTH, WIDTH], data: noise('w', WIDTH * WIDTH) }]]),
  inputs: [
    { name: 'x', dtype: 'float32', shape: ['T', WIDTH] }, { name: 'labels', dtype: 'int32', shape: ['T'] },
    { name: 'trainables', dtype: 'float32', shape: [SIZE] }, { name: 'accumulated', dtype: 'float32', shape: [SIZE] },
  ],
  parts: { input: 'trainables', parts: [{ name: 'head', shape: [CLASSES, WIDTH], offset: 0, size: SIZE }] },
  gradient: { of: 'loss', addTo: 'accumulated' },
  forward({ x, labels, head }, weight) {
    const classes = linear({ x, w: head }, { bias: false });                                             // [T, 3]
    const hidden = gelu({ x: linear({ x: tf.matMul(classes, head), w: weight('w') }, { bias: false }) }, {});   // [T, 8]
    const [gamma, beta] = [tf.ones([WIDTH]), tf.zeros([WIDTH])];
    const normed = tf.reshape(layerNorm({ x: tf.add(hidden, x), gamma, beta }, { epsilon: 1e-5 }), [1, 1, -1, WIDTH]);
    const attended = attention({ q: normed, k: normed, v: normed, bias: tf.zeros([1, 1, 1, 1]) }, { scale: 0.5 });
    const logits = linear({ x: tf.reshape(attended, [-1, WIDTH]), w: head }, { bias: false });
    return { loss: tf.sum(crossEntropy({ logits, labels }, {})) };
  },
};

/** x wᵀ in half precision, and its gradient by x. */
const halfStep: Program = {
  ...step, name: 'half probe', inputs: step.inputs.slice(2), parts: { input: 'trainables', parts: [{ name: 'x', shape: [CLASSES, WIDTH], offset: 0, size: SIZE }] },
  forward: ({ x }, weight) => ({ loss: tf.sum(tf.square(halfLinear({ x, w: weight('w') }, { transposed: false, backward: false }))) }),
};

function noise(name: string, size: number): Float32Array {
  const generator = random(1, name);
  return Float32Array.from({ length: size }, () => generator.normal());
}

/** Losses, gradients and updated values of one step, which go from the first program to the second without leaving the device, as in a run. */
async function run(executor: Executor): Promise<Results> {
  const { experiment } = parseExperiment({ base_model: '-', dataset: { train: '-' } });
  const [first, second] = [await executor.compile({ ...step, keep: [GRADIENTS] }), await executor.compile({ ...optimizerProgram(SIZE, experiment!.training), keep: [NEXT.trainables] })];
  const scalar = (value: number): Feeds[string] => ({ data: Float32Array.of(value), shape: [] });
  const [trainables, zeros] = [await executor.hold(noise('trainables', SIZE)), await executor.hold(new Float32Array(SIZE))];
  const { results: { loss }, kept: { [GRADIENTS]: gradients } } = await first.runKeeping({
    x: { data: noise('x', ROWS * WIDTH), shape: [ROWS, WIDTH] }, labels: { data: Int32Array.from({ length: ROWS }, (_, i) => i % CLASSES), shape: [ROWS] },
    trainables, accumulated: zeros,
  }, { gradients: true });
  const { results: { grad_norm }, kept } = await second.runKeeping({
    trainables, exp_avg: zeros, exp_avg_sq: zeros, gradients, decay: zeros,
    learning_rate: scalar(0.01), correction1: scalar(0.1), correction2: scalar(0.001),
  });
  const results = { loss, gradients: await gradients.read(), next_trainables: await kept[NEXT.trainables].read(), grad_norm };
  for (const resident of [trainables, zeros, gradients, ...Object.values(kept)]) resident.dispose();
  await first.dispose();
  await second.dispose();
  return results;
}

/** The first way in which what the device computes in half precision differs from what half precision allows, or undefined. */
export async function compareHalf(device: Executor): Promise<string | undefined> {
  const compiled = await device.compile(halfStep);
  const x = noise('x', SIZE);
  const vector = (data: Float32Array): Feeds[string] => ({ data, shape: [SIZE] });
  const { loss: [found], [GRADIENTS]: gradients } = await compiled.run({ trainables: vector(x), accumulated: vector(new Float32Array(SIZE)) }, { gradients: true });
  await compiled.dispose();
  const w = noise('w', WIDTH * WIDTH);
  let expected = 0;
  for (let row = 0; row < CLASSES; row++) {
    for (let out = 0; out < WIDTH; out++) {
      let y = 0;
      for (let k = 0; k < WIDTH; k++) y += x[row * WIDTH + k] * w[out * WIDTH + k];
      expected += y * y;
    }
  }
  // Of a sum of squares of linear functions, Σ x ∘ gradient is twice the sum.
  const twice = gradients.reduce((sum, value, i) => sum + value * x[i], 0);
  const wrong = [found, twice / 2].find(value => !(Math.abs(value - expected) <= 1e-2 * expected));
  return wrong === undefined ? undefined : `a sum is ${wrong}, on the CPU ${expected}`;
}

/** The first way in which the device's numbers differ from the CPU's by more than 1e-3, or undefined. */
export async function compareSteps(device: Executor, cpu: Executor): Promise<string | undefined> {
  const [found, expected] = [await run(device), await run(cpu)];
  for (const [name, values] of Object.entries(expected)) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const wrong = values.findIndex((value, i) => !(Math.abs(found[name][i] - value) <= 1e-3 * largest));
    if (wrong >= 0) return `${name}[${wrong}] is ${found[name][wrong]}, on the CPU ${values[wrong]}`;
  }
  return undefined;
}
