/** Activation functions by the names that config.json has for them. */
import * as tf from '@tensorflow/tfjs-core';
import { gelu } from '../ops/gelu';
import { geluTanh } from '../ops/geluTanh';
import { silu } from '../ops/silu';

export const ACTIVATIONS = {
  gelu: (x: tf.Tensor) => gelu({ x }, {}),
  gelu_new: (x: tf.Tensor) => geluTanh({ x }, {}),
  gelu_pytorch_tanh: (x: tf.Tensor) => geluTanh({ x }, {}),
  silu: (x: tf.Tensor) => silu({ x }, {}),
  swish: (x: tf.Tensor) => silu({ x }, {}),
  relu: (x: tf.Tensor) => tf.relu(x),
};

export type Activation = keyof typeof ACTIVATIONS;
export const ACTIVATION_NAMES = Object.keys(ACTIVATIONS) as Activation[];
