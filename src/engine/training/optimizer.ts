/** AdamW (Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101) as torch.optim.AdamW, with clipping by the global norm. */
import * as tf from '@tensorflow/tfjs-core';
import type { TrainingSettings } from '../../protocol/experiment';
import type { CompiledProgram, Executor, Feed, Inputs, InputSpec, Outputs, Program } from '../executors/executor';
import { building } from '../owned';

/** The outputs that are the next step's inputs. */
export const NEXT = { trainables: 'next_trainables', exp_avg: 'next_exp_avg', exp_avg_sq: 'next_exp_avg_sq' } as const;
/** Input [N] of a program with LoRA+. */
export const RATES = 'rates';

/** Numbers of a step that the update is made with: the learning rate, and the bias corrections 1 − β^step. */
export interface StepNumbers { learning_rate: number; correction1: number; correction2: number }

export interface Optimizer {
  /** One update. `vectors` are the inputs [N] of `optimizerProgram`; `kept` holds the three next states, or nothing where grad_norm, the norm before clipping, is not finite. */
  update(vectors: Inputs, numbers: StepNumbers): Promise<{ grad_norm: number; kept: Outputs['kept'] }>;
  dispose(): Promise<void>;
}

/** AdamW of `size` values as the executor computes it best: whole, or where that is quicker piece by piece. */
export function createOptimizer(executor: Executor, size: number, training: TrainingSettings): Promise<Optimizer> {
  return building(async owned => {
    if (!executor.piece || size <= executor.piece) {
      const program = owned.add(await executor.compile({ ...optimizerProgram(size, training), keep: Object.values(NEXT) }));
      return {
        dispose: () => program.dispose(),
        async update(vectors, numbers) {
          const { results, kept } = await program.runKeeping({ ...vectors, ...scalars(numbers) });
          return { grad_norm: results.grad_norm[0], kept };
        },
      };
    }
    const norm = owned.add(await executor.compile(squaresProgram));
    return inPieces(norm, owned.add(await executor.compile({ ...updateProgram(training), keep: Object.values(NEXT) })), training);
  });
}

function inPieces(norm: CompiledProgram, program: CompiledProgram, { max_grad_norm }: TrainingSettings): Optimizer {
  return {
    async update(vectors, numbers) {
      const { squares } = await norm.run({ gradients: vectors.gradients });
      const grad_norm = Math.fround(Math.sqrt(squares.reduce((sum, square) => sum + square, 0)));
      if (!Number.isFinite(grad_norm)) return { grad_norm, kept: {} };
      const clip = max_grad_norm > 0 ? Math.min(max_grad_norm / (grad_norm + CLIP_EPSILON), 1) : 1;
      return { grad_norm, kept: (await program.runKeeping({ ...vectors, ...scalars({ ...numbers, clip }) })).kept };
    },
    async dispose() {
      await norm.dispose();
      await program.dispose();
    },
  };
}

const scalars = (numbers: object): Record<string, Feed> => Object.fromEntries(Object.entries(numbers).map(([name, value]: [string, number]) => [name, { data: Float32Array.of(value), shape: [] }]));

/** As in torch.nn.utils.clip_grad_norm_. */
const CLIP_EPSILON = 1e-6;

function optimizerInputs(size: number | string, { loraplus_lr_ratio }: TrainingSettings): InputSpec[] {
  const vectors = ['trainables', 'exp_avg', 'exp_avg_sq', 'gradients', 'decay', ...(loraplus_lr_ratio === null ? [] : [RATES])];
  return [...vectors.map((name): InputSpec => ({ name, dtype: 'float32', shape: [size] })), ...['learning_rate', 'correction1', 'correction2'].map((name): InputSpec => ({ name, dtype: 'float32', shape: [] }))];
}

/**
 * One update of all trained values, each input and output [N] but the scalars.
 * Inputs: trainables, exp_avg, exp_avg_sq, gradients, decay (1 where weight decay applies), with LoRA+ rates, the factors of the
 * learning rate (Hayou et al. 2024, https://arxiv.org/abs/2402.12354); the numbers of the step. Outputs: the three next states and grad_norm, the norm before clipping.
 */
export function optimizerProgram(size: number, training: TrainingSettings): Program {
  const { max_grad_norm } = training;
  return {
    name: 'optimizer', inputs: optimizerInputs(size, training), weights: new Map(),
    forward(inputs) {
      const grad_norm = tf.sqrt(tf.sum(tf.square(inputs.gradients)));
      const clip = max_grad_norm > 0 ? tf.minimum(tf.div(tf.scalar(max_grad_norm), tf.add(grad_norm, CLIP_EPSILON)), tf.scalar(1)) : tf.scalar(1);
      return { ...adamw(inputs, clip, training), grad_norm };
    },
  };
}

/** Sums of the squares of the gradient's pieces. */
const squaresProgram: Program = {
  name: 'norm', inputs: [{ name: 'gradients', dtype: 'float32', shape: ['N'] }], weights: new Map(), elementwise: true,
  forward: ({ gradients }) => ({ squares: tf.sum(tf.square(gradients)) }),
};

/** The update by itself, with the factor `clip` of the gradient as a further number. */
const updateProgram = (training: TrainingSettings): Program => ({
  name: 'update', inputs: [...optimizerInputs('N', training), { name: 'clip', dtype: 'float32', shape: [] }], weights: new Map(), elementwise: true,
  forward: inputs => adamw(inputs, inputs.clip, training),
});

function adamw({ trainables, exp_avg, exp_avg_sq, gradients, decay, rates, learning_rate, correction1, correction2 }: Record<string, tf.Tensor>, clip: tf.Tensor, training: TrainingSettings): Record<string, tf.Tensor> {
  const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon, weight_decay } = training;
  const rate = rates ? tf.mul(rates, learning_rate) : learning_rate;
  const g = tf.mul(gradients, clip);
  const decayed = weight_decay > 0 ? tf.mul(trainables, tf.sub(tf.scalar(1), tf.mul(tf.mul(decay, weight_decay), rate))) : trainables;
  const m = tf.add(tf.mul(exp_avg, beta1), tf.mul(g, 1 - beta1));
  const v = tf.add(tf.mul(exp_avg_sq, beta2), tf.mul(tf.square(g), 1 - beta2));
  const denominator = tf.add(tf.div(tf.sqrt(v), tf.sqrt(correction2)), epsilon);
  const next = tf.sub(decayed, tf.mul(tf.div(rate, correction1), tf.div(m, denominator)));
  return { next_trainables: next, next_exp_avg: m, next_exp_avg_sq: v };
}
