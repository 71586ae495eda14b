/** Denormal numbers of the thread that computes; ONNX Runtime sets it once a process, and this file has one of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { savingsWithout } from '../../src/protocol/savings';
import { noisyStep } from '../support/compareSteps';
import { without } from '../support/integerProducts';
import { tinyBert, tinyExamples } from '../support/tinyModel';

/** Half of the smallest normal number, as this thread computes it: the worker's own arithmetic is under the same switch as its products. */
const half = (values = Float64Array.of(2.3e-308, 0.5)): number => values[0] * values[1];

test('a run in int8 without flushed_denormals computes with denormal numbers, though a session that asks the processor comes first', without('int8'), async () => {
  assert.ok(half() > 0);
  const step = await noisyStep(tinyBert({ hidden_size: 64, intermediate_size: 64 }), { precision: 'int8', savings: savingsWithout(['flushed_denormals']) });
  await step.accumulate(tinyExamples([5, 9]), 1, null);
  assert.ok(half() > 0);
  await step.dispose();
});
