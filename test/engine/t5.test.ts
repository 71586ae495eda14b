/** T5 on the compiled executor against the eager reference, and what must hold of any encoder-decoder. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planAdapter } from '../../src/engine/model/lora';
import type { Example, TrainingStep } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { assertSameStep, noisyStep, type StepSettings } from '../support/compareSteps';
import { settings } from '../support/tinyModel';
import { tinyDecoder } from '../support/tinyDecoders';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

/** Source and target lengths: either longer, single tokens, more and fewer examples. */
const BATCHES: [number, number][][] = [[[5, 3], [9, 4], [3, 8]], [[7, 7], [7, 7]], [[1, 1]], [[2, 20], [12, 1], [2, 2], [6, 3]]];

const stepOf = (config: Record<string, unknown>, { lora, ...options }: StepSettings = {}): Promise<TrainingStep> =>
  noisyStep(tinyDecoder(config, 'SEQ_2_SEQ_LM'), { lora: { r: 3, lora_alpha: 5, target_modules: 'all-linear', ...lora }, ...options });

for (const [name, config] of Object.entries(TINY_T5)) {
  test(`compiled equals eager: ${name}`, async () => {
    const both = [await stepOf(config), await stepOf(config, { device: 'reference' })];
    for (const [i, lengths] of BATCHES.entries()) {
      const examples = tinyPairs(lengths, i);
      await assertSameStep(both, examples, i + 1);
    }
    for (const step of both) await step.dispose();
  });
}

test('dropout in both stacks, between them and in adapters: compiled equals eager, and follows its seed', async () => {
  const config = { ...TINY_T5['t5 v1.1'], dropout_rate: 0.2 };
  const both = [await stepOf(config, { lora: { lora_dropout: 0.1 } }), await stepOf(config, { lora: { lora_dropout: 0.1 }, device: 'reference' })];
  const examples = tinyPairs([[6, 9], [3, 2]]);
  const [compiled, eager] = await Promise.all(both.map(async step => {
    const loss = async (seed: number): Promise<number> => (await step.accumulate(examples, 1, { seed, step: 1, micro_step: 0 })).loss;
    const losses = [await loss(4), await loss(4), await loss(5), (await step.accumulate(examples, 1, null)).loss];
    return [...losses, (await step.update({ learning_rate: 1e-3, step: 1 })).grad_norm];
  }));
  assertClose(compiled, eager, 1e-4, 'losses and gradient norm');
  assert.equal(compiled[0], compiled[1]);
  assert.equal(new Set(compiled.slice(1, 4)).size, 3);
});

test('a batch of several examples gives the sum of their single losses: padding has no effect in either stack', async () => {
  const step = await stepOf(TINY_T5['t5 v1.0'], { train: false });
  const examples = tinyPairs([[3, 9], [11, 2], [6, 6]]);
  const together = await step.evaluate(examples);
  let sum = 0;
  for (const example of examples) sum += (await step.evaluate([example])).loss;
  assertClose([together.loss], [sum], 1e-5, 'loss');
});

test('the decoder sees the whole source and what it has read so far, not what comes later', async () => {
  const step = await stepOf(TINY_T5['t5 v1.0'], { train: false });
  const [pair] = tinyPairs([[8, 6]]);
  const first = async (example: Example): Promise<number> => (await step.evaluate([example])).logits[0];
  const changed = (ids: Int32Array, place: number): Int32Array => ids.map((id, i) => (i === place ? (id + 1) % 40 : id));
  const plain = await first(pair);
  assertClose([await first({ ...pair, decoder_input_ids: changed(pair.decoder_input_ids!, 1) })], [plain], 1e-6, 'logit');
  assert.notEqual(await first({ ...pair, decoder_input_ids: changed(pair.decoder_input_ids!, 0) }), plain);
  assert.notEqual(await first({ ...pair, input_ids: changed(pair.input_ids, 7) }), plain);
});

test('what of T5 cannot be trained whole is refused by name', () => {
  const model = tinyDecoder(TINY_T5['t5 v1.1'], 'SEQ_2_SEQ_LM');
  const plan = (modules_to_save: string[]) => planAdapter(model, settings({ modules_to_save }).lora);
  assert.throws(() => plan(['relative_attention_bias']), /lora\.modules-to-save|cannot be trained whole/);
  assert.throws(() => plan(['shared']), /cannot be trained whole/);
  assert.ok(plan(['lm_head']).modules_to_save.includes('lm_head'));
});
