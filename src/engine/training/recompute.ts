/**
 * Gradient checkpointing (Chen et al. 2016, https://arxiv.org/abs/1604.06174): of a block only the inputs are kept for the backward pass,
 * which computes everything else of it once more when its gradient has arrived.
 */
import * as tf from '@tensorflow/tfjs-core';

/**
 * run(inputs), recomputed in the backward pass. `run` must use every tensor that a gradient passes through as one of the first
 * `differentiable` inputs, and give the same result each time. In the backward pass it gets the gradient of its result too, for which
 * what it computes should wait.
 */
export function recomputed(inputs: tf.Tensor[], differentiable: number, run: (inputs: tf.Tensor[], gradient?: tf.Tensor) => tf.Tensor): tf.Tensor {
  const block = tf.customGrad((...args) => {
    const given = args.slice(0, inputs.length) as tf.Tensor[];
    const save = args.at(-1) as tf.GradSaveFunc;
    save(given);
    return {
      value: run(given),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const { grads } = inAnotherTape(() => tf.engine().gradients(() => run(saved, dy), saved.slice(0, differentiable), dy, true));
        return saved.map((input, i) => grads[i] ?? tf.zerosLike(input));
      },
    };
  });
  return block(...inputs);
}

/** Runs `take`, which takes gradients, within the backward pass of others: tfjs has one tape, and forgets it when an inner gradient ends. */
function inAnotherTape<T>(take: () => T): T {
  const { state } = tf.engine();
  const tape = state.activeTape;
  try { return take(); } finally { state.activeTape = tape; }
}
