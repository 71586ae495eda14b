/**
 * Cross-entropy of a large frozen output layer without its logits: classes are taken some thousand at a time, with the running maximum and
 * sums of an online softmax (Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867). The gradient Σ p W − W[label] adds up along with
 * them, as attention's values do in FlashAttention, so that nothing is computed twice and no [R, C] matrix ever exists.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Graph, Value } from '../executors/trace/graph';
import { matMul } from '../executors/trace/kernels/matMul';
import { cast } from '../executors/trace/kernels/elementwise';
import { placeWithin, slice } from '../executors/trace/kernels/shape';
import { lowerAfter } from './after';
import { roundedHalf } from './halfRounding';
import { defineOp, outputsOf } from './op';

export interface VocabularyLossOptions {
  /** Classes that are computed at a time. */
  chunk: number;
  /** Logits are c · tanh(logit / c); null leaves them. */
  softcap: number | null;
  /** w is stored in half precision, and each chunk of it is widened when its turn comes. */
  half?: boolean;
}

const NAME = 'LabVocabularyLoss';

/** x [R, d], w [C, d], labels [R] int32 → −log softmax(x wᵀ)[label], and 1 where the label has the largest logit, [R] each. w gets no gradient. */
export function vocabularyLoss(inputs: Record<'x' | 'w' | 'labels', tf.Tensor>, options: VocabularyLossOptions): { losses: tf.Tensor; right: tf.Tensor } {
  const [losses, right] = outputsOf(NAME, inputs, options);
  return { losses, right };
}

defineOp<'x' | 'w' | 'labels', VocabularyLossOptions>({
  name: NAME,
  compose({ x, w, labels }, { chunk, softcap, half }) {
    let state: State<tf.Tensor> | undefined;
    const stored = (part: tf.Tensor): tf.Tensor => (half ? roundedHalf(part) : part);
    for (const [begin, size] of ranges(w.shape[0], chunk)) {
      const previous = state;
      state = tf.tidy(() => composeChunk(x, stored(tf.slice(w, [begin, 0], [size, -1])), tf.sub(labels, tf.scalar(begin, 'int32')), softcap, previous));
      if (previous) tf.dispose(Object.values(previous));
    }
    const { max, sum, own, ownRow, mean } = state!;
    const R = x.shape[0];
    const losses = tf.reshape(tf.sub(tf.add(max, tf.log(sum)), own), [R]);
    const right = tf.reshape(tf.cast(tf.greaterEqual(own, max), 'float32'), [R]);
    return [losses, right, tf.sub(tf.div(mean, sum), ownRow)];
  },
  save: { inputs: [], outputs: [false, false, true] },
  gradient: (dy, [slope]) => ({ x: () => tf.mul(tf.expandDims(dy, 1), slope) }),
  lower(graph, { x, w: table, labels }, { chunk, softcap, half }) {
    const [R, d] = x.shape;
    const column = { dtype: 'float32' as const, shape: [R, 1] };
    const w = half ? graph.half(table) : table;
    let state: State<Value> | undefined;
    for (const [begin, size] of ranges(w.shape[0], chunk)) state = lowerChunk(graph, { x, w, labels }, { begin, size, softcap }, state);
    const { max, sum, own, mean } = state!;
    // The CPU reads single rows off the file; a WebGPU buffer need not hold the whole table.
    const ownRow = graph.provider === 'webgpu' ? state!.ownRow : lowerOwnRow(graph, cast(graph, graph.node('Gather', [w, labels], { dtype: w.dtype, shape: [R, d] }, { axis: 0 }), 'float32'), own, softcap);
    const loss = graph.node('Sub', [graph.node('Add', [max, graph.node('Log', [sum], column)], column), own], column);
    const right = graph.node('Cast', [graph.node('GreaterOrEqual', [own, max], { dtype: 'bool', shape: [R, 1] })], column, { to: 1 });
    const slope = graph.node('Sub', [graph.node('Div', [mean, sum], mean), ownRow], mean);
    // Left to the backward pass, the sums would need every chunk's logits again.
    graph.joint.push(slope.name);
    return [graph.reshape(loss, [R]), graph.reshape(right, [R]), slope];
  },
});

/**
 * What is known after some classes: their largest logit and Σ exp(logit − max) [R, 1], the label's logit once it was among them [R, 1], its
 * row of w [R, d], and Σ exp(logit − max) · w [R, d], both times the slope of the bound if there is one.
 */
interface State<T> { max: T; sum: T; own: T; ownRow: T; mean: T }

function* ranges(classes: number, chunk: number): Generator<[begin: number, size: number]> {
  for (let begin = 0; begin < classes; begin += chunk) yield [begin, Math.min(chunk, classes - begin)];
}

