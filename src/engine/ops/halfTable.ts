import * as tf from '@tensorflow/tfjs-core';
import { cast } from '../executors/trace/kernels/elementwise';
import { gather } from '../executors/trace/kernels/shape';
import { roundedHalf } from './halfRounding';
import { defineOp } from './op';

/** Rows of a frozen table that is stored in half precision: table [n, w], ids [...] → [..., w], float32. */
export const halfRows = defineOp<'table' | 'ids'>({
  name: 'LabHalfRows',
  compose: ({ table, ids }) => roundedHalf(tf.gather(table, ids as tf.Tensor1D)),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { table, ids }) => cast(graph, gather(graph, graph.half(table), ids, 0), 'float32'),
});

/** A frozen weight that is stored in half precision, for what is computed in float32: a copy, made each time. Any shape. */
export const widened = defineOp<'w'>({
  name: 'LabWidened',
  compose: ({ w }) => roundedHalf(w),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { w }) => cast(graph, graph.half(w), 'float32'),
});
