/** What the recorder makes of a program: the printed graph, one session for every size, and programs it refuses. */
import { test } from 'node:test';
import assert from 'node:assert/strict';
import * as tf from '@tensorflow/tfjs-core';
import type { GraphNode } from '../../src/engine/executors/trace/graph';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { CompiledExecutor } from '../../src/engine/executors/compiled';
import { stepProgram } from '../../src/engine/training/step';
import { planAdapter } from '../../src/engine/model/lora';
import { linear } from '../../src/engine/ops/linear';
import type { Program } from '../../src/engine/executors/executor';
import { settings, tinyBert } from '../support/tinyModel';

const program: Program = {
  name: 'small',
  inputs: [
    { name: 'x', dtype: 'float32', shape: ['T', 2] },
    { name: 'trained', dtype: 'float32', shape: [6] },
    { name: 'sums', dtype: 'float32', shape: [6] },
  ],
  weights: new Map([['frozen', { source: 'memory', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }]]),
  parts: { input: 'trained', parts: [{ name: 'w', shape: [3, 2], offset: 0, size: 6 }] },
  gradient: { of: 'loss', addTo: 'sums' },
  forward({ x, w }, weight) {
    const hidden = linear({ x, w: weight('frozen') }, { bias: false });
    return { loss: tf.sum(linear({ x: hidden, w }, { bias: false })) };
  },
};

test('a recorded graph prints as text, backward nodes apart from forward ones', () => {
  const { graph, forward, backward } = traceProgram(program);
  assert.deepEqual(graph.print().split('\n').slice(0, 4), [
    'input x: float32[T, 2]', 'input trained: float32[6]', 'input sums: float32[6]', 'weight weight:frozen = frozen',
  ]);
  assert.deepEqual(forward.map(n => n.op), ['Reshape', 'Gemm', 'Gemm', 'ReduceSum', 'Identity']);
  const ops = backward.map(n => n.op);
  assert.equal(ops.filter(op => op === 'Gemm' || op === 'MatMul').length, 1, 'one product for the gradient of w, none for the frozen weight');
});

test('parts of more than a million trained values are inputs and outputs of their own on the CPU, and cut from their vector on a GPU', () => {
  const large: Program = {
    ...program, inputs: [program.inputs[0], ...['trained', 'sums'].map(name => ({ name, dtype: 'float32' as const, shape: [6 + (1 << 20)] }))],
    parts: { input: 'trained', parts: [{ name: 'w', shape: [3, 2], offset: 0, size: 6 }, { name: 'rest', shape: [1 << 20], offset: 6, size: 1 << 20 }] },
  };
  const found = (provider: 'cpu' | 'webgpu') => {
    const { graph, forward, backward, gradients } = traceProgram(large, provider);
    return { inputs: graph.inputs.map(({ name }) => name), gradients: gradients!.map(({ name }) => name), copies: [...forward, ...backward].filter(n => ['Slice', 'Split', 'Concat'].includes(n.op) && graph.values.get(n.outputs[0])!.dtype === 'float32').map(n => n.op) };
  };
  assert.deepEqual(found('cpu'), { inputs: ['x', 'trained:w', 'trained:rest', 'sums:w', 'sums:rest'], gradients: ['gradients:w', 'gradients:rest'], copies: [] });
  assert.deepEqual(found('webgpu'), { inputs: ['x', 'trained', 'sums'], gradients: ['gradients'], copies: ['Split', 'Concat'] });
});

test('one session computes batches of every size', async () => {
  const compiled = await new CompiledExecutor({ provider: 'cpu' }).compile(program);
  for (const T of [1, 4, 3]) {
    const x = Float32Array.from({ length: T * 2 }, (_, i) => i + 1);
    const trained = Float32Array.of(1, 0, 0, 1, 1, 1);
    const { loss, gradients } = await compiled.run({
      x: { data: x, shape: [T, 2] }, trained: { data: trained, shape: [6] }, sums: { data: new Float32Array(6).fill(10), shape: [6] },
    });
    let h0 = 0, h1 = 0;
    for (let t = 0; t < T; t++) { h0 += x[2 * t] + 2 * x[2 * t + 1]; h1 += 3 * x[2 * t] + 4 * x[2 * t + 1]; }
    assert.equal(loss[0], 2 * h0 + 2 * h1);
    assert.deepEqual([...gradients], [h0, h1, h0, h1, h0, h1].map(v => v + 10));
    const forwardOnly = await compiled.run({
      x: { data: x, shape: [T, 2] }, trained: { data: trained, shape: [6] }, sums: { data: new Float32Array(6), shape: [6] },
    }, { gradients: false });
    assert.equal(forwardOnly.loss[0], loss[0]);
    assert.equal(forwardOnly.gradients, undefined);
  }
  await compiled.dispose();
});

