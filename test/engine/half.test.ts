/**
 * Base weights in half precision. The CPU stands in for a GPU: ONNX Runtime runs the same program there and rounds what it stores and
 * multiplies, and tfjs rounds by itself. What a GPU adds, its sums in half precision, is in halfGpu.test.ts.
 */
import * as tf from '@tensorflow/tfjs-core';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createExecutor } from '../../src/engine/executors/devices';
import type { Program } from '../../src/engine/executors/executor';
import { GRADIENTS } from '../../src/engine/executors/program';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { fromF16, toF16 } from '../../src/engine/model/floats';
import { planAdapter } from '../../src/engine/model/lora';
import type { LoadedModel } from '../../src/engine/model/weights';
import { halfLinear } from '../../src/engine/ops/halfLinear';
import { roundedHalf } from '../../src/engine/ops/halfRounding';
import { random } from '../../src/engine/random';
import { stepProgram } from '../../src/engine/training/step';
import type { Example } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { assertSameStep, noisyStep } from '../support/compareSteps';
import { settings, tinyBert, tinyEncoder, tinyExamples, TINY_ENCODERS } from '../support/tinyModel';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

const T = 5;
const noise = (name: string, size: number): Float32Array => { const stream = random(5, name); return Float32Array.from({ length: size }, () => stream.normal()); };

/** Σ c ∘ (x Wᵀ + b) with its gradient by x [5, in], whose rows are `sizes` times as large as noise. */
async function product(device: string, half: boolean, [outputs, inputs]: [number, number], { transposed = false, sizes = [1, 1, 1, 1, 1] } = {}): Promise<{ y: Float32Array; gradient: Float32Array }> {
  const x = noise('x', T * inputs).map((value, i) => value * sizes[Math.floor(i / inputs)]);
  const program: Program = {
    name: 'product', inputs: [{ name: 'trainables', dtype: 'float32', shape: [x.length] }, { name: 'accumulated', dtype: 'float32', shape: [x.length] }, { name: 'c', dtype: 'float32', shape: [T, outputs] }],
    weights: new Map([['w', { source: 'memory', shape: transposed ? [inputs, outputs] : [outputs, inputs], data: noise('w', inputs * outputs) }]]),
    parts: { input: 'trainables', parts: [{ name: 'x', shape: [T, inputs], offset: 0, size: x.length }] }, gradient: { of: 'loss', addTo: 'accumulated' },
    forward({ x: rows, c }, weight) {
      const y = half ? halfLinear({ x: rows, w: weight('w') }, { transposed, backward: false }) : tf.matMul(rows as tf.Tensor2D, weight('w') as tf.Tensor2D, false, !transposed);
      return { y, loss: tf.sum(tf.mul(y, c)) };
    },
  };
  const executor = await createExecutor(device, half ? 'fp16' : 'fp32');
  const compiled = await executor.compile(program);
  const vector = (data: Float32Array) => ({ data, shape: [data.length] });
  const c = noise('c', T * outputs).map((value, i) => value * sizes[Math.floor(i / outputs)]);
  const results = await compiled.run({ trainables: vector(x), accumulated: vector(new Float32Array(x.length)), c: { data: c, shape: [T, outputs] } });
  await compiled.dispose();
  await executor.dispose();
  return { y: results.y, gradient: results[GRADIENTS] };
}

/** ‖found - expected‖ / ‖expected‖ */
const relative = (found: Float32Array, expected: Float32Array): number =>
  Math.sqrt(found.reduce((sum, value, i) => sum + (value - expected[i]) ** 2, 0) / expected.reduce((sum, value) => sum + value ** 2, 0));

test('eager rounding to half precision is that of a cast', async () => {
  await createExecutor('reference');
  await tf.setBackend('cpu');
  const values = Float32Array.from([0, -0, 1, 1 + 2 ** -12, 1 + 3 * 2 ** -12, -65504, 65519, 2 ** -14, 2 ** -14 - 2 ** -26, 3e-6, 1e-7, -5e-8, 1e-9, ...noise('values', 500), ...noise('small', 500).map(value => value * 1e-5)]);
  assert.deepEqual(Float32Array.from(roundedHalf(tf.tensor1d(values)).dataSync()).map(value => value + 0), fromF16(toF16(values)).map(value => value + 0));
});

