/** The frozen prefix: a step that is split after the layers in which nothing is trained gives what the whole step gives. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ExampleSet } from '../../src/engine/data/examples';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { planAdapter } from '../../src/engine/model/lora';
import { nodeFileSystem, useFileSystem } from '../../src/engine/files';
import type { LoadedModel } from '../../src/engine/model/weights';
import { PrefixStore } from '../../src/engine/training/prefixStore';
import { stepProgram } from '../../src/engine/training/step';
import { tokensOf, type Example, type TrainingStep } from '../../src/engine/training/step.types';
import { isEvalRecord } from '../../src/protocol/metrics';
import { assertClose } from '../support/close';
import { noisyStep } from '../support/compareSteps';
import { inTemporaryFolder, withFault } from '../support/faults';
import { copyCase, readMetrics, startRun } from '../support/runs';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { settings, TINY_ENCODERS, tinyEncoder, tinyExamples } from '../support/tinyModel';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

const setOf = (examples: Example[]): ExampleSet => ({
  length: examples.length, get: i => ({ ...examples[i] }), tokens: examples.reduce((sum, e) => sum + tokensOf(e), 0), longest: 0, cut: 0,
});

/** Two epochs in windows of two batches, the second in another order, with an evaluation after each. */
async function course(step: TrainingStep, examples: Example[]): Promise<number[]> {
  const set = step.prefix?.follow(setOf(examples), [[0, 1, 2], [3, 4], [5]].map(batch => Uint32Array.from(batch))) ?? setOf(examples);
  const results: number[] = [];
  for (const [epoch, batches] of [[[0, 1, 2], [3, 4, 5]], [[5, 2], [4, 0, 1, 3]]].entries()) {
    for (const [micro_step, batch] of batches.entries()) results.push((await step.accumulate(batch.map(i => set.get(i)), 0.5, { seed: 1, step: epoch + 1, micro_step })).loss);
    results.push((await step.update({ learning_rate: 1e-2, step: epoch + 1 })).grad_norm);
    const { loss, logits } = await step.evaluate([1, 3, 5].map(i => set.get(i)));
    results.push(loss, ...logits);
  }
  return results;
}

const UPPER: Record<string, { model: () => LoadedModel; examples: () => Example[]; target_modules: string | string[] }> = {
  bert: { model: () => tinyEncoder({ num_hidden_layers: 3 }), examples: () => tinyExamples([5, 9, 3, 1, 9, 4]), target_modules: ['layer.1.attention.self.query', 'layer.2.output.dense'] },
  electra: { model: () => tinyEncoder(TINY_ENCODERS.electra), examples: () => tinyExamples([5, 9, 3, 1, 9, 4]), target_modules: ['layer.1.attention.self.value'] },
  distilbert: { model: () => tinyEncoder(TINY_ENCODERS.distilbert), examples: () => tinyExamples([5, 9, 3, 1, 9, 4]), target_modules: ['layer.1.attention.v_lin'] },
  gpt2: { model: () => tinyDecoder(TINY_DECODERS.gpt2, 'CAUSAL_LM'), examples: () => tinyTexts([5, 9, 3, 2, 9, 4]), target_modules: ['h.1.attn.c_attn'] },
  'gemma2 with windows': { model: () => tinyDecoder(TINY_DECODERS['gemma2 with windows'], 'CAUSAL_LM'), examples: () => tinyTexts([5, 9, 3, 2, 9, 4]), target_modules: ['layers.1.mlp.up_proj'] },
  llama: { model: () => tinyDecoder(TINY_DECODERS.llama, 'SEQ_CLS', ['a', 'b', 'c']), examples: () => tinyTexts([5, 9, 3, 2, 9, 4]), target_modules: ['layers.1.self_attn.v_proj'] },
  't5 v1.0, all of its encoder': { model: () => tinyDecoder(TINY_T5['t5 v1.0'], 'SEQ_2_SEQ_LM'), examples: () => tinyPairs([[5, 3], [9, 4], [3, 8], [1, 1], [7, 2], [4, 4]]), target_modules: 'decoder.*\\.(q|v)' },
};

