/** Every saving of the engine by its name: on and off, the same losses, and what the switch changes in what is computed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import type { MessagePort } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import type { ExampleSet } from '../../src/engine/data/examples';
import { touchBy } from '../../src/engine/memoryAhead';
import type { LoadedModel } from '../../src/engine/model/weights';
import { PrefixStore } from '../../src/engine/training/prefixStore';
import { tokensOf, type Example } from '../../src/engine/training/step.types';
import { SAVING_NAMES, SAVINGS, savingsWithout, type SavingName } from '../../src/protocol/savings';
import { noisyStep } from '../support/compareSteps';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, readMetrics, startRun } from '../support/runs';
import { isEvalRecord } from '../../src/protocol/metrics';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';
import { tinyEncoder, tinyExamples } from '../support/tinyModel';
import { TINY_T5, tinyPairs } from '../support/tinyT5';

/** Sizes at which every saving has something to save: texts of more tokens than a portion, activations of several pieces, more classes than a chunk. */
const [POSITIONS, WIDE, CLASSES] = [128, 1536, 9000];
/** The engine is told of a text of so many tokens, from which on attention is computed in blocks, of encoders too. */
const LONG = 1025;
const LENGTHS = [100, 120, 90, 33, 120, 30, 7, 60];

const KINDS = ['feeds', 'model', 'options', 'touched'] as const;
type Effect = typeof KINDS[number];
/** Without target modules the whole model is trained. */
interface Case { model: () => LoadedModel; examples: () => Example[]; target_modules?: string | string[]; without_effect: SavingName[]; learning_rate?: number }

/** What other systems than Linux have nothing of (`memoryAhead.ts`). */
const NOT_HERE: SavingName[] = process.platform === 'linux' ? [] : ['touched_memory'];

/** What there is where little is trained. */
const OF_MANY: SavingName[] = ['optimizer_pieces', 'trained_views'];

/** One model of each kind, with adapters in its upper layers only, and one of more than 2^20 values that are all trained. */
const CASES: Record<string, Case> = {
  'an encoder with classes': {
    model: () => tinyEncoder({ num_hidden_layers: 3, intermediate_size: WIDE, max_position_embeddings: POSITIONS }), examples: () => tinyExamples(LENGTHS),
    target_modules: ['layer.1.attention.self.query', 'layer.1.intermediate.dense', 'layer.2.attention.self.query', 'layer.2.attention.self.value'],
    // Its largest matrix has 96 KiB, and no memory below 128 is touched ahead.
    without_effect: ['labelled_positions', 'chunked_loss', 'touched_memory', ...OF_MANY],
  },
  'a decoder with completions': {
    model: () => tinyDecoder({ ...TINY_DECODERS.gpt2, n_layer: 3, n_inner: WIDE, n_positions: POSITIONS, vocab_size: CLASSES }, 'CAUSAL_LM'), examples: () => tinyTexts(LENGTHS),
    target_modules: ['h.1.attn.c_attn', 'h.1.mlp.c_fc', 'h.2.attn.c_attn'], without_effect: ['folded_masks', ...OF_MANY],
  },
  'an encoder-decoder': {
    model: () => tinyDecoder({ ...TINY_T5['t5 v1.1'], d_ff: WIDE, vocab_size: CLASSES }, 'SEQ_2_SEQ_LM'), examples: () => tinyPairs(LENGTHS.map(length => [length, Math.ceil(length / 3)])),
    target_modules: 'decoder.*\\.(q|v|wi_0)', without_effect: ['last_layer_positions', 'folded_masks', ...OF_MANY],
  },
  'an encoder that is trained whole': {
    model: () => tinyEncoder({ hidden_size: 64, num_hidden_layers: 3, intermediate_size: WIDE, max_position_embeddings: POSITIONS, vocab_size: CLASSES }), examples: () => tinyExamples(LENGTHS),
    // AdamW makes whole steps of gradients that are nothing but rounding, as that of a key's bias: small ones leave these below what is compared.
    learning_rate: 1e-4,
    // Its batches are smaller than its portions, and it has no frozen weights that would be packed.
    without_effect: ['portions', 'labelled_positions', 'chunked_loss', 'prefix_cache', 'touched_memory'],
  },
};

