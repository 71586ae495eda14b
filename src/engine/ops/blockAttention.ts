import * as tf from '@tensorflow/tfjs-core';
import { after } from './after';
import { attentionGradients, groupedMatMul, probabilities, type AttentionInputs } from './attention';
import { eachSlice, shaped, slicesApart } from './eachSlice';
import { defineOp } from './op';

/** Neighbouring rows, and of a causal attention the keys that any of them sees: those up to its last row. */
export interface AttentionBlock {
  /** Slots of the queries, [n], and of the keys, [m]; without these all keys. */
  rows: tf.Tensor;
  keys?: tf.Tensor;
  /** [n, m], or [h, n, m] for each head; without it that of all rows. */
  bias?: tf.Tensor;
}

/** As of `attention`, but of a dropout of the probabilities `keep` says which rows of `pool` [.., K] are the masks of the queries, [B, h, S]. */
export interface BlockInputs extends Omit<AttentionInputs, 'bias' | 'keep'> {
  /** [B, 1 or h, 1 or S, K]; not where blocks have their own. */
  bias?: tf.Tensor;
  keep?: tf.Tensor;
  pool?: tf.Tensor;
}

export interface BlockOptions {
  scale: number;
  /** Scores are c · tanh(score / c); null leaves them. */
  softcap?: number | null;
  /** In the order of their rows, each slot in one of them; absent for whole rows with all keys. */
  blocks?: readonly AttentionBlock[];
  /** [C, G], where heads are computed one after the other: C times G of them. Heads of all examples count, or groups of heads that share keys; values are their numbers within an example. */
  turns?: tf.Tensor;
}

/** With the numbers of its groups, [G], where it is a turn's. */
type Part = Pick<BlockInputs, 'q' | 'k' | 'v' | 'bias' | 'keep'> & { groups?: tf.Tensor };
type Late = Part & Record<'y' | 'dy', tf.Tensor>;

/**
 * Attention whose probabilities are not kept, but computed once more in the backward pass, as in FlashAttention (Dao et al. 2022,
 * https://arxiv.org/abs/2205.14135): one block of rows after the other, and on the CPU one head after the other, whose scores stay in
 * its caches from the product that makes them to those that read them. Scores of keys that a whole block does not see are never computed.
 * Shapes as of `attention`.
 */
export function blockAttention(given: BlockInputs, options: BlockOptions): tf.Tensor {
  const { blocks = [] } = options;
  const { bias, keep, pool } = given;
  const extras = { ...(bias ? { bias } : {}), ...(keep ? { keep, pool: pool! } : {}), ...Object.fromEntries(blocks.flatMap(({ bias }, i) => (bias ? [[`bias${i}`, bias]] : []))) };
  const op = tf.customGrad((...args) => {
    const [q, k, v] = args as tf.Tensor[];
    const save = args.at(-1) as tf.GradSaveFunc;
    const [value] = inTurns({ q, k, v, bias, keep }, options, part => [attend(part, pool, options)]);
    save([q, k, v, value, ...Object.values(extras)]);
    return {
      value,
      gradFunc(dy: tf.Tensor, [q, k, v, y, ...saved]: tf.Tensor[]) {
        const { bias, keep, pool, ...biases } = Object.fromEntries(Object.keys(extras).map((name, i) => [name, saved[i]]));
        const again = { ...options, blocks: options.blocks?.map((block, i) => ({ ...block, bias: biases[`bias${i}`] })) };
        // Slices of dy are late by themselves.
        const late = apart(options) ? q : after({ x: q, then: dy }, {});
        return inTurns({ q: late, k, v, bias, keep, y, dy }, again, part => gradients(part as Late, pool, again)) as [tf.Tensor, tf.Tensor, tf.Tensor];
      },
    };
  });
  return op(given.q, given.k, given.v);
}

const apart = ({ turns }: BlockOptions): boolean => turns !== undefined && slicesApart();

/** What `compute` makes of the heads in their turns, in the shapes of q, k and v; of all at once where they have no turns. */
function inTurns(part: Part & Partial<Late>, options: BlockOptions, compute: (part: Part & Partial<Late>) => tf.Tensor[]): tf.Tensor[] {
  if (!apart(options)) return compute(part);
  const { q, k } = part;
  const [[C, G], h, g] = [options.turns!.shape, q.shape[1], k.shape[1]!];
  const inGroups = (x: tf.Tensor): tf.Tensor => shaped({ x }, { shape: [C, G, x.shape[1]! / g, ...x.shape.slice(2)] });
  const { bias, ...rest } = part;
  const ofHeads = bias && (bias.shape[1] === h ? bias : tf.tile(bias, [1, h!, 1, 1]));
  const sliced = Object.entries({ ...rest, bias: ofHeads }).flatMap(([name, x]): [string, tf.Tensor][] => (x ? [[name, inGroups(x)]] : []));
  if (options.blocks?.some(({ bias }) => bias?.rank === 3)) sliced.push(['groups', options.turns!]);
  const results = eachSlice(sliced.map(([, x]) => x), slices => compute(Object.fromEntries(sliced.map(([name], i) => [name, slices[i]])) as unknown as Part));
  return results.map((x, i) => shaped({ x }, { shape: (i === 0 ? q : k).shape }));
}

