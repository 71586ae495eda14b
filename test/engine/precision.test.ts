/** Frozen weights in 8 and 4 bits: the compiled step against the eager one that rounds in the same way, and what rounding costs. */
import * as tf from '@tensorflow/tfjs-core';
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createExecutor } from '../../src/engine/executors/devices';
import type { CompiledProgram, Program } from '../../src/engine/executors/executor';
import { GRADIENTS } from '../../src/engine/executors/program';
import type { LoadedModel } from '../../src/engine/model/weights';
import { quantizedLinear } from '../../src/engine/ops/quantizedLinear';
import { random } from '../../src/engine/random';
import { parseExperiment } from '../../src/protocol/experiment';
import { assertClose } from '../support/close';
import { assertSameStep, noisyStep } from '../support/compareSteps';
import { openSoftwareGpu } from '../support/softwareGpu';
import { tinyBert, tinyEncoder, tinyExamples, TINY_ENCODERS } from '../support/tinyModel';

const PRECISIONS = ['int8', 'int4'] as const;
type Rounded = (typeof PRECISIONS)[number];

let held: CompiledProgram | undefined;
let noGpu: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) noGpu = found.reason; else held = found.device; });
after(async () => held?.dispose());

const noise = (name: string, size: number): Float32Array => { const stream = random(5, name); return Float32Array.from({ length: size }, () => stream.normal()); };
const T = 5;

/** Σ c ∘ (x Wᵀ + b) with its gradient by x [5, in]; row 3 of x is zero, and output 2 of W. */
async function product(device: string, format: Rounded | null, [outputs, inputs]: [number, number], transposed: boolean): Promise<{ y: Float32Array; gradient: Float32Array }> {
  const w = noise('w', inputs * outputs).map((value, i) => ((transposed ? i % outputs : Math.floor(i / inputs)) === 2 ? 0 : value));
  const x = noise('x', T * inputs).map((value, i) => (Math.floor(i / inputs) === 3 ? 0 : value * 10 ** (Math.floor(i / inputs) - 2)));
  const program: Program = {
    name: 'product', inputs: [{ name: 'trainables', dtype: 'float32', shape: [x.length] }, { name: 'accumulated', dtype: 'float32', shape: [x.length] }, { name: 'c', dtype: 'float32', shape: [T, outputs] }],
    weights: new Map([['w', { source: 'memory', shape: transposed ? [inputs, outputs] : [outputs, inputs], data: w }], ['b', { source: 'memory', shape: [outputs], data: noise('b', outputs) }]]),
    parts: { input: 'trainables', parts: [{ name: 'x', shape: [T, inputs], offset: 0, size: x.length }] }, gradient: { of: 'loss', addTo: 'accumulated' },
    forward({ x: rows, c }, weight) {
      const y = format ? quantizedLinear({ x: rows, w: weight('w'), add: weight('b') }, { format, transposed, backward: false })
        : tf.add(tf.matMul(rows as tf.Tensor2D, weight('w') as tf.Tensor2D, false, !transposed), weight('b'));
      return { y, loss: tf.sum(tf.mul(y, c)) };
    },
  };
  const executor = await createExecutor(device);
  const compiled = await executor.compile(program);
  const vector = (data: Float32Array) => ({ data, shape: [data.length] });
  const results = await compiled.run({ trainables: vector(x), accumulated: vector(new Float32Array(x.length)), c: { data: noise('c', T * outputs), shape: [T, outputs] } });
  await compiled.dispose();
  await executor.dispose();
  return { y: results.y, gradient: results[GRADIENTS] };
}

/** ‖found - expected‖ / ‖expected‖ */
const relative = (found: Float32Array, expected: Float32Array): number =>
  Math.sqrt(found.reduce((sum, value, i) => sum + (value - expected[i]) ** 2, 0) / expected.reduce((sum, value) => sum + value ** 2, 0));

