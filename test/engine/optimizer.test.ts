/** AdamW of many values, which the CPU takes piece by piece, against the formula in double precision. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startExecutor } from '../../src/engine/executors/start';
import { random } from '../../src/engine/random';
import { createOptimizer, NEXT, RATES } from '../../src/engine/training/optimizer';
import { assertClose } from '../support/close';
import { settings } from '../support/tinyModel';

/** No multiple of a piece. */
const SIZE = 1_000_003;
const NUMBERS = { learning_rate: 1e-2, correction1: 1 - 0.9 ** 3, correction2: 1 - 0.999 ** 3 };

function vectors(): Record<'trainables' | 'exp_avg' | 'exp_avg_sq' | 'gradients' | 'decay' | typeof RATES, Float32Array> {
  const noise = random(5, 'vectors');
  const filled = (value: (i: number) => number): Float32Array => Float32Array.from({ length: SIZE }, (_, i) => value(i));
  return {
    trainables: filled(() => noise.normal()), exp_avg: filled(() => noise.normal()), exp_avg_sq: filled(() => 0.5 + noise.normal() ** 2), gradients: filled(() => noise.normal()),
    decay: filled(i => i % 2), [RATES]: filled(i => 1 + i % 3),
  };
}

test('AdamW of a million values follows its formula to the last one: clipping, weight decay and rates of LoRA+ included', async () => {
  const { training } = settings({}, { weight_decay: 0.1, max_grad_norm: 0.5, loraplus_lr_ratio: 3 });
  const executor = await startExecutor('cpu');
  const optimizer = await createOptimizer(executor, SIZE, training);
  const given = vectors();
  const held = Object.fromEntries(await Promise.all(Object.entries(given).map(async ([name, values]) => [name, await executor.hold(values)] as const)));
  const { grad_norm, kept } = await optimizer.update(held, NUMBERS);

  const norm = Math.sqrt(given.gradients.reduce((sum, g) => sum + g * g, 0));
  assertClose([grad_norm], [norm], 1e-6, 'norm');
  const expected = { exp_avg: new Float32Array(SIZE), exp_avg_sq: new Float32Array(SIZE), trainables: new Float32Array(SIZE) };
  for (let i = 0; i < SIZE; i++) {
    const g = given.gradients[i] * 0.5 / norm;
    const rate = NUMBERS.learning_rate * given[RATES][i];
    const m = expected.exp_avg[i] = 0.9 * given.exp_avg[i] + 0.1 * g;
    const v = expected.exp_avg_sq[i] = 0.999 * given.exp_avg_sq[i] + 0.001 * g * g;
    expected.trainables[i] = given.trainables[i] * (1 - 0.1 * given.decay[i] * rate) - rate / NUMBERS.correction1 * m / (Math.sqrt(v / NUMBERS.correction2) + training.adam_epsilon);
  }
  for (const name of ['exp_avg', 'exp_avg_sq', 'trainables'] as const) assertClose(await kept[NEXT[name]].read(), expected[name], 1e-5, name);

  held.gradients.dispose();
  const unlimited = await executor.hold(given.gradients.fill(Infinity, SIZE - 1));
  assert.deepEqual(await optimizer.update({ ...held, gradients: unlimited }, NUMBERS), { grad_norm: Infinity, kept: {} });
  assertClose(await kept[NEXT.exp_avg].read(), expected.exp_avg, 1e-5, 'what is held stays as it is');
  await optimizer.dispose();
  await executor.dispose();
});
