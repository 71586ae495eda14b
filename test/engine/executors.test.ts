/** The compiled executor against the eager reference: same losses, gradients and updates, for every batch shape, from one session. */
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { planAdapter, initialTrainables } from '../../src/engine/model/lora';
import { createTrainingStep } from '../../src/engine/training/step';
import type { TrainingStep } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { assertSameStep, noisyStep } from '../support/compareSteps';
import { settings, tinyBert, tinyExamples } from '../support/tinyModel';

const BATCHES = [[5, 9, 3], [7, 7], [1], [12, 2, 2, 6, 4]];

async function steps(lora: object, config: object, train = true, training: object = {}): Promise<Record<'cpu' | 'reference', TrainingStep>> {
  const model = tinyBert(config as Record<string, unknown>);
  const create = (device: string) => noisyStep(model, { device, lora, training: { weight_decay: 0.05, max_grad_norm: 0.5, ...training }, train });
  return { cpu: await create('cpu'), reference: await create('reference') };
}

const cases: { name: string; lora: object; config: object; dropout: boolean; training?: object }[] = [
  { name: 'query and value', lora: { r: 4, lora_alpha: 8, target_modules: ['query', 'value'] }, config: {}, dropout: false },
  { name: 'every linear', lora: { r: 3, lora_alpha: 5, target_modules: 'all-linear' }, config: {}, dropout: false },
  { name: 'dropout everywhere', lora: { r: 4, lora_dropout: 0.2, target_modules: 'all-linear' }, config: { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.15 }, dropout: true },
  { name: 'DoRA', lora: { r: 3, lora_alpha: 5, target_modules: 'all-linear', use_dora: true, use_rslora: true }, config: {}, dropout: false },
  { name: 'DoRA with dropout', lora: { r: 4, lora_dropout: 0.2, use_dora: true, bias: 'lora_only' }, config: {}, dropout: true },
  { name: 'biases of B and of the base', lora: { r: 4, target_modules: ['query', 'output.dense'], lora_bias: true, bias: 'lora_only', init_lora_weights: false }, config: {}, dropout: false },
  { name: 'PiSSA with dropout', lora: { r: 4, lora_dropout: 0.2, target_modules: 'all-linear', init_lora_weights: 'pissa' }, config: {}, dropout: true },
  ...['gelu', 'gelu_new', 'silu'].map(hidden_act => ({ name: `${hidden_act} of a width that is computed in pieces`, lora: { r: 2, target_modules: ['query', 'intermediate.dense'] }, config: { hidden_act, intermediate_size: 1536 }, dropout: false })),
  // AdamW divides by the root of the second moment: beside a larger epsilon, gradients that are nearly zero do not decide where values go.
  { name: 'trained whole, 260,000 values', lora: { full: true }, config: { vocab_size: 16000 }, dropout: false, training: { adam_epsilon: 1e-3 } },
  { name: 'trained whole, 1.1 million values', lora: { full: true }, config: { vocab_size: 70000 }, dropout: false, training: { adam_epsilon: 1e-3 } },
  { name: 'LoRA+ of 1.1 million values, embeddings among them', lora: { r: 16, target_modules: ['word_embeddings', 'query'] }, config: { vocab_size: 70000 }, dropout: false, training: { adam_epsilon: 1e-3, loraplus_lr_ratio: 4 } },
  { name: 'relu, upper layer only', lora: { r: 2, target_modules: ['layer.1.attention.self.key'] }, config: { hidden_act: 'relu' }, dropout: false },
];

for (const { name, lora, config, dropout, training } of cases) {
  test(`compiled equals eager: ${name}`, async () => {
    const both = await steps(lora, config, true, training);
    for (let step = 1; step <= BATCHES.length; step++) {
      const examples = tinyExamples(BATCHES[step - 1], 3, step);
      await assertSameStep([both.cpu, both.reference], examples, step, dropout ? 11 : undefined);
    }
    await both.cpu.dispose();
    await both.reference.dispose();
  });
}

test('a batch of several examples gives the sum of their single losses: padding has no effect', async () => {
  const { cpu } = await steps({ r: 4 }, {}, false);
  const examples = tinyExamples([3, 11, 6]);
  const together = await cpu.evaluate(examples);
  let sum = 0;
  for (const example of examples) sum += (await cpu.evaluate([example])).loss;
  assertClose([together.loss], [sum], 1e-5, 'loss');
});

test('dropout follows its seed, has the right mean and is off in evaluation', async () => {
  const { cpu } = await steps({ r: 4, lora_dropout: 0.3 }, { hidden_dropout_prob: 0.3 });
  const examples = tinyExamples([9, 4]);
  const loss = async (seed: number) => (await cpu.accumulate(examples, 1, { seed, step: 1, micro_step: 0 })).loss;
  assert.equal(await loss(5), await loss(5));
  assert.notEqual(await loss(5), await loss(6));
  const plain = (await cpu.accumulate(examples, 1, null)).loss;
  assertClose([(await cpu.evaluate(examples)).loss], [plain], 1e-6, 'loss');
});

test('a gradient that is not finite changes nothing', async () => {
  const { cpu } = await steps({ r: 4 }, {});
  const before = await cpu.state();
  await cpu.accumulate(tinyExamples([4]), Infinity, null);
  const { grad_norm } = await cpu.update({ learning_rate: 1, step: 1 });
  assert.ok(!Number.isFinite(grad_norm));
  assert.deepEqual(await cpu.state(), before);
});

test('a batch computed in portions gives the same losses, logits and gradients as the whole batch at once', async () => {
  const model = tinyBert();
  const { lora, training } = settings({ r: 4, lora_alpha: 8, target_modules: 'all-linear' });
  const plan = planAdapter(model, lora);
  const trainables = initialTrainables(model, plan, 7);
  const examples = tinyExamples([9, 2, 14, 5, 5, 11, 3]);
  const results = [];
  for (const portion_tokens of [1, 12, 20, Infinity]) {
    const step = await createTrainingStep({ model, plan, training, lora, device: 'cpu', trainables, train: true, portion_tokens });
    const { loss, logits } = await step.accumulate(examples, 1 / 7, null);
    const { loss: evaluated } = await step.evaluate(examples);
    const { grad_norm } = await step.update({ learning_rate: 1e-3, step: 1 });
    results.push({ loss, logits, evaluated, grad_norm, exp_avg: (await step.state()).exp_avg });
    await step.dispose();
  }
  const whole = results.at(-1)!;
  for (const result of results) {
    assertClose([result.loss, result.evaluated, result.grad_norm], [whole.loss, whole.evaluated, whole.grad_norm], 1e-5, 'loss, evaluation, norm');
    assertClose(result.logits, whole.logits, 1e-5, 'logits');
    assertClose(result.exp_avg, whole.exp_avg, 1e-5, 'first moments');
  }
});
