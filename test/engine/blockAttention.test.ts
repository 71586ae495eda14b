/** Attention of long texts in blocks of rows: the results of whole rows, without their probabilities. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { planAdapter } from '../../src/engine/model/lora';
import { blockFeeds, blocksFor } from '../../src/engine/training/blocks';
import { stepProgram } from '../../src/engine/training/step';
import type { TrainingStep } from '../../src/engine/training/step.types';
import { savingsWithout } from '../../src/protocol/savings';
import { assertClose } from '../support/close';
import { noisyStep, oneUpdate } from '../support/compareSteps';
import { settings } from '../support/tinyModel';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';

/** In eight blocks, of texts that are shorter than that, too. */
const LONGEST = 2048;
const WHOLE = savingsWithout(['attention_blocks']);
/** Attention with a bound is never computed in blocks. */
const BLOCKED = Object.keys(TINY_DECODERS).filter(name => !name.startsWith('gemma2'));

test('a text has blocks of 256 rows from 512 tokens on, at most eight', () => {
  assert.deepEqual([10, 511, 512, 700, 1024, 2048, 9000].map(blocksFor), [undefined, undefined, 2, 3, 4, 8, 8]);
});

test('every row is in one block, with the keys up to the last of them', () => {
  for (const [S, blocks] of [[8, 8], [9, 4], [30, 7], [1, 1]]) {
    const feeds = blockFeeds(S, blocks);
    const rows = Array.from({ length: blocks }, (_, i) => [...feeds[`block_rows_${i}`].data]);
    assert.deepEqual(rows.flat(), Array.from({ length: S }, (_, s) => s));
    rows.forEach((own, i) => assert.deepEqual([...feeds[`block_keys_${i}`].data], Array.from({ length: own.at(-1)! + 1 }, (_, s) => s)));
    assert.ok(rows.every(own => own.length > 0));
  }
});

/** Loss without and with gradients, their norm, and the gradients. */
async function gradientsOf(step: TrainingStep, lengths: number[]): Promise<{ losses: number[]; gradients: Float32Array }> {
  const examples = tinyTexts(lengths);
  const { loss } = await step.evaluate(examples);
  const { values, exp_avg } = await oneUpdate(step, examples);
  return { losses: [loss, ...values], gradients: exp_avg };
}

for (const name of BLOCKED) {
  test(`blocks give the losses and gradients of whole rows: ${name}`, async () => {
    for (const { lengths, training } of [{ lengths: [23, 8, 17], training: {} }, { lengths: [3, 2], training: {} }, { lengths: [23, 8], training: { gradient_checkpointing: true } }]) {
      const options = { lora: { r: 3, target_modules: 'all-linear' }, training, longest: LONGEST };
      const model = tinyDecoder(TINY_DECODERS[name], 'CAUSAL_LM');
      const [blocks, whole] = [await gradientsOf(await noisyStep(model, options), lengths), await gradientsOf(await noisyStep(model, { ...options, savings: WHOLE }), lengths)];
      assertClose(blocks.losses, whole.losses, 1e-5, 'losses and norm');
      assertClose(blocks.gradients, whole.gradients, 1e-4, 'gradient');
    }
  });
}

/** Softmaxes of the forward pass, and those of them that the backward pass reads. */
function softmaxes(name: string, change: object, options: { longest: number; savings?: typeof WHOLE }): { computed: number; kept: number } {
  const model = tinyDecoder({ ...TINY_DECODERS[name], ...change }, 'CAUSAL_LM');
  const { lora } = settings({ r: 3, target_modules: 'all-linear' });
  const { forward, backward } = traceProgram(stepProgram({ model, plan: planAdapter(model, lora), lora, train: true, ...options }).program);
  const read = new Set(backward.flatMap(node => node.inputs));
  const made = forward.filter(node => node.op === 'Softmax');
  return { computed: made.length, kept: made.filter(node => read.has(node.outputs[0])).length };
}

test('the backward pass keeps no probabilities of blocks, and those of whole rows', () => {
  assert.deepEqual(softmaxes('qwen2', {}, { longest: 1024 }), { computed: 8, kept: 0 });
  assert.deepEqual(softmaxes('qwen2', {}, { longest: 1024, savings: WHOLE }), { computed: 2, kept: 2 });
  assert.deepEqual(softmaxes('qwen2', {}, { longest: 500 }), { computed: 2, kept: 2 });
  assert.deepEqual(softmaxes('gpt2', { attn_pdrop: 0.1 }, { longest: 1024 }), { computed: 2, kept: 2 }, 'dropout of the probabilities');
});