/** What of a training differs where a saving is off. */
const EFFECTS: Record<SavingName, Effect[]> = {
  padding_free: ['feeds'], last_layer_positions: ['model'], labelled_positions: ['feeds', 'model'], portions: ['feeds'], chunked_loss: ['model'], prefix_cache: ['feeds', 'model'],
  activation_pieces: ['model'], attention_blocks: ['feeds', 'model'], folded_masks: ['model'], flushed_denormals: ['options'], split_bias: ['model', 'options'], transposed_gradients: ['model', 'options'], thread_spinning: ['options'], on_demand_memory: ['options'],
  optimizer_pieces: ['feeds', 'model'], trained_views: ['feeds', 'model'], touched_memory: ['touched'],
};

/** Options that follow from the model: its weights, and how far it can be optimised. */
const OF_MODEL = ['externalData', 'graphOptimizationLevel'];

/** ONNX models by their hash, options of sessions, shapes of what each run was fed, and whether another thread was asked to touch memory. */
type Seen = Record<Effect, string[]>;

/** What `train` gives to ONNX Runtime. */
async function watched<T>(train: () => Promise<T>): Promise<{ result: T; seen: Seen }> {
  const seen: Seen = { model: [], options: [], feeds: [], touched: [] };
  touchBy({ postMessage: (message: ArrayBuffer | string) => { if (message instanceof ArrayBuffer) seen.touched.push('memory'); } } as MessagePort);
  const { InferenceSession } = ort;
  const { create } = InferenceSession;
  const watching = async (bytes: Uint8Array, options: ort.InferenceSession.SessionOptions): Promise<ort.InferenceSession> => {
    seen.model.push(createHash('sha256').update(bytes).digest('hex'));
    seen.options.push(JSON.stringify(options, (key, value: unknown) => (OF_MODEL.includes(key) ? undefined : value)));
    const session = await create.call(InferenceSession, bytes, options);
    const run = session.run.bind(session) as typeof session.run;
    session.run = ((feeds: ort.InferenceSession.FeedsType, ...outputs: never[]) => {
      seen.feeds.push(Object.entries(feeds).map(([name, value]) => `${name}[${(value as ort.Tensor).dims.join()}]`).join(' '));
      return run(feeds, ...outputs);
    }) as typeof session.run;
    return session;
  };
  InferenceSession.create = watching as typeof create;
  try { return { result: await train(), seen }; } finally { InferenceSession.create = create; }
}

const setOf = (examples: Example[]): ExampleSet => ({ length: examples.length, get: i => ({ ...examples[i] }), tokens: examples.reduce((sum, e) => sum + tokensOf(e), 0), longest: 0, cut: 0 });

type Course = { result: number[]; seen: Seen };
const courses = new Map<Case, Map<string, Promise<Course>>>();

/** Losses and gradient norms of six steps over two batches in turn, and the loss after them; computed once for a case and what it is without. */
function course(one: Case, without: readonly SavingName[]): Promise<Course> {
  const known = courses.get(one) ?? new Map<string, Promise<Course>>();
  const found = known.get(without.join()) ?? train(one, without);
  courses.set(one, known.set(without.join(), found));
  return found;
}

async function train({ model, examples, target_modules, learning_rate = 1e-3 }: Case, without: readonly SavingName[]): Promise<Course> {
  const savings = savingsWithout(without);
  return watched(async () => {
    const step = await noisyStep(model(), { lora: target_modules ? { r: 3, lora_alpha: 5, target_modules } : { full: true }, savings, split_prefix: savings.prefix_cache, longest: LONG });
    step.prefix?.keep(new PrefixStore(Infinity, ''));
    const batches = [LENGTHS.map((_, i) => i), [2, 5, 1]];
    const set = step.prefix?.follow(setOf(examples()), batches.slice(0, 1).map(batch => Uint32Array.from(batch))) ?? setOf(examples());
    const values: number[] = [];
    for (let number = 1; number <= 6; number++) {
      const batch = batches[number % 2].map(i => set.get(i));
      values.push((await step.accumulate(batch, 1 / step.count(batch), null)).loss, (await step.update({ learning_rate, step: number })).grad_norm);
    }
    values.push((await step.evaluate([0, 3, 6].map(i => set.get(i)))).loss);
    await step.dispose();
    return values;
  });
}

const distinct = (values: readonly string[]): string => [...new Set(values)].join('\n');

const assertEqual = (found: number[], expected: number[], what: string): void => {
  assert.equal(found.length, expected.length);
  expected.forEach((value, i) => assert.ok(Math.abs(found[i] - value) <= 1e-4 * Math.abs(value), `${what}, value ${i}: ${found[i]} and ${value}`));
};