type Seen = Record<'q' | 'k' | 'v' | 'bias', tf.Tensor> & Partial<Record<'mask' | 'y' | 'dy', tf.Tensor>>;

/** What of a part a block sees: its rows, and its keys if it has some of its own. */
function seenBy({ rows, keys, bias: own }: AttentionBlock, part: Part & Partial<Late>, pool: tf.Tensor | undefined): Seen {
  const { q, k, v, bias, keep, y, dy, groups } = part;
  const columns = (x: tf.Tensor): tf.Tensor => (keys ? at(x, keys) : x);
  const rowsOf = (x: tf.Tensor): tf.Tensor => (x.shape[2] === 1 ? x : at(x, rows));
  const mask = keep && tf.gather(pool!, at(keep, rows) as tf.Tensor1D);
  return {
    q: at(q, rows), k: columns(k), v: columns(v), bias: own ? ofGroups(own, q, groups) : rowsOf(bias!), ...(mask ? { mask: keys ? tf.gather(mask, keys as tf.Tensor1D, 3) : mask } : {}),
    ...(y && dy ? { y: at(y, rows), dy: at(dy, rows) } : {}),
  };
}

/** The bias [n, m] or [h, n, m] of a block for the groups of a turn, [G, h/g, n, m]: taken there, so that no copy has an axis of the examples. q [G, h/g, S, head_dim] */
function ofGroups(bias: tf.Tensor, q: tf.Tensor, groups: tf.Tensor | undefined): tf.Tensor {
  if (bias.rank === 2 || !groups) return bias;
  const [h, n, m] = bias.shape;
  const each = q.shape[1]!;
  return tf.gather(tf.reshape(bias, [h / each, each, n, m]), groups as tf.Tensor1D);
}

const whole = ({ keep, bias, ...part }: Part & Partial<Late>, pool: tf.Tensor | undefined): Seen =>
  ({ ...part, bias: bias!, ...(keep ? { mask: tf.gather(pool!, keep as tf.Tensor1D) } : {}) });

/** [B, h, S, head_dim] */
function attend(part: Part, pool: tf.Tensor | undefined, { scale, softcap, blocks }: BlockOptions): tf.Tensor {
  const value = ({ q, k, v, bias, mask }: Seen): tf.Tensor => {
    const { p } = soft(q, k, bias, scale, softcap);
    return groupedMatMul(mask ? tf.mul(p, mask) : p, v);
  };
  return blocks ? joinRows(part.q, blocks.map(block => value(seenBy(block, part, pool)))) : value(whole(part, pool));
}

/** Gradients of q, k and v. */
function gradients(part: Late, pool: tf.Tensor | undefined, { scale, softcap, blocks }: BlockOptions): tf.Tensor[] {
  const through = ({ q, k, v, bias, mask, y, dy }: Seen): ReturnType<typeof attentionGradients> => {
    const { p, slope } = soft(q, k, bias, scale, softcap);
    return attentionGradients(dy!, { q, k, v, y: y!, p, slope, ...(mask ? { keep: mask, dropped: tf.mul(p, mask) } : {}) }, scale);
  };
  if (!blocks) {
    const { dq, dk, dv } = through(whole(part, pool));
    return [dq, dk, dv];
  }
  const parts = blocks.map(block => through(seenBy(block, part, pool)));
  const sum = (of: 'dk' | 'dv', x: tf.Tensor): tf.Tensor => (blocks[0].keys
    // A key takes what the rows of its own block and of all later ones give it.
    ? joinRows(x, blocks.map(({ rows }, i) => tf.addN(parts.slice(i).map(part => at(part[of], rows)))))
    : tf.addN(parts.map(part => part[of])));
  return [joinRows(part.q, parts.map(({ dq }) => dq)), sum('dk', part.k), sum('dv', part.v)];
}

/** The probabilities, and the slope of the bound at the scores if they have one. */
function soft(q: tf.Tensor, k: tf.Tensor, bias: tf.Tensor, scale: number, softcap: number | null = null): { p: tf.Tensor; slope?: tf.Tensor } {
  if (softcap === null) return { p: probabilities({ q, k, bias }, { scale }) };
  const bent = tf.tanh(tf.mul(groupedMatMul(q, k, true), scale / softcap));
  return { p: tf.softmax(tf.add(tf.mul(bent, softcap), bias)), slope: tf.sub(1, tf.square(bent)) };
}

/** x [B, h, S, ..] at these slots. */
const at = (x: tf.Tensor, slots: tf.Tensor): tf.Tensor => tf.gather(x, slots as tf.Tensor1D, 2);

const joined = defineOp<string>({
  name: 'LabJoinRows',
  compose: ({ like: _, ...parts }) => tf.concat(Object.values(parts), 2),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { like, ...parts }) => graph.node('Concat', Object.values(parts), like, { axis: 2 }),
});

/** Blocks of rows behind each other, in the shape of `like`, which a recorded program cannot tell from theirs. */
export const joinRows = (like: tf.Tensor, parts: tf.Tensor[]): tf.Tensor => joined({ like, ...Object.fromEntries(parts.map((part, i) => [`part${i}`, part])) }, {});
