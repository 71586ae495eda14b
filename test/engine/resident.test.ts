/** What is trained stays on the device between steps: on WebGPU (a Vulkan driver in software), beside the CPU and the eager reference. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as tf from '@tensorflow/tfjs-core';
import { LabError } from '../../src/engine/errors';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { startExecutor } from '../../src/engine/executors/start';
import { initialTrainables, planAdapter } from '../../src/engine/model/lora';
import { createSharedSteps, createTrainingStep } from '../../src/engine/training/step';
import type { TrainingStep } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { noisyStep } from '../support/compareSteps';
import { openSoftwareGpu } from '../support/softwareGpu';
import { settings, tinyBert, tinyExamples } from '../support/tinyModel';
import { trafficOf } from '../support/traffic';

let held: CompiledProgram | undefined;
let skip: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) skip = found.reason; else held = found.device; });
after(async () => held?.dispose());

/** With so many rows in its table the trained values outweigh everything else that a step reads. */
const large = (vocab_size: number, more = {}) => tinyBert({ vocab_size, ...more });
const WHOLE = { full: true };
/** AdamW divides by the root of the second moment: beside a larger epsilon, gradients that are nearly zero do not decide where values go. */
const EVEN = { adam_epsilon: 1e-3 };
const EXAMPLES = tinyExamples([5, 9, 3]);

async function trainStep(step: TrainingStep, number: number, learning_rate = 1e-2): Promise<number[]> {
  const first = await step.accumulate(EXAMPLES, 0.5, null);
  const second = await step.accumulate(EXAMPLES.slice(0, 1), 0.5, null);
  step.mark();
  const { grad_norm } = await step.update({ learning_rate, step: number });
  return [first.loss, second.loss, grad_norm];
}

for (const [what, lora, training] of [
  ['a model that is trained whole', WHOLE, EVEN], ['a model that is trained whole with weight decay', WHOLE, { ...EVEN, weight_decay: 0.05 }],
  ['a large adapter with LoRA+', { r: 64, target_modules: 'all-linear', init_lora_weights: false }, { ...EVEN, loraplus_lr_ratio: 4 }],
] as const) {
  test(`the values of ${what} do not leave a WebGPU device in a step, and end as the CPU's`, async t => {
    await opened;
    if (skip) return t.skip(skip);
    const model = lora === WHOLE ? large(4000) : tinyBert({ hidden_size: 64, intermediate_size: 64 });
    const [gpu, cpu] = [await noisyStep(model, { device: 'webgpu', lora, training }), await noisyStep(model, { lora, training })];
    const vector = 4 * planAdapter(model, settings(lora, training).lora).trainable_parameters;
    const found: number[] = [], expected: number[] = [];
    for (let number = 1; number <= 3; number++) {
      const crossed = await trafficOf(async () => found.push(...await trainStep(gpu, number)));
      assert.ok(crossed.read < vector / 5 && crossed.written < vector / 5, `step ${number} read ${crossed.read} and wrote ${crossed.written} bytes; one vector has ${vector}`);
      const here = await trafficOf(async () => expected.push(...await trainStep(cpu, number)));
      assert.ok(here.read > 8 * vector && here.written > 5 * vector, 'on the CPU the values are in the engine\'s memory');
    }
    assertClose(found, expected, 1e-3, 'losses and gradient norms');
    const asked = await trafficOf(async () => {
      const [state, reference] = [await gpu.state(), await cpu.state()];
      for (const name of ['trainables', 'exp_avg', 'exp_avg_sq'] as const) assertClose(state[name], reference[name], 1e-3, name);
    });
    assert.deepEqual(asked, { read: 0, written: 3 * vector });
    for (const step of [gpu, cpu]) await step.dispose();
  });
}

test('memory stays the same over 80 steps on WebGPU, evaluations, marks and steps that are not finite included', async t => {
  await opened;
  if (skip) return t.skip(skip);
  const model = large(6000, { hidden_size: 64, num_hidden_layers: 1 });   // 1.7 MB for each vector
  const step = await noisyStep(model, { device: 'webgpu', lora: WHOLE });
  const seen: number[] = [];
  for (let number = 1; number <= 80; number++) {
    await step.accumulate(EXAMPLES.slice(0, 1), number % 3 === 0 ? Infinity : 0.5, null);
    step.mark();
    await step.update({ learning_rate: 1e-3, step: number });
    if (number % 8 === 0) await step.evaluate(EXAMPLES);
    if (number % 20 === 0) await step.restore(await step.state());
    if (number === 20 || number === 80) seen.push(process.memoryUsage().rss);
  }
  await step.dispose();
  // One vector more of each step would be 100 MB, the three of those that are not finite as much.
  assert.ok(seen[1] - seen[0] < 25e6, `${seen[0]} bytes after 20 steps, ${seen[1]} after 80`);
});