/** places [R]: the labels, counted from the first class of the chunk w [size, d]. */
function composeChunk(x: tf.Tensor, w: tf.Tensor, places: tf.Tensor, softcap: number | null, state: State<tf.Tensor> | undefined): State<tf.Tensor> & tf.NamedTensorMap {
  const size = w.shape[0];
  const products = tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D, false, true);                             // [R, size]
  const bent = softcap === null ? null : tf.tanh(tf.div(products, softcap));
  const logits = bent ? tf.mul(bent, softcap!) : products;
  const slopes = bent && tf.sub(1, tf.square(bent));
  const mine = tf.oneHot(places, size);                                                                    // all zero where the label is elsewhere
  const own = tf.sum(tf.mul(logits, mine), 1, true);
  const ownRow = tf.matMul((slopes ? tf.mul(mine, slopes) : tf.cast(mine, 'float32')) as tf.Tensor2D, w as tf.Tensor2D);
  const top = tf.max(logits, 1, true);
  const max = state ? tf.maximum(state.max, top) : top;
  const weights = tf.exp(tf.sub(logits, max));
  const sum = tf.sum(weights, 1, true);
  const mean = tf.matMul((slopes ? tf.mul(weights, slopes) : weights) as tf.Tensor2D, w as tf.Tensor2D);
  if (!state) return { max, sum, own, ownRow, mean };
  const shrink = tf.exp(tf.sub(state.max, max));
  return {
    max, sum: tf.add(tf.mul(state.sum, shrink), sum), own: tf.add(state.own, own), ownRow: tf.add(state.ownRow, ownRow), mean: tf.add(tf.mul(state.mean, shrink), mean),
  };
}

interface Chunk { begin: number; size: number; softcap: number | null }

/** `composeChunk` as ONNX nodes. */
function lowerChunk(graph: Graph, { x, w, labels }: Record<'x' | 'w' | 'labels', Value>, { begin, size, softcap }: Chunk, state: State<Value> | undefined): State<Value> {
  const [R, d] = x.shape;
  const [column, row, all] = [[R, 1], [R, d], [R, size]].map(shape => ({ dtype: 'float32' as const, shape }));
  const axis = graph.constant('int64', [1], [1]);
  const part = w.dtype === 'float16' ? widenedRows(graph, w, begin, begin + size, state?.mean) : graph.rows(w, begin, begin + size);
  // One chunk after the other: otherwise all logits could be computed first.
  const products = matMul(graph, state ? lowerAfter(graph, x, state.mean) : x, part, { transposeB: true });
  const bent = softcap === null ? null : graph.node('Tanh', [graph.node('Div', [products, graph.scalar(softcap)], all)], all);
  const logits = bent ? graph.node('Mul', [bent, graph.scalar(softcap!)], all) : products;
  const slopes = bent && graph.node('Sub', [graph.scalar(1), graph.node('Mul', [bent, bent], all)], all);
  const { inside, place } = placeWithin(graph, graph.node('Unsqueeze', [labels, axis], { dtype: 'int32', shape: [R, 1] }), begin, size);
  const found = graph.node('Mul', [graph.node('GatherElements', [logits, place], column, { axis: 1 }), inside], column);
  const top = graph.node('ReduceMax', [logits, axis], column, { keepdims: 1 });
  const max = state ? graph.node('Max', [state.max, top], column) : top;
  const weights = graph.node('Exp', [graph.node('Sub', [logits, max], all)], all);
  const sum = graph.node('ReduceSum', [weights, axis], column, { keepdims: 1 });
  const mean = matMul(graph, slopes ? graph.node('Mul', [weights, slopes], all) : weights, part);
  const own = state ? graph.node('Add', [state.own, found], column) : found;
  let ownRow = mean;
  if (graph.provider === 'webgpu') {
    const rows = graph.node('Mul', [graph.node('Gather', [part, graph.reshape(place, [R])], row, { axis: 0 }), inside], row);
    const steep = slopes ? graph.node('Mul', [rows, graph.node('GatherElements', [slopes, place], column, { axis: 1 })], row) : rows;
    ownRow = state ? graph.node('Add', [state.ownRow, steep], row) : steep;
  }
  if (!state) return { max, sum, own, ownRow, mean };
  const shrink = graph.node('Exp', [graph.node('Sub', [state.max, max], column)], column);
  const add = (before: Value, value: Value, type: typeof column): Value => graph.node('Add', [graph.node('Mul', [before, shrink], type), value], type);
  return { max, sum: add(state.sum, sum, column), own, ownRow, mean: add(state.mean, mean, row) };
}

/** Rows of a table [C, d] that is stored in half precision, in float32 once `then` is there. A table that a buffer holds is shared with the embeddings. */
function widenedRows(graph: Graph, w: Value, begin: number, end: number, then: Value | undefined): Value {
  const [C, d] = w.shape;
  const part = 2 * C * d <= graph.largest_table ? slice(graph, w, [begin, 0], [end - begin, d]) : graph.rows(w, begin, end);
  const wide = cast(graph, part, 'float32');
  return then ? lowerAfter(graph, wide, then) : wide;
}

/** rows [R, d] times the slope of the bound at the label's logit: 1 − (logit / c)². */
function lowerOwnRow(graph: Graph, rows: Value, own: Value, softcap: number | null): Value {
  if (softcap === null) return rows;
  const bent = graph.node('Div', [own, graph.scalar(softcap)], own);
  return graph.node('Mul', [rows, graph.node('Sub', [graph.scalar(1), graph.node('Mul', [bent, bent], own)], own)], rows);
}
