import * as tf from '@tensorflow/tfjs-core';
import { matMul } from '../executors/trace/kernels/matMul';
import { defineOp } from './op';

export interface AttentionInputs {
  /** [B, h, S, head_dim] */
  q: tf.Tensor;
  /** [B, g, K, head_dim], as v. With g < h each head serves h/g neighbouring heads of q (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245). */
  k: tf.Tensor;
  v: tf.Tensor;
  /** Broadcast to [B, h, S, K]. */
  bias: tf.Tensor;
  /** Mask of a dropout of the probabilities, [B, h, S, K]. */
  keep?: tf.Tensor;
}

/**
 * softmax(scale · q kᵀ + bias) v (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762): [B, h, S, head_dim]. The bias has a gradient
 * only if it is `trained`.
 */
export function attention({ q, k, v, bias, keep }: AttentionInputs, { scale, trained = false }: { scale: number; trained?: boolean }): tf.Tensor {
  const op = tf.customGrad((...args) => {
    const [q, k, v, trainedBias] = args as tf.Tensor[];
    const save = args.at(-1) as tf.GradSaveFunc;
    const p = probabilities({ q, k, bias: trained ? trainedBias : bias }, { scale });
    const dropped = keep ? tf.mul(p, keep) : p;
    const value = groupedMatMul(dropped, v);
    save([q, k, v, value, p, dropped, ...(keep ? [keep] : [])]);
    return {
      value,
      gradFunc(dy: tf.Tensor, [q, k, v, y, p, dropped, keep]: tf.Tensor[]) {
        const { dq, dk, dv, dscores } = attentionGradients(dy, { q, k, v, y, p, dropped, keep }, scale);
        return [dq, dk, dv, ...(trained ? [sumTo(dscores, bias.shape)] : [])];
      },
    };
  });
  return op(q, k, v, ...(trained ? [bias] : []));
}

/** softmax(scale · q kᵀ + bias): [B, h, S, K]. It has no gradient of its own. */
export const probabilities = defineOp<'q' | 'k' | 'bias', { scale: number }>({
  name: 'LabAttentionProbabilities',
  compose: ({ q, k, bias }, { scale }) => tf.softmax(tf.add(tf.mul(groupedMatMul(q, k, true), scale), bias)),
  save: { inputs: [] },
  gradient: () => ({}),
  lower(graph, { q, k, bias }, { scale }) {
    const [B, h, S, head_dim] = q.shape;
    const g = k.shape[1];
    const rows = g === h ? q : graph.reshape(q, [B, g, (h / g) * S, head_dim]);
    const scores = graph.reshape(matMul(graph, rows, k, { transposeB: true, alpha: scale }), [B, h, S, k.shape[2]]);
    return graph.node('Softmax', [graph.node('Add', [scores, bias], scores)], scores, { axis: -1 });
  },
});

/** Gradients of y = (p ∘ keep) v, in the shapes of q, k and v, and of the scores [B, h, S, K]. `dropped` is p ∘ keep, `slope` that of a bound on the scores. */
export function attentionGradients(
  dy: tf.Tensor, { q, k, v, y, p, dropped = p, keep, slope }: Record<'q' | 'k' | 'v' | 'y' | 'p', tf.Tensor> & Partial<Record<'dropped' | 'keep' | 'slope', tf.Tensor>>, scale: number,
): Record<'dq' | 'dk' | 'dv' | 'dscores', tf.Tensor> {
  const g = k.shape[1]!;
  const through = groupedMatMul(dy, v, true);                                                       // [B, h, S, K]
  const dp = keep ? tf.mul(through, keep) : through;
  // What softmax's gradient takes off, a row's sum of p ∘ dp, is that of y ∘ dy: head_dim numbers instead of K, and two passes
  // over [B, h, S, K] less (Dao et al. 2022, https://arxiv.org/abs/2205.14135, appendix B.2).
  const bent = tf.mul(tf.sub(dp, tf.sum(tf.mul(y, dy), -1, true)), p);
  const dscores = slope ? tf.mul(bent, slope) : bent;
  const scaled = (a: tf.Tensor, b: tf.Tensor, transposeA: boolean): tf.Tensor => scaledMatMul({ a: grouped(a, g), b: grouped(b, g) }, { transposeA, scale });
  return {
    dscores,
    dq: tf.reshape(scaled(dscores, k, false), q.shape),
    dk: scaled(dscores, q, true),                                                                   // sums over the heads of a group
    dv: tf.matMul(grouped(dropped, g), grouped(dy, g), true, false),
  };
}

/** scale · op(a) b over the last two axes, where op transposes or not: a product can scale at no cost. It has no gradient of its own. */
export const scaledMatMul = defineOp<'a' | 'b', { transposeA: boolean; scale: number }>({
  name: 'LabScaledMatMul',
  compose: ({ a, b }, { transposeA, scale }) => tf.mul(tf.matMul(a, b, transposeA), scale),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { a, b }, { transposeA, scale }) => matMul(graph, a, b, { transposeA, alpha: scale }),
});

/** x summed over the axes that `shape` lacks or has as 1. */
function sumTo(x: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const before = x.shape.length - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter(axis => axis < before || (shape[axis - before] === 1 && x.shape[axis] !== 1));
  return axes.length ? tf.reshape(tf.sum(x, axes), [...shape]) : x;
}

/** The heads of each of `g` groups as rows of one matrix: x [B, h, S, w] → [B, g, h/g · S, w]. */
function grouped(x: tf.Tensor, g: number): tf.Tensor {
  const [B, h, S, w] = x.shape;
  return g === h ? x : tf.reshape(x, [B, g, (h / g) * S, w]);
}

/** x y or x yᵀ for x [B, h, S, w] and y with g heads, each of which serves h/g heads of x: [B, h, S, …], without a copy of y. */
export function groupedMatMul(x: tf.Tensor, y: tf.Tensor, transposeY = false): tf.Tensor {
  const [B, h, S] = x.shape;
  const product = tf.matMul(grouped(x, y.shape[1]!), y, false, transposeY);
  return h === y.shape[1] ? product : tf.reshape(product, [B, h, S, product.shape[3]!]);
}