for (const device of ['webgpu', 'cpu', 'reference']) {
  test(`${device}: a state that is taken in mid-run goes on in a fresh step to the last bit, and is a copy`, async t => {
    await opened;
    if (skip && device === 'webgpu') return t.skip(skip);
    const create = () => noisyStep(tinyBert(), { device, lora: WHOLE });
    const step = await create();
    for (const number of [1, 2]) await trainStep(step, number);
    const state = await step.state();
    const straight = [await trainStep(step, 3), await trainStep(step, 4)];
    const end = await step.state();
    assert.notDeepEqual(end, state);
    const fresh = await create();
    // What was accumulated before belongs to other values.
    await fresh.accumulate(EXAMPLES, 1, null);
    await fresh.restore(state);
    for (const values of Object.values(state)) (values as Float32Array).fill(NaN);
    assert.deepEqual([await trainStep(fresh, 3), await trainStep(fresh, 4)], straight);
    assert.deepEqual(await fresh.state(), end);
    for (const one of [step, fresh]) await one.dispose();
  });

  test(`${device}: a gradient that is not finite leaves all values, and what was marked comes back`, async t => {
    await opened;
    if (skip && device === 'webgpu') return t.skip(skip);
    const step = await noisyStep(tinyBert(), { device, lora: WHOLE });
    const losses = await trainStep(step, 1);
    const before = await step.state();
    await step.accumulate(EXAMPLES, Infinity, null);
    step.mark();
    assert.ok(!Number.isFinite((await step.update({ learning_rate: 1, step: 2 })).grad_norm));
    assert.deepEqual(await step.state(), before);
    const next = await trainStep(step, 2);
    assert.ok(next.every(Number.isFinite) && next[0] !== losses[0]);
    await trainStep(step, 3);
    const marked = await step.state();
    await trainStep(step, 4, NaN);
    assert.ok((await step.state()).trainables.every(Number.isNaN));
    step.goBack();
    assert.deepEqual(await step.state(), marked);
    assert.ok((await trainStep(step, 4)).every(Number.isFinite));
    await step.dispose();
  });

  test(`${device}: what an executor holds is a copy, serves several programs, and outlives a run that fails`, async t => {
    await opened;
    if (skip && device === 'webgpu') return t.skip(skip);
    const executor = await startExecutor(device as 'webgpu');
    const program = (name: string, forward: (x: tf.Tensor) => tf.Tensor) => executor.compile({
      name, weights: new Map(), inputs: [{ name: 'x', dtype: 'float32', shape: [3] }], keep: ['y'], forward: ({ x }) => ({ y: forward(x), sum: tf.sum(x) }),
    });
    const [double, square] = [await program('double', x => tf.mul(x, 2)), await program('square', x => tf.square(x))];
    const data = Float32Array.of(1, 2, 3);
    const start = await executor.hold(data);
    data.fill(9);
    const { kept: { y: doubled }, results } = await double.runKeeping({ x: start });
    assert.deepEqual([Object.keys(results), results.sum[0], doubled.size], [['sum'], 6, 3]);
    const { kept: { y: squared } } = await square.runKeeping({ x: doubled });
    (await doubled.read()).fill(9);
    assert.deepEqual(await Promise.all([start, doubled, squared].map(async one => [...await one.read()])), [[1, 2, 3], [2, 4, 6], [4, 16, 36]]);
    const wrong = await executor.hold(new Float32Array(7));
    if (device !== 'reference') await assert.rejects(double.runKeeping({ x: wrong }), (error: unknown) => device === 'cpu' || error instanceof LabError && error.report.where === 'engine.device');
    start.dispose();
    assert.deepEqual([...await doubled.read()], [2, 4, 6]);
    for (const one of [doubled, squared, wrong]) one.dispose();
    for (const one of [double, square, executor]) await one.dispose();
  });
}

test('members of a sweep stay on the device whatever their rank, and are the runs that they would be alone', async t => {
  await opened;
  if (skip) return t.skip(skip);
  const model = tinyBert({ hidden_size: 64, intermediate_size: 64 });
  const member = (r: number, weight_decay: number) => {
    const { lora, training } = settings({ r, target_modules: 'all-linear', init_lora_weights: false }, { ...EVEN, weight_decay, loraplus_lr_ratio: 2 });
    const plan = planAdapter(model, lora);
    return { lora, training, plan, trainables: initialTrainables(model, plan, r) };
  };
  const members = [member(3, 0.1), member(16, 0)];
  const { plan, lora, training } = members[1];
  const shared = await createSharedSteps({ model, plan, lora, training, device: 'webgpu' }, members);
  const alone = await Promise.all(members.map(one => createTrainingStep({ model, ...one, device: 'cpu', train: true })));
  for (let number = 1; number <= 3; number++) {
    for (const [i, step] of shared.steps.entries()) {
      const found: number[] = [];
      const { read, written } = await trafficOf(async () => found.push(...await trainStep(step, number)));
      assert.ok(Math.max(read, written) < 4 * members[0].trainables.length, `${read} and ${written} bytes`);
      assertClose(found, await trainStep(alone[i], number), 1e-3, `member ${i}, step ${number}`);
    }
  }
  for (const [i, step] of shared.steps.entries()) {
    const [state, expected] = [await step.state(), await alone[i].state()];
    for (const name of ['trainables', 'exp_avg', 'exp_avg_sq'] as const) assertClose(state[name], expected[name], 1e-3, name);
    await step.restore(state);
    assert.deepEqual(await step.state(), state);
  }
  await shared.dispose();
  for (const step of alone) await step.dispose();
});
