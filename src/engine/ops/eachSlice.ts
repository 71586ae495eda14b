import * as tf from '@tensorflow/tfjs-core';
import { getRecorder, RECORDER } from '../executors/trace/recorder';
import { defineOp } from './op';

/** Whether `eachSlice` can be used: in a program that is recorded for the CPU, whose caches are what it is for. */
export const slicesApart = (): boolean => tf.getBackend() === RECORDER && getRecorder().graph.provider === 'cpu';

/**
 * What `step` makes of each slice of `inputs` along their first axis, one slice after the other, so that its intermediate tensors are those
 * of one slice: every result of `step` behind the same one of the slice before, along a new first axis. It has no gradient of its own.
 */
export function eachSlice(inputs: tf.Tensor[], step: (slices: tf.Tensor[]) => tf.Tensor[]): tf.Tensor[] {
  const recorder = getRecorder();
  const results = recorder.graph.scan(inputs.map(x => recorder.graphValue(x)), slices => step(slices.map(slice => recorder.tensorOf(slice))).map(result => recorder.graphValue(result)));
  return results.map(result => recorder.tensorOf(result));
}

/** tf.reshape without its check: of a recorded program nobody knows that C · G are B · g. */
export const shaped = defineOp<'x', { shape: number[] }>({
  name: 'LabShaped',
  compose: ({ x }, { shape }) => tf.reshape(x, shape),
  save: { inputs: [] },
  gradient: () => ({}),
  lower: (graph, { x }, { shape }) => graph.reshape(x, shape),
});