for (const [name, tiny] of Object.entries(CASES)) {
  test(`a saving that is off changes what is computed, and no loss: ${name}`, async () => {
    const on = await course(tiny, []);
    assert.ok(on.result[8] < on.result[0], 'something is learned');
    for (const saving of SAVING_NAMES) {
      const off = await course(tiny, [saving]);
      assertEqual(off.result, on.result, saving);
      const different = KINDS.filter(what => distinct(off.seen[what]) !== distinct(on.seen[what]));
      assert.deepEqual(different, [...tiny.without_effect, ...NOT_HERE].includes(saving) ? [] : EFFECTS[saving], saving);
    }
    const plain = await course(tiny, SAVING_NAMES);
    assertEqual(plain.result, on.result, 'all of them off');
  });
}

test('where nothing within the layers is trained, all of them may be prefix, the last one as a whole', async () => {
  const tiny = { ...CASES['an encoder with classes'], target_modules: ['pooler.dense'] };
  const [on, off] = [await course(tiny, []), await course(tiny, ['last_layer_positions'])];
  for (const { seen } of [on, off]) assert.ok(seen.feeds.some(run => run.includes('prefix_states[')), 'what was kept of the layers is fed');
  assertEqual(off.result, on.result, 'losses');
});

/** The most values that any run was fed of a vector. */
const largest = (seen: Seen, input: string): number => Math.max(...seen.feeds.map(run => Number(new RegExp(`(?:^| )${input}\\[(\\d+)\\]`).exec(run)?.[1] ?? 0)));

test('what each of the switches of a batch leaves out', async () => {
  const decoder = CASES['a decoder with completions'];
  const tokens = LENGTHS.reduce((a, b) => a + b, 0);
  const of = async (...without: SavingName[]): Promise<Seen> => (await course(decoder, ['prefix_cache', ...without])).seen;
  assert.ok(largest(await of(), 'input_ids') <= 512, 'portions');
  assert.equal(largest((await course(CASES['an encoder that is trained whole'], [])).seen, 'input_ids'), tokens, 'larger portions where all is trained');
  assert.equal(largest(await of('portions'), 'input_ids'), tokens, 'whole batches of real tokens');
  assert.equal(largest(await of('portions', 'padding_free'), 'input_ids'), LENGTHS.length * 120, 'padded to the longest');
  assert.equal(largest(await of('portions', 'labelled_positions'), 'head_rows'), tokens, 'the output layer reads all tokens');
  assert.ok(largest(await of('portions'), 'head_rows') < 0.6 * tokens, 'the output layer reads those that have a target');
});

test('options of a session that two of the switches change', async () => {
  const options = async (...without: SavingName[]): Promise<{ enableMemPattern: boolean; extra: { session: { intra_op: { allow_spinning: string } } } }> =>
    JSON.parse((await course(CASES['an encoder with classes'], without)).seen.options[0]);
  const [on, off] = [await options(), await options('thread_spinning', 'on_demand_memory')];
  assert.deepEqual([on.extra.session.intra_op.allow_spinning, on.enableMemPattern], ['1', false]);
  assert.deepEqual([off.extra.session.intra_op.allow_spinning, off.enableMemPattern], ['0', true]);
});

test('engine.without in an experiment: the same run, dropout left aside, and a prefix that is not kept', () => inTemporaryFolder(async folder => {
  const run = async (place: string, without: string[]): Promise<{ losses: number[]; kept: string[] }> => {
    const kept: string[] = [];
    const file = copyCase(join(folder, place), { engine: { without }, lora: { target_modules: ['layer.1.attention.self.query'], lora_dropout: 0 }, training: { max_steps: -1, num_train_epochs: 2, eval_strategy: 'epoch', save_strategy: 'no' } });
    await startRun(file, { log: ({ message }) => { if (message.startsWith('engine.prefix_cache')) kept.push(message); } }).ended;
    return { kept, losses: readMetrics(join(folder, place, 'run')).map(record => Number(isEvalRecord(record) ? record.eval_loss : record.loss)) };
  };
  const [all, none] = [await run('all', []), await run('none', SAVING_NAMES)];
  assertEqual(none.losses, all.losses, 'losses');
  assert.deepEqual([all.kept.length, none.kept.length], [1, 0]);
}));

test('every saving changes something in one of the cases, and says in a sentence what the engine does', () => {
  for (const name of SAVING_NAMES) assert.ok(EFFECTS[name].length && Object.values(CASES).some(({ without_effect }) => !without_effect.includes(name)), name);
  for (const [name, { doc }] of Object.entries(SAVINGS)) assert.match(doc, /^[A-Z].{30,}\.$/, name);
});
