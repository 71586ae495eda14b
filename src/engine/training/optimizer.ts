/** AdamW (Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101) as torch.optim.AdamW, with clipping by the global norm. */
import * as tf from '@tensorflow/tfjs-core';
import type { TrainingSettings } from '../../protocol/experiment';
import type { InputSpec, Program } from '../executors/executor';

/** The outputs that are the next step's inputs. */
export const NEXT = { trainables: 'next_trainables', exp_avg: 'next_exp_avg', exp_avg_sq: 'next_exp_avg_sq' } as const;
/** Input [N] of a program with LoRA+. */
export const RATES = 'rates';

/**
 * One update of all trained values, each input and output [N] but the scalars.
 * Inputs: trainables, exp_avg, exp_avg_sq, gradients, decay (1 where weight decay applies), with LoRA+ rates, the factors of the
 * learning rate (Hayou et al. 2024, https://arxiv.org/abs/2402.12354); learning_rate and the bias corrections 1 − β^step. Outputs: the three next states and grad_norm, the norm before clipping.
 */
export function optimizerProgram(size: number, training: TrainingSettings): Program {
  const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon, weight_decay, max_grad_norm } = training;
  const vector = (name: string): InputSpec => ({ name, dtype: 'float32', shape: [size] });
  const scalar = (name: string): InputSpec => ({ name, dtype: 'float32', shape: [] });
  return {
    name: 'optimizer',
    inputs: [...['trainables', 'exp_avg', 'exp_avg_sq', 'gradients', 'decay', ...(training.loraplus_lr_ratio === null ? [] : [RATES])].map(vector), ...['learning_rate', 'correction1', 'correction2'].map(scalar)],
    weights: new Map(),
    forward({ trainables, exp_avg, exp_avg_sq, gradients, decay, rates, learning_rate, correction1, correction2 }) {
      const rate = rates ? tf.mul(rates, learning_rate) : learning_rate;
      const grad_norm = tf.sqrt(tf.sum(tf.square(gradients)));
      const clip = max_grad_norm > 0 ? tf.minimum(tf.div(tf.scalar(max_grad_norm), tf.add(grad_norm, 1e-6)), tf.scalar(1)) : tf.scalar(1);
      const g = tf.mul(gradients, clip);
      const decayed = weight_decay > 0 ? tf.mul(trainables, tf.sub(tf.scalar(1), tf.mul(tf.mul(decay, weight_decay), rate))) : trainables;
      const m = tf.add(tf.mul(exp_avg, beta1), tf.mul(g, 1 - beta1));
      const v = tf.add(tf.mul(exp_avg_sq, beta2), tf.mul(tf.square(g), 1 - beta2));
      const denominator = tf.add(tf.div(tf.sqrt(v), tf.sqrt(correction2)), epsilon);
      const next = tf.sub(decayed, tf.mul(tf.div(rate, correction1), tf.div(m, denominator)));
      return { next_trainables: next, next_exp_avg: m, next_exp_avg_sq: v, grad_norm };
    },
  };
}