for (const transposed of [false, true]) {
  // More terms than are summed up in half precision at a time, in parts of unequal size.
  for (const shape of [[96, 64], [70, 2051], [2051, 30]] as [number, number][]) {
    test(`product of ${shape.join(' × ')}${transposed ? ', stored transposed' : ''} in half precision: compiled equals eager, both ways, near the exact one`, async () => {
      const [compiled, eager, exact] = [await product('half-reference', true, shape, { transposed }), await product('reference', true, shape, { transposed }), await product('cpu', false, shape, { transposed })];
      for (const what of ['y', 'gradient'] as const) {
        // A length summed up in another order moves some elements to their other neighbour.
        assert.ok(relative(compiled[what], eager[what]) < 5e-5, `${what}: ${relative(compiled[what], eager[what])}`);
        const error = relative(compiled[what], exact[what]);
        assert.ok(error > 1e-4 && error < 5e-4, `${what} differs by ${error} from the exact one`);
      }
    });
  }
}

test('rows far outside of what half precision holds keep their digits, forward and backward, beside others', async () => {
  const sizes = [1e-14, 1, 1e12, 1e-9, 1e5];
  const [half, exact] = [await product('half-reference', true, [96, 64], { sizes }), await product('cpu', false, [96, 64], { sizes })];
  for (const [what, width] of [['y', 96], ['gradient', 64]] as const) {
    for (let row = 0; row < T; row++) {
      const error = relative(half[what].subarray(row * width, (row + 1) * width), exact[what].subarray(row * width, (row + 1) * width));
      assert.ok(error < 5e-4, `${what}, row ${row} of size ${sizes[row]}: ${error}`);
    }
  }
});

test('a row of zeros stays one', async () => {
  const { y, gradient } = await product('half-reference', true, [96, 64], { sizes: [1, 0, 1, 0, 1] });
  for (const [values, width] of [[y, 96], [gradient, 64]] as const) for (const row of [1, 3]) assert.deepEqual(values.subarray(row * width, (row + 1) * width), new Float32Array(width));
});

const classified = (lengths: number[], i: number): Example[] => tinyExamples(lengths, 3, i);
const paired = (lengths: number[], i: number): Example[] => tinyPairs(lengths.map((length, n) => [length, 2 + n] as [number, number]), i);
interface Case { name: string; model: () => LoadedModel; lora: object; examples: (lengths: number[], i: number) => Example[]; dropout?: true; chunk_classes?: number }
const CASES: Case[] = [
  { name: 'query and value of BERT', model: () => tinyBert(), lora: { r: 4, lora_alpha: 8, target_modules: ['query', 'value'] }, examples: classified },
  { name: 'every linear with dropout', model: () => tinyBert({ hidden_dropout_prob: 0.1 }), lora: { r: 4, target_modules: 'all-linear', lora_dropout: 0.2 }, dropout: true, examples: classified },
  { name: 'DoRA', model: () => tinyBert(), lora: { r: 4, target_modules: 'all-linear', use_dora: true }, examples: classified },
  { name: 'PiSSA', model: () => tinyBert(), lora: { r: 4, target_modules: 'all-linear', init_lora_weights: 'pissa' }, examples: classified },
  { name: 'an adapted embedding and biases of the base', model: () => tinyEncoder(TINY_ENCODERS.roberta), lora: { r: 4, target_modules: ['query', 'word_embeddings'], bias: 'lora_only' }, examples: classified },
  { name: 'GPT-2, whose weights are stored transposed and whose output layer is the embeddings', model: () => tinyDecoder(TINY_DECODERS.gpt2, 'CAUSAL_LM'), lora: { r: 4 }, examples: tinyTexts },
  { name: 'the same, classes in chunks', model: () => tinyDecoder(TINY_DECODERS.gpt2, 'CAUSAL_LM'), lora: { r: 4 }, examples: tinyTexts, chunk_classes: 7 },
  { name: 'Gemma 2 with bounded logits in chunks', model: () => tinyDecoder(TINY_DECODERS['gemma2 with windows'], 'CAUSAL_LM'), lora: { r: 4 }, examples: tinyTexts, chunk_classes: 16 },
  { name: 'Phi-3, whose projections are stacked', model: () => tinyDecoder(TINY_DECODERS.phi3, 'CAUSAL_LM'), lora: { r: 4, target_modules: ['qkv_proj'] }, examples: tinyTexts },
  { name: 'T5 with an output layer of its own', model: () => tinyDecoder(TINY_T5['t5 v1.1'], 'SEQ_2_SEQ_LM'), lora: { r: 4 }, examples: paired },
];
/** A sum in another order may round an input of the next layer to its other neighbour. */
const SLACK = 20;
for (const { name, model, lora, examples, dropout, chunk_classes } of CASES) {
  test(`half precision, compiled equals eager, near the exact step: ${name}`, async () => {
    const [base, batch] = [model(), examples([12, 2, 2, 6, 4], 1)];
    const both = await Promise.all(['half-reference', 'reference'].map(device => noisyStep(base, { device, lora, precision: 'fp16', chunk_classes })));
    await assertSameStep(both, batch, 1, dropout && 11, SLACK);
    for (const step of both) await step.dispose();
    const [half, exact] = await Promise.all((['fp16', 'fp32'] as const).map(async precision => {
      const step = await noisyStep(base, { device: precision === 'fp16' ? 'half-reference' : 'cpu', lora, precision, chunk_classes });
      const { loss } = await step.accumulate(batch, 1, null);
      const { grad_norm } = await step.update({ learning_rate: 1e-2, step: 1 });
      await step.dispose();
      return { loss, grad_norm };
    }));
    assert.notEqual(half.loss, exact.loss);
    assert.ok(Math.abs(half.loss / exact.loss - 1) < 1e-3, `loss ${half.loss}, exactly ${exact.loss}`);
    assert.ok(Math.abs(half.grad_norm / exact.grad_norm - 1) < 1e-2, `gradient norm ${half.grad_norm}, exactly ${exact.grad_norm}`);
  });
}