test('a program that reads a value while it is recorded is refused, and the next one still works', () => {
  const reads: Program = { ...program, forward: inputs => ({ loss: tf.scalar(tf.sum(inputs.x).dataSync()[0]) }) };
  assert.throws(() => traceProgram(reads), /reads a tensor's value while it is being recorded/);
  assert.ok(traceProgram(program).forward.length > 0);
});

test('frozen weights cost no products in the backward pass beyond the input gradients', () => {
  const model = tinyBert();
  const experiment = settings({ r: 2, target_modules: ['layer.1.attention.self.query'] });
  const plan = planAdapter(model, experiment.lora);
  const { program: step } = stepProgram({ model, plan, lora: experiment.lora, train: true });
  const { backward } = traceProgram(step);
  const products = backward.filter(n => ['Gemm', 'MatMul', 'FusedMatMul'].includes(n.op)).length;
  // classifier: dW, dx; pooler dx; layer 1: output, intermediate, attention output dx; P·V: dP; scores: dq; adapter: dB, du, dA.
  assert.equal(products, 11);
});

test('a graph for WebGPU has only nodes that its provider has kernels for', () => {
  const model = tinyBert({ hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 });
  const experiment = settings({ r: 2, lora_dropout: 0.1 });
  const { program: step } = stepProgram({ model, plan: planAdapter(model, experiment.lora), lora: experiment.lora, train: true });
  const nodes = (provider: 'cpu' | 'webgpu') => { const { forward, backward } = traceProgram(step, provider); return [...forward, ...backward]; };
  const missing = ['FusedMatMul', 'LogSoftmax', 'OneHot'];
  assert.ok(nodes('cpu').some(n => missing.includes(n.op)));
  assert.deepEqual(nodes('webgpu').filter(n => missing.includes(n.op)), []);
  // Shapes are computed in int64, which the provider does not: nothing but the sizes themselves may depend on one.
  const shapes = new Set(nodes('webgpu').filter(n => n.op === 'Shape').flatMap(n => n.outputs));
  assert.deepEqual([...new Set(nodes('webgpu').filter(n => n.inputs.some(i => shapes.has(i))).map(n => n.op))], ['Expand']);
});

test('gradients of wide activations are computed in pieces on the CPU, and whole elsewhere and where they are narrow', () => {
  const pieces = (intermediate_size: number, provider: 'cpu' | 'webgpu'): number[] => {
    const model = tinyBert({ intermediate_size });
    const experiment = settings({ r: 2, target_modules: ['query'] });
    const { program: step } = stepProgram({ model, plan: planAdapter(model, experiment.lora), lora: experiment.lora, train: true });
    const { graph, backward } = traceProgram(step, provider);
    const slopes = (nodes: GraphNode[]): number => nodes.filter(n => n.op === 'Exp').length;
    return backward.flatMap(node => [...Array(slopes([node])).fill(1), ...Array(slopes(node.body?.nodes ?? [])).fill(graph.values.get(node.outputs[0])!.shape[0])]);
  };
  const narrow = pieces(256, 'cpu');
  assert.ok(narrow.length > 0 && narrow.every(count => count === 1));
  assert.deepEqual(pieces(1536, 'cpu'), narrow.map(() => 4));
  assert.deepEqual(pieces(1536, 'webgpu'), narrow);
});

test('a session for many layers is made in little more than its share of the time', async () => {
  const processorTime = async (num_hidden_layers: number): Promise<number> => {
    const model = tinyBert({ num_hidden_layers, intermediate_size: 1536 });
    const experiment = settings({ r: 2, target_modules: ['query'] });
    const { program: step } = stepProgram({ model, plan: planAdapter(model, experiment.lora), lora: experiment.lora, train: true });
    const begun = process.cpuUsage();
    const compiled = await new CompiledExecutor({ provider: 'cpu' }).compile(step);
    const { user } = process.cpuUsage(begun);
    await compiled.dispose();
    return user;
  };
  await processorTime(8);
  const least = async (layers: number): Promise<number> => Math.min(await processorTime(layers), await processorTime(layers));
  const ratio = await least(64) / await least(8);
  // Where ONNX Runtime does not know sizes to be equal, its planner compares every output with every tensor that is free: 40 times instead of 19.
  assert.ok(ratio < 29, `eight times the layers take ${ratio.toFixed(1)} times as long`);
});