for (const [name, { model, examples, target_modules }] of Object.entries(UPPER)) {
  for (const device of ['cpu', 'reference']) {
    test(`the split step gives the losses, gradients and evaluations of the whole one: ${name}, ${device}`, async () => {
      const lora = { r: 3, lora_alpha: 5, lora_dropout: 0.2, target_modules };
      const whole = await noisyStep(model(), { device, lora });
      const kept = await noisyStep(model(), { device, lora, split_prefix: true });
      assert.ok(kept.prefix);
      kept.prefix.keep(new PrefixStore(Infinity, ''));
      const anew = await noisyStep(model(), { device, lora, split_prefix: true });
      const expected = await course(whole, examples());
      assertClose(await course(kept, examples()), expected, 1e-5, 'with states that are kept');
      assertClose(await course(anew, examples()), expected, 1e-5, 'with states that are computed each time');
      for (const step of [whole, kept, anew]) await step.dispose();
    });
  }
}

test('the split program needs no weight of the frozen layers, and its backward pass ends at the lowest adapter', () => {
  const model = tinyEncoder({ num_hidden_layers: 4 });
  const experiment = settings({ target_modules: ['layer.2.attention.self.query', 'layer.3.attention.self.query'] });
  const plan = planAdapter(model, experiment.lora);
  const { program, prefix } = stepProgram({ model, plan, lora: experiment.lora, train: true, split_prefix: true });
  const whole = stepProgram({ model, plan, lora: experiment.lora, train: true }).program;
  const weightsOf = (nodes: { inputs: string[] }[]): string[] => [...new Set(nodes.flatMap(n => n.inputs).filter(i => i.startsWith('weight:')))];
  const layers = (names: string[]): number[] => [...new Set(names.flatMap(name => /layer\.(\d)/.exec(name)?.[1] ?? []))].map(Number).sort();
  const split = traceProgram(program);
  assert.equal(prefix!.layers, 2);
  assert.deepEqual(layers(weightsOf([...split.forward, ...split.backward])), [2, 3]);
  assert.equal(weightsOf(split.forward).some(name => name.includes('embeddings')), false);
  assert.deepEqual(layers(weightsOf(traceProgram(prefix!.program).forward)), [0, 1]);
  // Without the split, too, no gradient is computed in the layers below.
  assert.deepEqual(layers(weightsOf(traceProgram(whole).backward)), [2, 3]);
  assert.equal(traceProgram(whole).backward.length, split.backward.length);
});

test('what is trained or dropped below ends the prefix', () => {
  const prefixOf = (config: object, lora: object): [number | undefined, boolean] => {
    const model = tinyEncoder({ num_hidden_layers: 3, ...config });
    const experiment = settings({ target_modules: ['layer.2.attention.self.query'], ...lora });
    const { prefix, prefix_dropout } = stepProgram({ model, plan: planAdapter(model, experiment.lora), lora: experiment.lora, train: true, split_prefix: true });
    return [prefix?.layers, prefix_dropout];
  };
  assert.deepEqual(prefixOf({}, {}), [2, false]);
  assert.deepEqual(prefixOf({}, { modules_to_save: ['layer.1.output.LayerNorm'] }), [1, false]);
  assert.deepEqual(prefixOf({}, { bias: 'all' }), [undefined, false]);
  assert.deepEqual(prefixOf({}, { modules_to_save: ['word_embeddings'] }), [undefined, false]);
  assert.deepEqual(prefixOf({}, { lora_dropout: 0.3 }), [2, false], 'dropout of the adapters lies above');
  assert.deepEqual(prefixOf({ attention_probs_dropout_prob: 0.1 }, {}), [undefined, true]);
});

const UPPER_RUN = {
  lora: { target_modules: ['layer.1.attention.self.query', 'layer.1.attention.self.value'], lora_dropout: 0.1 },
  training: { shuffle: true, max_steps: -1, num_train_epochs: 3, gradient_accumulation_steps: 3, eval_strategy: 'epoch', save_strategy: 'no' },
};