test('gradients that half precision alone would flush to zero arrive: a loss of 1e-9 has the gradient of the whole loss, scaled', async () => {
  const [whole, tiny] = await Promise.all([1, 1e-9].map(async scale => {
    const step = await noisyStep(tinyBert(), { device: 'half-reference', lora: { r: 4, target_modules: 'all-linear' }, precision: 'fp16' });
    await step.accumulate(tinyExamples([5, 9, 3]), scale, null);
    await step.update({ learning_rate: 1e-2, step: 1 });
    const { exp_avg } = await step.state();
    await step.dispose();
    return exp_avg.map(value => value / scale);
  }));
  // Clipping makes the first one shorter.
  const ratio = tiny.reduce((sum, value, i) => sum + value * whole[i], 0) / whole.reduce((sum, value) => sum + value ** 2, 0);
  assertClose(tiny.map(value => value / ratio), whole, 1e-3, 'gradients');
});

test('frozen matrices and embeddings are held in half precision and once, and multiplied in it; norms, biases, head and adapters are not', () => {
  const model = tinyDecoder(TINY_DECODERS.llama, 'CAUSAL_LM');
  const experiment = settings({ r: 2 });
  const { program } = stepProgram({ model, plan: planAdapter(model, experiment.lora), lora: experiment.lora, train: true, precision: 'fp16', chunk_classes: 16 });
  const { graph, forward, backward } = traceProgram(program, 'webgpu');
  const read = new Set([...forward, ...backward].flatMap(node => node.inputs));
  const held = (half: boolean): Set<string> => new Set([...graph.weights].filter(([value]) => read.has(value) && graph.halves.has(value) === half).map(([, name]) => name));
  const large = model.parameters.filter(({ shape }) => shape.length === 2).map(({ name }) => name);
  assert.deepEqual([...held(true)].sort(), large.sort());
  assert.ok([...held(false)].every(name => name.includes('norm')), [...held(false)].join());
  const halves = [...forward, ...backward].filter(node => node.op === 'Gemm' && graph.values.get(node.outputs[0])!.dtype === 'float16');
  // Every linear layer forward, and backward all whose input a gradient passes through: not q, k and v of the first layer.
  assert.equal(halves.length, 14 + 11);
  for (const node of [...forward, ...backward].filter(({ op }) => ['Softmax', 'SimplifiedLayerNormalization', 'ReduceSum', 'ReduceL2'].includes(op))) assert.equal(graph.values.get(node.outputs[0])!.dtype, 'float32', node.op);
});

test('a weight beyond half precision is refused by name', async () => {
  const model = tinyBert();
  const name = 'bert.encoder.layer.1.output.dense.weight';
  const weight = model.weights.get(name)!;
  if (weight.source !== 'memory') throw new Error('the tiny model is in memory');
  weight.data[5] = -70000;
  await assert.rejects(noisyStep(model, { device: 'half-reference', precision: 'fp16' }), /bert\.encoder\.layer\.1\.output\.dense\.weight.*-70000.*65504/s);
});
