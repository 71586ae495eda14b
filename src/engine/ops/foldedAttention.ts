/**
 * Attention whose rows see all keys but those of a mask, computed as in blockAttention.ts: probabilities twice, few heads at a time, in blocks of
 * rows. Two passes over the scores are terms of the products beside them: the mask of a key is one more of q kᵀ, and what softmax's
 * gradient takes off a row one more of dy vᵀ.
 */
import * as tf from '@tensorflow/tfjs-core';
import { after } from './after';
import { scaledMatMul } from './attention';
import { joinRows, type AttentionBlock, type BlockInputs, type BlockOptions } from './blockAttention';
import { eachSlice, shaped } from './eachSlice';
import { defineOp } from './op';

/** What stands for the mask's number, whose quotient with a scale may be no float32. Its exponential is zero beside any score. */
const HIDDEN = -1e30;

export interface FoldedInputs extends Omit<BlockInputs, 'bias'> {
  /** [B, 1, 1, K]: 0, or a large negative number for keys that no row sees. */
  bias: tf.Tensor;
}
export interface FoldedOptions extends Required<Pick<BlockOptions, 'scale' | 'turns'>> {
  /** In the order of their rows, each slot in one of them. */
  blocks: readonly Pick<AttentionBlock, 'rows'>[];
}

/** softmax(scale · q kᵀ + bias) v: q [B, h, S, head_dim], k and v [B, h, K, head_dim] → [B, h, S, head_dim]. In programs recorded for the CPU only. */
export function foldedAttention({ q, k, v, bias, keep, pool }: FoldedInputs, { scale, turns, blocks }: FoldedOptions): tf.Tensor {
  const dropout = keep ? [keep, pool!] : [];
  const op = tf.customGrad((...args) => {
    const [q, k, v] = args as tf.Tensor[];
    const save = args.at(-1) as tf.GradSaveFunc;
    const parts = inTurns({ q: inRows(withTerm(q, ones(q)), blocks), k: [maskedKeys(k, bias, scale)], v: [v], keep: keep ? inRows(keep, blocks) : [] }, turns,
      ({ q, k: [k], v: [v], keep }) => q.map((q, i) => tf.matMul(masked(softmax(q, k, scale), keep[i], pool), v)));
    const value = together(q, parts);
    save([q, k, v, value, bias, ...dropout]);
    return { value, gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => gradients(dy, saved, { scale, turns, blocks }) };
  });
  return op(q, k, v);
}

/** Gradients of q, k and v. What is made of inputs once more waits for dy, or it would be kept since the forward pass. */
function gradients(dy: tf.Tensor, [q, k, v, y, bias, keep, pool]: tf.Tensor[], { scale, turns, blocks }: FoldedOptions): [tf.Tensor, tf.Tensor, tf.Tensor] {
  const late = (x: tf.Tensor): tf.Tensor => after({ x, then: dy }, {});
  const lateBlocks = blocks.map(({ rows }) => ({ rows: late(rows) }));
  const rows = (x: tf.Tensor): tf.Tensor[] => inRows(x, lateBlocks);
  // A row's sum of p ∘ dp is that of y ∘ dy (Dao et al. 2022, https://arxiv.org/abs/2205.14135, appendix B.2).
  const off = tf.neg(tf.sum(tf.mul(y, dy), -1, true));
  const [one, folded] = [late(ones(k)), keep === undefined];
  const inputs = {
    q: rows(q), dy: rows(dy), k: [k], wideQ: rows(withTerm(q, late(ones(q)))), wideK: [maskedKeys(k, late(bias), scale)],
    off: folded ? [] : rows(off), keep: folded ? [] : rows(keep),
    into: folded ? rows(withTerm(dy, off)) : rows(dy), values: [columns(folded ? withTerm(v, one) : v)],
  };
  const n = inputs.q.length;
  const results = inTurns(inputs, turns, ({ q, dy, k: [k], wideQ, wideK: [wideK], off, keep, into, values: [values] }) => {
    const parts = q.map((q, i) => {
      const p = softmax(wideQ[i], wideK, scale);
      const dp = tf.matMul(into[i], values);
      const mask = keep[i] && tf.gather(pool, keep[i] as tf.Tensor1D);
      const dscores = tf.mul(mask ? tf.add(tf.mul(dp, mask), off[i]) : dp, p);
      return {
        dq: scaledMatMul({ a: dscores, b: k }, { transposeA: false, scale }),
        dk: scaledMatMul({ a: dscores, b: q }, { transposeA: true, scale }),
        dv: tf.matMul(mask ? tf.mul(p, mask) : p, dy[i], true),
      };
    });
    return [...parts.map(({ dq }) => dq), tf.addN(parts.map(({ dk }) => dk)), tf.addN(parts.map(({ dv }) => dv))];
  });
  return [together(q, results.slice(0, n)), shaped({ x: results[n] }, { shape: k.shape }), shaped({ x: results[n + 1] }, { shape: v.shape })];
}