test('engine.prefix_cache, on and off, in memory and in a file: the same run', () => inTemporaryFolder(async folder => {
  const losses = (place: string): number[] => readMetrics(join(folder, place, 'run')).map(record => Number(isEvalRecord(record) ? record.eval_loss : record.loss));
  const run = async (place: string, engine: object, changes: { training?: object; config?: object } = {}): Promise<string[]> => {
    const said: string[] = [];
    const file = copyCase(join(folder, place), { ...UPPER_RUN, engine, config: changes.config, training: { ...UPPER_RUN.training, ...changes.training } });
    let during: string[] = [];
    await startRun(file, { log: ({ message }) => { if (message.startsWith('engine.prefix_cache')) said.push(message); }, onStep: () => { during = readdirSync(join(folder, place, 'run')); } }).ended;
    assert.equal(during.some(name => name.startsWith('.tmp-prefix-states')), place === 'file', 'a file only while it is needed');
    assert.equal(readdirSync(join(folder, place, 'run')).some(name => name.startsWith('.')), false, 'nothing is left of it');
    return said;
  };
  assert.match((await run('memory', {})).join(), /first layer is frozen and computed once.*MB$/);
  assert.match((await run('file', { prefix_cache_mb: 0 })).join(), /in a file in the run folder/);
  assert.deepEqual(await run('off', { prefix_cache: 'off' }), []);
  assertClose(losses('memory'), losses('off'), 1e-5, 'losses with the states in memory');
  assert.deepEqual(losses('file'), losses('memory'));
  assert.deepEqual(await run('one epoch', {}, { training: { num_train_epochs: 1 } }), [], 'nothing would be used twice');
  assert.match((await run('dropout', {}, { config: { hidden_dropout_prob: 0.1 } })).join(), /off, because the base applies dropout/);
}));

test('a disk that has no room for the states costs time and not the run', () => inTemporaryFolder(async folder => {
  const upper = (part: string, prefix_cache: string): string => copyCase(join(folder, part), {
    ...UPPER_RUN, engine: { prefix_cache, prefix_cache_mb: 0 },
  });
  await startRun(upper('plain', 'off')).ended;
  let file = -1, writes = 0;
  const restore = useFileSystem({
    ...nodeFileSystem,
    open(path, flags) {
      const fd = nodeFileSystem.open(path, flags);
      if (path.includes('prefix-states') && flags === 'wx') file = fd;
      return fd;
    },
    write: (fd, ...rest) => { if (fd === file && ++writes > 3) throw Object.assign(new Error('ENOSPC: injected'), { code: 'ENOSPC' }); return nodeFileSystem.write(fd, ...rest); },
  });
  const warnings: string[] = [];
  try { await startRun(upper('full', 'auto'), { log: ({ level, message }) => { if (level === 'warn') warnings.push(message); } }).ended; } finally { restore(); }
  assert.equal(writes, 4, 'three examples were kept, and no other was tried');
  assert.deepEqual(warnings, ['engine.prefix_cache: the disk is full: the states of the other examples are computed anew each time']);
  const losses = (part: string): number[] => readMetrics(join(folder, part, 'run')).map(record => Number(isEvalRecord(record) ? record.eval_loss : record.loss));
  assertClose(losses('full'), losses('plain'), 1e-5, 'losses');
  assert.equal(readdirSync(join(folder, 'full/run')).some(name => name.includes('prefix')), false);
}));

test('a run with a kept prefix that was stopped and resumed ends bit for bit as one that was not', () => inTemporaryFolder(async folder => {
  await startRun(copyCase(join(folder, 'whole'), UPPER_RUN)).ended;
  const adapter = (place: string): Buffer => readFileSync(join(folder, place, 'run/adapter/adapter_model.safetensors'));
  for (const stop of [1, 6]) {
    const file = copyCase(join(folder, `stop-${stop}`), UPPER_RUN);
    await startRun(file, { onStep: ({ step }, control) => { if (step === stop) control.want('stop'); } }).ended;
    await startRun(file, { resume: true }).ended;
    assert.ok(adapter(`stop-${stop}`).equals(adapter('whole')), `stopped after step ${stop}`);
  }
}));

test('a disk on which no file can be made keeps no states, and the run goes on', () => inTemporaryFolder(async folder => {
  let said = 0;
  const store = new PrefixStore(8, join(folder, 'states'), () => { said++; });
  const { error, reached } = await withFault(1, 'ENOSPC', () => { for (const index of [0, 1, 2]) store.put(0, index, Float32Array.of(1, 2)); });
  assert.deepEqual([error, reached, said, store.full], [undefined, true, 1, true]);
  assert.deepEqual([0, 1, 2].map(index => store.has(0, index)), [true, false, false], 'but what is in memory');
  store.dispose();
  assert.deepEqual(readdirSync(folder), []);
}));
