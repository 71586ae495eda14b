/** The loss of a frozen output layer taken some classes at a time: that of whole logits, which then never exist. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as tf from '@tensorflow/tfjs-core';
import { CompiledExecutor } from '../../src/engine/executors/compiled';
import type { CompiledProgram, Program } from '../../src/engine/executors/executor';
import { GRADIENTS } from '../../src/engine/executors/program';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { planAdapter } from '../../src/engine/model/lora';
import { vocabularyLoss } from '../../src/engine/ops/vocabularyLoss';
import { random } from '../../src/engine/random';
import { stepProgram } from '../../src/engine/training/step';
import type { Example } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { noisyStep } from '../support/compareSteps';
import { openSoftwareGpu } from '../support/softwareGpu';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { settings } from '../support/tinyModel';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

const lora = { r: 3, lora_alpha: 5, target_modules: 'all-linear' };
const CASES: [string, Record<string, unknown>, string, Example[]][] = [
  ...Object.entries(TINY_DECODERS).map(([name, config]): [string, Record<string, unknown>, string, Example[]] => [name, config, 'CAUSAL_LM', tinyTexts([7, 4, 2])]),
  ...Object.entries(TINY_T5).map(([name, config]): [string, Record<string, unknown>, string, Example[]] => [name, config, 'SEQ_2_SEQ_LM', tinyPairs([[6, 9], [3, 2]])]),
];

/** Loss, evaluation and norm; moments; right tokens. The vocabulary has 40 tokens. */
async function course(config: Record<string, unknown>, task: string, examples: Example[], chunk_classes: number, device: string) {
  const step = await noisyStep(tinyDecoder(config, task), { lora, chunk_classes, device });
  const { loss, right } = await step.accumulate(examples, 0.5, null);
  const { grad_norm } = await step.update({ learning_rate: 1e-2, step: 1 });
  const evaluated = await step.evaluate(examples);
  const { exp_avg } = await step.state();
  await step.dispose();
  return { values: [loss, grad_norm, evaluated.loss], exp_avg, right: [right, evaluated.right] };
}

for (const [name, config, task, examples] of CASES) {
  test(`chunks of classes give the losses and gradients of whole logits: ${name}`, async () => {
    const whole = await course(config, task, examples, Infinity, 'cpu');
    for (const [chunk, device] of [[7, 'cpu'], [40, 'cpu'], [7, 'reference']] as const) {
      const found = await course(config, task, examples, chunk, device);
      assertClose(found.values, whole.values, device === 'cpu' ? 1e-6 : 1e-5, `${device}, ${chunk}: losses and norm`);
      assertClose(found.exp_avg, whole.exp_avg, device === 'cpu' ? 2e-6 : 1e-4, `${device}, ${chunk}: moments`);
      assert.deepEqual(found.right, whole.right);
    }
  });
}

/** Shapes that grow with the tokens read and have the vocabulary's or the chunk's width. */
function widths(target_modules: string | string[]): Set<number> {
  const model = tinyDecoder(TINY_DECODERS.llama, 'CAUSAL_LM');
  const { lora } = settings({ target_modules });
  const { program } = stepProgram({ model, plan: planAdapter(model, lora), lora, train: true, chunk_classes: 15 });
  const { graph } = traceProgram(program);
  return new Set([...graph.values.values()].filter(({ shape }) => shape.length === 2 && graph.sizes.label(shape[0]) === 'R').map(({ shape }) => shape[1]).filter(width => width === 40 || width === 15));
}

test('no logits of the whole vocabulary exist, unless the output layer has an adapter', () => {
  assert.deepEqual([...widths(['q_proj'])], [15]);
  assert.deepEqual([...widths(['q_proj', 'lm_head'])], [40]);
});

const noise = (name: string, size: number): Float32Array => { const stream = random(5, name); return Float32Array.from({ length: size }, () => stream.normal()); };

/** A language model of embeddings and output layer alone: x = table[ids] ∘ scale. */
const [C, D] = [50, 6];
const program: Program = {
  name: 'small', weights: new Map([['table', { source: 'memory', shape: [C, D], data: noise('table', C * D) }]]),
  inputs: [
    { name: 'ids', dtype: 'int32', shape: ['R'] }, { name: 'labels', dtype: 'int32', shape: ['R'] },
    { name: 'trained', dtype: 'float32', shape: [D] }, { name: 'sums', dtype: 'float32', shape: [D] },
  ],
  parts: { input: 'trained', parts: [{ name: 'scale', shape: [D], offset: 0, size: D }] },
  gradient: { of: 'loss', addTo: 'sums' },
  forward({ ids, labels, scale }, weight) {
    const x = tf.mul(tf.gather(weight('table'), ids as tf.Tensor1D), scale);
    const { losses, right } = vocabularyLoss({ x, w: weight('table'), labels }, { chunk: 16, softcap: 3 });
    return { loss: tf.sum(losses), right: tf.sum(right) };
  },
};

let held: CompiledProgram | undefined;
after(async () => held?.dispose());

test('on WebGPU a table that no buffer holds is read in parts, and gives what the CPU computes of the whole', async t => {
  const opened = await openSoftwareGpu();
  if ('reason' in opened) return t.skip(opened.reason);
  held = opened.device;
  const feeds = {
    ids: { data: Int32Array.of(0, 11, 12, 49), shape: [4] }, labels: { data: Int32Array.of(49, 0, 16, 15), shape: [4] },
    trained: { data: noise('scale', D), shape: [D] }, sums: { data: new Float32Array(D), shape: [D] },
  };
  const settings = { provider: 'webgpu', largest_table: 12 * D * 4 } as const;
  const { graph } = traceProgram(program, 'webgpu', settings.largest_table);
  const largest = Math.max(...[...graph.weightRows.values()].map(({ begin, end }) => end - begin));
  assert.ok(largest <= 16 && graph.weightRows.size === 5 + 4 - 1, 'rows of the embeddings and classes of the output layer, the last two of both');
  const results = [];
  for (const executor of [new CompiledExecutor(settings), new CompiledExecutor({ provider: 'cpu' })]) {
    const compiled = await executor.compile(program);
    results.push(await compiled.run(feeds));
    await compiled.dispose();
  }
  for (const name of ['loss', 'right', GRADIENTS]) assertClose(results[0][name], results[1][name], 1e-4, name);
});
