/** Encoders beside BERT, and the losses of several classes and of values: the compiled executor against the eager reference. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { roberta } from '../../src/engine/model/roberta';
import { initialTrainables, planAdapter } from '../../src/engine/model/lora';
import { batchFeeds } from '../../src/engine/training/layout';
import { createTrainingStep } from '../../src/engine/training/step';
import type { Example, TrainingStep } from '../../src/engine/training/step.types';
import type { ProblemType } from '../../src/protocol/experiment';
import { random } from '../../src/engine/random';
import { assertClose } from '../support/close';
import { settings, TINY_CONFIG, TINY_ENCODERS, tinyEncoder, tinyExamples } from '../support/tinyModel';

async function stepOf(config: Record<string, unknown>, device: string, problem_type: ProblemType = 'single_label_classification', labels = ['a', 'b', 'c'], lora_dropout = 0, task = 'SEQ_CLS'): Promise<TrainingStep> {
  const model = tinyEncoder(config, labels, problem_type, 1, task);
  const experiment = settings({ r: 3, lora_alpha: 5, lora_dropout, target_modules: 'all-linear' });
  const plan = planAdapter(model, experiment.lora);
  const trainables = initialTrainables(model, plan, 7);
  const noise = random(3, 'noise');
  for (let i = 0; i < trainables.length; i++) trainables[i] += 0.1 * noise.normal();
  return createTrainingStep({ model, plan, training: experiment.training, lora: experiment.lora, device, trainables, train: true });
}

/** Loss, logits, gradient norm and weights of two steps. */
async function course(step: TrainingStep, examples: Example[][], dropout: boolean) {
  const results = [];
  for (const [i, batch] of examples.entries()) {
    const { loss, logits } = await step.accumulate(batch, 0.5, dropout ? { seed: 4, step: i + 1, micro_step: 0 } : null);
    const { grad_norm } = await step.update({ learning_rate: 1e-2, step: i + 1 });
    results.push({ loss, logits, grad_norm, trainables: (await step.state()).trainables, evaluated: (await step.evaluate(batch)).loss });
  }
  await step.dispose();
  return results;
}

async function assertSame(make: (device: string) => Promise<TrainingStep>, examples: Example[][], dropout: boolean): Promise<void> {
  const [compiled, eager] = [await course(await make('cpu'), examples, dropout), await course(await make('reference'), examples, dropout)];
  for (const [i, found] of compiled.entries()) {
    assertClose([found.loss, found.grad_norm, found.evaluated], [eager[i].loss, eager[i].grad_norm, eager[i].evaluated], 1e-4, 'loss, gradient norm, evaluation');
    assertClose(found.logits, eager[i].logits, 1e-4, 'logits');
    assertClose(found.trainables, eager[i].trainables, 1e-3, 'trainables');
  }
}

const DROPOUT: Record<string, object> = {
  roberta: { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.15, classifier_dropout: 0.2 },
  electra: { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.15 },
  distilbert: { dropout: 0.1, attention_dropout: 0.15, seq_classif_dropout: 0.2 },
};

for (const [name, config] of Object.entries(TINY_ENCODERS)) {
  test(`compiled equals eager: ${name}, with and without dropout`, async () => {
    const examples = [tinyExamples([5, 9, 3]), tinyExamples([1], 3, 4)];
    await assertSame(device => stepOf(config, device), examples, false);
    await assertSame(device => stepOf({ ...config, ...DROPOUT[name] }, device, undefined, undefined, 0.2), examples, true);
  });
}

for (const [name, config] of Object.entries({ bert: {}, ...TINY_ENCODERS })) {
  test(`compiled equals eager: tags of words, ${name}`, async () => {
    // The second example has one word, the third none that is learned.
    const tagged = tinyExamples([5, 9, 3]).map((example, i): Example => ({ ...example, targets: example.input_ids.map((_, place) => (i === 2 || place === 0 || i === 1 && place !== 4 || place % 2 ? -100 : place % 3)) }));
    await assertSame(device => stepOf({ ...config, hidden_dropout_prob: 0.1, dropout: 0.1 }, device, undefined, undefined, 0.2, 'TOKEN_CLS'), [tagged, tagged.slice(0, 1)], true);
  });
}

test('compiled equals eager: several classes, and values', async () => {
  const classes = [[0, 2], [], [1]].map(list => Int32Array.from(list));
  const several = tinyExamples([5, 9, 3]).map((example, i) => ({ ...example, classes: classes[i] }));
  await assertSame(device => stepOf({}, device, 'multi_label_classification'), [several], false);
  const values = tinyExamples([5, 9, 3]).map((example, i) => ({ ...example, label: 1.5 * i - 1 }));
  await assertSame(device => stepOf({}, device, 'regression', ['LABEL_0']), [values], false);
});

test('losses of several classes and of values are those of their formulas, for logits of any size', async () => {
  const step = await stepOf({}, 'cpu', 'multi_label_classification');
  const [example] = tinyExamples([6]);
  const { loss, logits } = await step.evaluate([{ ...example, classes: Int32Array.of(1) }]);
  const expected = [...logits].reduce((sum, x, k) => sum - Math.log(1 / (1 + Math.exp(k === 1 ? -x : x))), 0) / 3;
  assertClose([loss], [expected], 1e-5, 'binary cross-entropy');
  const value = await stepOf({}, 'cpu', 'regression', ['LABEL_0']);
  const found = await value.evaluate([{ ...example, label: 2.5 }]);
  assertClose([found.loss], [(found.logits[0] - 2.5) ** 2], 1e-5, 'squared difference');
  for (const one of [step, value]) await one.dispose();
});

test('positions of RoBERTa count from its padding token on, and pass over padding within a text', async () => {
  const text = (ids: number[]): Example => ({ input_ids: Int32Array.from(ids), token_type_ids: null, label: 0 });
  const logits = async (config: Record<string, unknown>, ids: number[]) => {
    const step = await stepOf(config, 'cpu');
    try { return [...(await step.evaluate([text(ids)])).logits]; } finally { await step.dispose(); }
  };
  const [plain, later] = [await logits(TINY_ENCODERS.roberta, [5, 6, 7]), await logits({ ...TINY_ENCODERS.roberta, pad_token_id: 3 }, [5, 6, 7])];
  assert.ok(plain.some((value, k) => Math.abs(value - later[k]) > 1e-3), 'another padding token shifts every position');
  // As transformers' create_position_ids_from_input_ids: 2, 3, the padding at 1, then 4.
  const layout = roberta.layout({ ...TINY_CONFIG, ...TINY_ENCODERS.roberta }, 'SEQ_CLS');
  assert.deepEqual([...batchFeeds([text([5, 6, 1, 7]), text([8])], layout).position_ids.data], [2, 3, 1, 4, 2]);
});