const MOST = { int8: [0.005, 0.02], int4: [0.05, 0.15] };
for (const format of PRECISIONS) {
  for (const transposed of [false, true]) {
    for (const shape of [[96, 64], [70, 130]] as [number, number][]) {
      test(`${format} product of ${shape.join(' × ')}${transposed ? ', stored transposed' : ''}: compiled equals eager, both ways, near the exact one`, async () => {
        const [compiled, eager, exact] = [await product('cpu', format, shape, transposed), await product('reference', format, shape, transposed), await product('cpu', null, shape, transposed)];
        for (const what of ['y', 'gradient'] as const) {
          assert.ok(relative(compiled[what], eager[what]) < 1e-5, `${what}: ${relative(compiled[what], eager[what])}`);
          const error = relative(compiled[what], exact[what]);
          assert.ok(error > MOST[format][0] / 2 && error < MOST[format][1], `${what} differs by ${error} from the exact one`);
        }
      });
    }
  }
}

test('rows are rounded by themselves: a small row beside large ones keeps its digits', async () => {
  const [rounded, exact] = [await product('cpu', 'int8', [96, 64], false), await product('cpu', null, [96, 64], false)];
  const row = (values: Float32Array, i: number): Float32Array => values.subarray(i * 96, (i + 1) * 96);
  const bias = noise('b', 96);
  const own = (values: Float32Array, i: number): Float32Array => row(values, i).map((value, n) => value - bias[n]);
  for (const i of [0, 4]) assert.ok(relative(own(rounded.y, i), own(exact.y, i)) < 0.02, `row ${i}: ${relative(own(rounded.y, i), own(exact.y, i))}`);
  assert.deepEqual(row(rounded.y, 3), bias);
});

const BATCHES = [[5, 9, 3], [1], [12, 2, 2, 6, 4]];
const cases: { name: string; model: () => LoadedModel; lora: object; dropout?: true }[] = [
  { name: 'query and value', model: () => tinyBert(), lora: { r: 4, lora_alpha: 8, target_modules: ['query', 'value'] } },
  { name: 'every linear with dropout', model: () => tinyBert({ hidden_dropout_prob: 0.1 }), lora: { r: 4, target_modules: 'all-linear', lora_dropout: 0.2 }, dropout: true },
  { name: 'PiSSA', model: () => tinyBert(), lora: { r: 4, target_modules: 'all-linear', init_lora_weights: 'pissa' } },
  { name: 'biases of the base', model: () => tinyEncoder(TINY_ENCODERS.roberta), lora: { r: 4, target_modules: ['query', 'output.dense'], bias: 'lora_only' } },
];
/** A sum in another order may round an input of the next layer to its other neighbour, and few values make up a layer here. */
const SLACK = { int8: 100, int4: 1 };
for (const precision of PRECISIONS) {
  for (const { name, model, lora, dropout } of cases) {
    test(`${precision}, compiled equals eager: ${name}`, async () => {
      const base = model();
      for (const [i, lengths] of BATCHES.entries()) {
        const both = await Promise.all(['cpu', 'reference'].map(device => noisyStep(base, { device, lora, precision })));
        await assertSameStep(both, tinyExamples(lengths, 3, i), 1, dropout && 11, SLACK[precision]);
        for (const step of both) await step.dispose();
      }
    });
  }
}

test('int4 on WebGPU gives the CPU\'s numbers', async t => {
  await opened;
  if (noGpu) return t.skip(noGpu);
  for (const transposed of [false, true]) {
    const [gpu, cpu] = [await product('webgpu', 'int4', [70, 130], transposed), await product('cpu', 'int4', [70, 130], transposed)];
    for (const what of ['y', 'gradient'] as const) assertClose(gpu[what], cpu[what], 1e-3, what);
  }
});

test('a device without the kernels is refused by name', async () => {
  await assert.rejects(createExecutor('webgpu', 'int8'), /"int8" cannot be computed on webgpu, which knows fp32 and int4/);
  await assert.rejects(createExecutor('cuda', 'int4'), /"int4" cannot be computed on cuda/);
});

test('the precision of a run is one of the known ones', () => {
  const { problems } = parseExperiment({ base_model: 'm', dataset: { train: 't' }, engine: { precision: 'int3' } });
  assert.match(JSON.stringify(problems), /fp32.*int8.*int4/);
});
