import * as tf from '@tensorflow/tfjs-core';
import { defineOp } from './op';

const SLOPE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, the approximation of GELU in https://arxiv.org/abs/1606.08415. Any shape. */
export const geluTanh = defineOp<'x'>({
  name: 'LabGeluTanh',
  compose: ({ x }) => tf.mul(tf.mul(x, 0.5), tf.add(bend(x), 1)),
  save: { inputs: ['x'] },
  gradient(dy, [x]) {
    return {
      x: () => {
        const t = bend(x);
        const slope = tf.add(tf.mul(tf.square(x), 3 * CUBIC * SLOPE), SLOPE);
        const bent = tf.mul(tf.mul(tf.mul(x, 0.5), tf.sub(1, tf.square(t))), slope);
        return tf.mul(dy, tf.add(tf.mul(tf.add(t, 1), 0.5), bent));
      },
    };
  },
  lower: (graph, { x }) => graph.node('FastGelu', [x], x, {}, 'com.microsoft'),
});

const bend = (x: tf.Tensor): tf.Tensor => tf.tanh(tf.mul(x, tf.add(tf.mul(tf.square(x), CUBIC * SLOPE), SLOPE)));
