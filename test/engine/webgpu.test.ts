/**
 * The compiled step on the WebGPU provider, driven by a Vulkan driver in software: everything on the device, and the CPU's
 * numbers. One case of each architecture and task, and DoRA; `LORA_LAB_EVERY_CASE=1` runs every reference case.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, test } from 'node:test';
import * as tf from '@tensorflow/tfjs-core';
import { CompiledExecutor } from '../../src/engine/executors/compiled';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import type { LoadedModel } from '../../src/engine/model/weights';
import type { Example } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { noisyStep, oneUpdate } from '../support/compareSteps';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { caseOf, modelTypeOf } from '../support/referenceCase';
import { assertSame, trainReference } from '../support/references';
import { openSoftwareGpu } from '../support/softwareGpu';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { tinyBert, tinyExamples } from '../support/tinyModel';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

/** What must be seen once: an architecture with a task. */
const kind = (name: string): string => `${modelTypeOf(name)} ${caseOf(name).task}`;
const ALL = readdirSync(fixture('references'));
const CASES = process.env.LORA_LAB_EVERY_CASE ? ALL : ALL.filter((name, i) => ['dora', 'embeddings', 't5-embeddings'].includes(name) || i === ALL.findIndex(other => kind(other) === kind(name)));

let held: CompiledProgram | undefined;
let skip: string | undefined;
const opened = openSoftwareGpu().then(found => { if ('reason' in found) skip = found.reason; else held = found.device; });
after(async () => held?.dispose());

for (const name of CASES) {
  test(`${name}: losses, gradient norms and updates on WebGPU are the CPU's`, async t => {
    await opened;
    if (skip) return t.skip(skip);
    await inTemporaryFolder(async folder => {
      const gpu = await trainReference(folder, name, 'webgpu', 2);
      assert.match(gpu.device, /^webgpu on (SwiftShader.*|llvmpipe), in software \(onnxruntime/);
      assertSame(gpu, await trainReference(folder, name, 'cpu', 2), 1e-3);
    });
  });
}

test('recomputed activations on WebGPU, dropout included, give what the plain step gives on the CPU', async t => {
  await opened;
  if (skip) return t.skip(skip);
  const cases: [LoadedModel, Example[]][] = [
    [tinyBert({ hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.15 }), tinyExamples([5, 9, 3])],
    [tinyDecoder(TINY_DECODERS.llama, 'CAUSAL_LM'), tinyTexts([7, 4])],
    [tinyDecoder({ ...TINY_T5['t5 v1.0'], dropout_rate: 0.2 }, 'SEQ_2_SEQ_LM'), tinyPairs([[6, 9], [3, 2]])],
  ];
  for (const [model, examples] of cases) {
    const [gpu, cpu] = await Promise.all([['webgpu', true], ['cpu', false]].map(async ([device, gradient_checkpointing]) =>
      oneUpdate(await noisyStep(model, { device: device as string, lora: { lora_dropout: 0.2, target_modules: 'all-linear' }, training: { gradient_checkpointing } }), examples, 4)));
    assertClose(gpu.values, cpu.values, 1e-3, 'loss and gradient norm');
    assertClose(gpu.exp_avg, cpu.exp_avg, 1e-3, 'moments');
  }
});

test('attention in blocks on WebGPU gives what whole rows give on the CPU', async t => {
  await opened;
  if (skip) return t.skip(skip);
  // An encoder has whole rows on both.
  for (const [model, examples] of [[tinyDecoder(TINY_DECODERS.qwen2, 'CAUSAL_LM'), tinyTexts([23, 3, 17])], [tinyBert(), tinyExamples([19, 3, 17])]] as const) {
    const [gpu, cpu] = await Promise.all([{ device: 'webgpu', longest: 1024 }, { device: 'cpu' }].map(async options =>
      oneUpdate(await noisyStep(model, { ...options, lora: { target_modules: 'all-linear' } }), examples)));
    assertClose(gpu.values, cpu.values, 1e-4, 'loss and norm');
    assertClose(gpu.exp_avg, cpu.exp_avg, 1e-3, 'exp_avg');
  }
});

test('a step that is split after its frozen layers gives on WebGPU what the whole one gives on the CPU', async t => {
  await opened;
  if (skip) return t.skip(skip);
  for (const [model, examples, target_modules] of [
    [() => tinyBert(), tinyExamples([5, 9, 3]), ['layer.1.attention.self.query']], [() => tinyDecoder(TINY_DECODERS.llama, 'CAUSAL_LM'), tinyTexts([5, 9, 3]), ['layers.1.self_attn.v_proj']],
  ] as [() => LoadedModel, Example[], string[]][]) {
    const both = [await noisyStep(model(), { device: 'webgpu', lora: { target_modules }, split_prefix: true }), await noisyStep(model(), { lora: { target_modules } })];
    assert.ok(both[0].prefix);
    const [split, whole] = await Promise.all(both.map(async step => [(await step.accumulate(examples, 0.5, null)).loss, (await step.update({ learning_rate: 1e-2, step: 1 })).grad_norm, (await step.evaluate(examples)).loss]));
    assertClose(split, whole, 1e-3, 'loss, gradient norm, evaluation');
    for (const step of both) await step.dispose();
  }
});

test('a step with a node that WebGPU has no kernel for is refused by name, and never run in part on the CPU', async t => {
  await opened;
  if (skip) return t.skip(skip);
  const refused = new CompiledExecutor({ provider: 'webgpu' }).compile({
    // ONNX Runtime's WebGPU provider negates floats only.
    name: 'negation', weights: new Map(), inputs: [{ name: 'x', dtype: 'int32', shape: [4] }], forward: ({ x }) => ({ y: tf.neg(x) }),
  });
  await assert.rejects(refused, /engine\.device: this model has a step that webgpu cannot run\. Set "device" to "auto" or "cpu"/);
});