/** What `compute` makes of these heads in their turns, [C, G] of them: of each input [B, h, ..] it is given slices [G, ..]. */
function inTurns<N extends string>(inputs: Record<N, tf.Tensor[]>, turns: tf.Tensor, compute: (slices: Record<N, tf.Tensor[]>) => tf.Tensor[]): tf.Tensor[] {
  const named = Object.entries(inputs) as [N, tf.Tensor[]][];
  const all = named.flatMap(([, tensors]) => tensors);
  return eachSlice(all.map(x => shaped({ x }, { shape: [...turns.shape, ...x.shape.slice(2)] })), slices => {
    const rest = [...slices];
    return compute(Object.fromEntries(named.map(([name, { length }]) => [name, rest.splice(0, length)])) as Record<N, tf.Tensor[]>);
  });
}

const softmax = (q: tf.Tensor, k: tf.Tensor, scale: number): tf.Tensor => tf.softmax(scaledMatMul({ a: q, b: k }, { transposeA: false, scale }));

const masked = (p: tf.Tensor, keep: tf.Tensor | undefined, pool: tf.Tensor | undefined): tf.Tensor => (keep ? tf.mul(p, tf.gather(pool!, keep as tf.Tensor1D)) : p);

/** x [B, h, S, ..] in blocks of rows. */
const inRows = (x: tf.Tensor, blocks: FoldedOptions['blocks']): tf.Tensor[] => blocks.map(({ rows }) => tf.gather(x, rows as tf.Tensor1D, 2));

/** The results of turns, [C, G, .., w], for the blocks of `like` behind each other, in its shape. */
const together = (like: tf.Tensor, parts: tf.Tensor[]): tf.Tensor => joinRows(like, parts.map(x => shaped({ x }, { shape: [...like.shape.slice(0, 2), ...x.shape.slice(2)] })));

/** A column of ones for x [B, h, S, w], [B, h, S, 1], which a recorded program makes itself. */
const columnOfOnes = defineOp<'x'>({
  name: 'LabColumnOfOnes',
  compose: ({ x }) => tf.ones([...x.shape.slice(0, 3), 1]),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { x }) => graph.filled('float32', [...x.shape.slice(0, 3), 1], 1),
});
const ones = (x: tf.Tensor): tf.Tensor => columnOfOnes({ x }, {});

/** [B, h, K, w] → [B, h, w, K]: products with many columns take longer to transpose them again for each block of rows. */
const columns = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [0, 1, 3, 2]);

/** k with the term that hides what `bias` does, [B, h, head_dim + 1, K]. */
function maskedKeys(k: tf.Tensor, bias: tf.Tensor, scale: number): tf.Tensor {
  const hidden = tf.mul(tf.maximum(tf.transpose(bias, [0, 1, 3, 2]), HIDDEN), 1 / scale);
  return columns(withTerm(k, tf.tile(hidden, [1, k.shape[1]!, 1, 1])));
}

/** tf.concat without its check: x [B, h, S, w] and term [B, h, S, 1] → [B, h, S, w + 1]. It has no gradient of its own. */
const wide = defineOp<'x' | 'term'>({
  name: 'LabWithTerm',
  compose: ({ x, term }) => tf.concat([x, term], 3),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { x, term }) => graph.node('Concat', [x, term], { dtype: x.dtype, shape: [...x.shape.slice(0, 3), x.shape[3] + 1] }, { axis: 3 }),
});
const withTerm = (x: tf.Tensor, term: tf.Tensor): tf.Tensor => wide({ x, term }, {});
