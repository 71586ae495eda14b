/** `gradient_checkpointing`: the losses and gradients of the plain step, dropout included, with only the inputs of each layer kept. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { planAdapter } from '../../src/engine/model/lora';
import type { LoadedModel } from '../../src/engine/model/weights';
import { stepProgram } from '../../src/engine/training/step';
import type { Example } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { noisyStep } from '../support/compareSteps';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { settings, TINY_ENCODERS, tinyBert, tinyEncoder, tinyExamples } from '../support/tinyModel';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

interface Case { model: LoadedModel; examples: Example[]; lora?: object }

const DROPPED = { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.15 };
const CASES: Record<string, Case> = {
  'bert with dropout': { model: tinyBert(DROPPED), examples: tinyExamples([5, 9, 3]) },
  'bert with DoRA, biases and saved modules': { model: tinyBert(DROPPED), examples: tinyExamples([5, 9]), lora: { use_dora: true, bias: 'all', modules_to_save: ['classifier', 'pooler'] } },
  'bert, adapters in the upper layer': { model: tinyBert(), examples: tinyExamples([5, 9]), lora: { target_modules: ['query'], layers_to_transform: 1 } },
  ...Object.fromEntries(Object.entries(TINY_ENCODERS).map(([name, config]) => [name, { model: tinyEncoder({ ...config, ...DROPPED }), examples: tinyExamples([4, 8]) }])),
  ...Object.fromEntries(Object.entries(TINY_DECODERS).map(([name, config]) => [name, { model: tinyDecoder(config, 'CAUSAL_LM'), examples: tinyTexts([7, 4]) }])),
  'gpt2 with dropout': { model: tinyDecoder({ ...TINY_DECODERS.gpt2, resid_pdrop: 0.1, embd_pdrop: 0.1, attn_pdrop: 0.15 }, 'CAUSAL_LM'), examples: tinyTexts([7, 4]) },
  ...Object.fromEntries(Object.entries(TINY_T5).map(([name, config]) => [`${name} with dropout`, { model: tinyDecoder({ ...config, dropout_rate: 0.2 }, 'SEQ_2_SEQ_LM'), examples: tinyPairs([[6, 9], [3, 2]]) }])),
};

/** Losses, gradient norms, moments and evaluation of two steps. */
async function course({ model, examples, lora }: Case, gradient_checkpointing: boolean, device: string): Promise<number[][]> {
  const step = await noisyStep(model, { device, lora: { r: 3, lora_alpha: 5, lora_dropout: 0.2, target_modules: 'all-linear', ...lora }, training: { gradient_checkpointing } });
  const results: number[][] = [];
  for (const number of [1, 2]) {
    const { loss } = await step.accumulate(examples, 0.5, { seed: 4, step: number, micro_step: 0 });
    const { grad_norm } = await step.update({ learning_rate: 1e-2, step: number });
    results.push([loss, grad_norm, (await step.evaluate(examples)).loss], [...(await step.state()).exp_avg]);
  }
  await step.dispose();
  return results;
}

for (const [name, model] of Object.entries(CASES)) {
  test(`recomputed activations change nothing: ${name}`, async () => {
    const plain = await course(model, false, 'cpu');
    for (const device of ['cpu', 'reference']) {
      const found = await course(model, true, device);
      found.forEach((values, i) => assertClose(values, plain[i], i % 2 === 0 && device === 'cpu' ? 1e-5 : 1e-3, `${device}, ${i}`));
    }
  });
}

/** Shapes of what the backward pass reads of the forward pass and what grows with the batch's tokens. */
function kept(gradient_checkpointing: boolean): string[] {
  const { lora, training } = settings({ r: 3, lora_dropout: 0.2, target_modules: 'all-linear' }, { gradient_checkpointing });
  const model = tinyBert({ ...DROPPED, num_hidden_layers: 4 });
  const { program } = stepProgram({ model, plan: planAdapter(model, lora), lora, training, train: true });
  const { graph, forward, backward } = traceProgram(program);
  const made = new Set(forward.flatMap(node => node.outputs));
  const read = new Set(backward.flatMap(node => node.inputs).filter(name => made.has(name)));
  const shapes = [...read].map(name => (graph.values.get(name)?.shape ?? []).map(size => graph.sizes.label(size)).join(' '));
  return shapes.filter(shape => /[TS]/.test(shape)).sort();
}

test('the backward pass reads the inputs of the layers and nothing else of them', () => {
  assert.ok(kept(false).length > 60, 'without, everything that a gradient needs');
  assert.deepEqual(kept(true), ['T 16', 'T 16', 'T 16', 'T 16']);
});
