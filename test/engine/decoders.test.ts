/** Every decoder architecture on the compiled executor against the eager reference, and what must hold of any causal model. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IGNORED, type Example, type TrainingStep } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { assertSameStep, noisyStep, type StepSettings } from '../support/compareSteps';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';

const BATCHES = [[5, 9, 3], [7, 7], [2], [12, 2, 6, 4]];

const stepOf = (config: Record<string, unknown>, task: string, { lora, ...options }: StepSettings = {}): Promise<TrainingStep> =>
  noisyStep(tinyDecoder(config, task, task === 'SEQ_CLS' ? ['a', 'b', 'c'] : []), { lora: { r: 3, lora_alpha: 5, target_modules: 'all-linear', ...lora }, ...options });

for (const [name, config] of Object.entries(TINY_DECODERS)) {
  for (const task of ['CAUSAL_LM', 'SEQ_CLS']) {
    test(`compiled equals eager: ${name}, ${task}`, async () => {
      const both = [await stepOf(config, task), await stepOf(config, task, { device: 'reference' })];
      for (const [i, lengths] of BATCHES.entries()) {
        const examples = tinyTexts(lengths, i);
        await assertSameStep(both, examples, i + 1);
      }
      for (const step of both) await step.dispose();
    });
  }
}

test('dropout in attention, embeddings and adapters: compiled equals eager', async () => {
  const config = { ...TINY_DECODERS.gpt2, resid_pdrop: 0.1, embd_pdrop: 0.1, attn_pdrop: 0.15 };
  const both = [await stepOf(config, 'CAUSAL_LM', { lora: { lora_dropout: 0.2 } }), await stepOf(config, 'CAUSAL_LM', { lora: { lora_dropout: 0.2 }, device: 'reference' })];
  const [compiled, eager] = await Promise.all(both.map(async step => [(await step.accumulate(tinyTexts([6, 3]), 1, { seed: 4, step: 1, micro_step: 0 })).loss, (await step.update({ learning_rate: 1e-3, step: 1 })).grad_norm]));
  assertClose(compiled, eager, 1e-4, 'loss and gradient norm');
});

test('only what stands before a token decides what follows it: later tokens and other examples change nothing', async () => {
  for (const name of ['gpt2', 'llama', 'mistral with a window', 'gemma2 with windows']) {
    const step = await stepOf(TINY_DECODERS[name], 'CAUSAL_LM', { train: false });
    const [text] = tinyTexts([9]);
    const target = (input_ids: Int32Array): Example => ({ input_ids, token_type_ids: null, label: 0, targets: input_ids.map((_, i) => (i === 4 ? 7 : IGNORED)) });
    const whole = await step.evaluate([target(text.input_ids)]);
    const cut = await step.evaluate([target(text.input_ids.slice(0, 5))]);
    const among = await step.evaluate([target(text.input_ids.map((id, i) => (i > 4 ? 1 : id))), ...tinyTexts([12]).map(example => ({ ...example, targets: null }))]);
    assertClose(cut.logits, whole.logits, 1e-4, name);
    assertClose(among.logits, whole.logits, 1e-4, name);
  }
});

test('a sliding window hides what is further back', async () => {
  // Two layers with windows of 3 let a token see 4 tokens back.
  const step = await stepOf(TINY_DECODERS['mistral with a window'], 'CAUSAL_LM', { train: false });
  const [{ input_ids }] = tinyTexts([10]);
  const loss = async (changed: number): Promise<number> => (await step.evaluate([{
    input_ids: input_ids.map((id, i) => (i === changed ? (id + 1) % 40 : id)), token_type_ids: null, label: 0, targets: input_ids.map((_, i) => (i === 8 ? 3 : IGNORED)),
  }])).loss;
  const plain = await loss(9);
  assertClose([await loss(3)], [plain], 1e-6, 'loss');
  assert.notEqual(await loss(4), plain);
});

test('a batch without a target adds nothing, and a window is counted in targets', async () => {
  const step = await stepOf(TINY_DECODERS.llama, 'CAUSAL_LM');
  const texts = tinyTexts([6, 4]);
  assert.equal(step.count(texts), 3 + 2);
  const masked = texts.map(text => ({ ...text, targets: text.input_ids.map(() => IGNORED) }));
  assert.deepEqual(await step.accumulate(masked, 1, null), { loss: 0, logits: new Float32Array(0), right: 0 });
  assert.equal((await step.update({ learning_rate: 1, step: 1 })).grad_norm, 0);
});

test('the last token that is not padding is what a classifier reads', async () => {
  const config = { ...TINY_DECODERS.llama, pad_token_id: 0 };
  const step = await stepOf(config, 'SEQ_CLS', { train: false });
  const ids = Int32Array.of(3, 4, 5, 0, 0);
  const logits = async (input_ids: Int32Array): Promise<Float32Array> => (await step.evaluate([{ input_ids, token_type_ids: null, label: 0 }])).logits;
  assertClose(await logits(ids), await logits(ids.slice(0, 3)), 1e-5, 'logits');
});
