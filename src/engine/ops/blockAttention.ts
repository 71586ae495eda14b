import * as tf from '@tensorflow/tfjs-core';
import { after } from './after';
import { attentionGradients, groupedMatMul, probabilities, type AttentionInputs } from './attention';
import { defineOp } from './op';

/** Neighbouring rows of a causal attention, and the keys that any of them sees: those up to its last row. */
export interface AttentionBlock {
  /** Slots of the queries, [n], and of the keys, [m]. */
  rows: tf.Tensor;
  keys: tf.Tensor;
  /** [n, m] */
  bias: tf.Tensor;
}

/**
 * Causal attention, one block of rows after the other: scores of keys that a whole block does not see are never computed. The
 * probabilities are not kept, but computed once more in the backward pass, as in FlashAttention (Dao et al. 2022,
 * https://arxiv.org/abs/2205.14135). Shapes as of `attention`; `blocks` in the order of their rows, each slot in one of them.
 */
export function blockAttention({ q, k, v }: Pick<AttentionInputs, 'q' | 'k' | 'v'>, blocks: readonly AttentionBlock[], scale: number): tf.Tensor {
  const biases = blocks.map(({ bias }) => bias);
  const op = tf.customGrad((...args) => {
    const [q, k, v] = args as tf.Tensor[];
    const save = args.at(-1) as tf.GradSaveFunc;
    const value = joinRows(q, blocks.map(({ rows, keys, bias }) => groupedMatMul(probabilities({ q: at(q, rows), k: at(k, keys), bias }, { scale }), at(v, keys))));
    save([q, k, v, value, ...biases]);
    return {
      value,
      gradFunc(dy: tf.Tensor, [q, k, v, y, ...biases]: tf.Tensor[]) {
        const late = after({ x: q, then: dy }, {});
        const parts = blocks.map(({ rows, keys }, i) => {
          const [own, seen] = [{ q: at(late, rows), y: at(y, rows) }, { k: at(k, keys), v: at(v, keys) }];
          return attentionGradients(at(dy, rows), { ...own, ...seen, p: probabilities({ q: own.q, k: seen.k, bias: biases[i] }, { scale }) }, scale);
        });
        // A key takes what the rows of its own block and of all later ones give it.
        const sums = (of: 'dk' | 'dv'): tf.Tensor[] => blocks.map(({ rows }, i) => tf.addN(parts.slice(i).map(part => at(part[of], rows))));
        return [joinRows(q, parts.map(({ dq }) => dq)), joinRows(k, sums('dk')), joinRows(v, sums('dv'))];
      },
    };
  });
  return op(q, k, v);
}

/** x [B, h, S, w] at these slots. */
const at = (x: tf.Tensor, slots: tf.Tensor): tf.Tensor => tf.gather(x, slots as tf.Tensor1D, 2);

const joined = defineOp<string>({
  name: 'LabJoinRows',
  compose: ({ like: _, ...parts }) => tf.concat(Object.values(parts), 2),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { like, ...parts }) => graph.node('Concat', Object.values(parts), like, { axis: 2 }),
});

/** Blocks of rows behind each other, in the shape of `like`, which a recorded program cannot tell from theirs. */
const joinRows = (like: tf.Tensor, parts: tf.Tensor[]): tf.Tensor => joined({ like, ...Object.fromEntries(parts.map((part, i) => [`part${i}`, part])) }, {});
