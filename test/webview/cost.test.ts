import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCount } from '../../src/protocol/adapterMath';
import { costOf, ratioByRank } from '../../webview/cost';
import type { SettingChange } from '../../src/protocol/experiment';
import { fittingChanges } from '../../src/protocol/fittingChanges';
import type { ExperimentValues } from '../../src/protocol/panel';
import { neededMemory, settingsOf, type MeasuredMemory, type MemoryView } from '../../src/protocol/memory';
import { estimateMemory, type MemorySettings } from '../../src/protocol/memoryEstimate';
import { describeTargets, targetKinds, tickKind } from '../../webview/targets';
import { bertModel, t5Model, values } from './support/fixtures';

const BERT_BASE = bertModel({ layers: 12, hidden: 768, intermediate: 3072, vocabulary: 30522, positions: 512 });

test('bert-base with rank 8 on query and value costs what PEFT prints', () => {
  const cost = costOf(BERT_BASE, values());
  assert.equal(formatCount(cost.count), 'trainable params: 296,450 || all params: 109,780,228 || trainable%: 0.2700');
  assert.deepEqual(cost.groups.map(group => group.parameters), [294_912, 1_538, 109_483_778]);
  assert.equal(cost.groups[1].label, 'Trained whole: classifier');
});

test('the groups add up to all parameters', () => {
  const { groups, count } = costOf(bertModel(), values({ r: 16, rank_pattern: { query: 4 } }));
  assert.equal(groups.reduce((sum, group) => sum + group.parameters, 0), count.all_parameters);
});

test('a model that is trained whole is neither frozen nor counted twice', () => {
  const { groups, count } = costOf(bertModel(), values({ full: true }));
  assert.deepEqual(groups.map(({ parameters }) => parameters), [0, count.all_parameters, 0]);
  assert.equal(groups[1].label, 'The whole model is trained');
});

test('the curve over rank passes through what each rank costs, ranks of single modules kept', () => {
  const model = bertModel();
  const lora = { rank_pattern: { query: 4 } };
  for (const { rank, trainable, percent } of ratioByRank(model, values(lora), [1, 3, 8, 128])) {
    const cost = costOf(model, values({ ...lora, r: rank }));
    assert.equal(trainable, cost.count.trainable_parameters);
    assert.equal(percent, cost.percent);
  }
});

const settings = (training: Partial<MemorySettings['training']> = {}, device: MemorySettings['engine']['device'] = 'cpu'): MemorySettings =>
  ({ task: 'SEQ_CLS', base_model: 'model', engine: { ...values().engine, device }, lora: values({ lora_dropout: 0 }).lora, training: { per_device_train_batch_size: 16, max_length: 128, gradient_checkpointing: false, ...training } });

test('memory holds the engine, weights packed for both directions, optimizer state and the activations of one portion', () => {
  const estimate = estimateMemory(BERT_BASE, settings());
  assert.equal(estimate.training, 58 * 296_450);
  assert.equal(estimate.total, estimate.process + estimate.weights + estimate.training + estimate.activations + estimate.beside);
  const of = (training: Partial<MemorySettings['training']>, device?: MemorySettings['engine']['device']) => estimateMemory(BERT_BASE, settings(training, device));
  assert.equal(of({ per_device_train_batch_size: 4 }).activations, estimate.activations, 'batches are computed in portions of 512 tokens');
  assert.ok(of({ per_device_train_batch_size: 2 }).activations < 0.6 * estimate.activations);
  assert.ok(of({ max_length: 512 }).activations > 1.3 * estimate.activations, 'attention scores grow with the square of the length');
  assert.ok(of({ max_length: 512, gradient_checkpointing: true }).activations < 0.3 * of({ max_length: 512 }).activations);
  assert.equal(of({}, 'webgpu').weights, 4 * 109_483_778, 'a GPU holds weights once');
});

test('DoRA takes the adapted weights once more, for the lengths of their rows, and what each adapted layer gives before it is brought to its length', () => {
  const [plain, dora] = [false, true].map(use_dora => estimateMemory(BERT_BASE, { ...settings(), lora: { ...settings().lora, use_dora } }));
  const [layers, width, tokens] = [12, 768, 512];
  assert.equal(dora.weights - plain.weights, 4 * layers * 2 * width * width);
  // Of the last layer nothing but queries, keys and values of all tokens is kept.
  assert.equal(dora.activations - plain.activations, 4 * (layers - 1) * 2 * width * tokens);
  assert.equal(dora.training - plain.training, 58 * layers * 2 * width, 'magnitudes');
});

/** What JavaScript has not cleared away in a long run: what of 32 MB is not counted with what is trained. */
const left = (lora: MemorySettings['lora'] = settings().lora): number => estimateMemory(BERT_BASE, { ...settings(), lora }).beside;

const record = (part: Partial<MeasuredMemory> = {}, result: object = {}): MeasuredMemory =>
  ({ settings: settingsOf(settings()), of: 'step', ...part, result: { peak_memory_bytes: 2e9, device: 'cpu (onnxruntime)', longest: 128, gpu_memory_bytes: null, device_memory_bytes: null, ...result } });

test('what was measured of a GPU corrects its estimate as the process does that of the CPU; where nothing was told, the estimate is all that is known', () => {
  const on = (device: 'webgpu' | 'auto', training: object = {}): MemorySettings => settings(training, device);
  const told = (result: object, part: Partial<MeasuredMemory> = {}): MeasuredMemory => record({ settings: settingsOf(on('webgpu')), ...part }, { device: 'webgpu on NVIDIA L4 (onnxruntime)', ...result });
  const estimate = (values: MemorySettings, longest: number): number => estimateMemory(BERT_BASE, values, longest).total;
  const need = (values: MemorySettings, ...measured: MeasuredMemory[]) => neededMemory(BERT_BASE, values, { measured });
  const same = need(on('webgpu'), told({ gpu_memory_bytes: 1.1e9, longest: 60 }));
  assert.deepEqual([same.total, same.measured], [1.1e9, 'this'], 'and not the 2 GB that the process had');
  const other = need(on('webgpu', { max_length: 512 }), told({ gpu_memory_bytes: 1.1e9 }));
  assert.equal(other.measured, 'other');
  assert.ok(Math.abs(other.total - (1.1e9 + estimate(on('webgpu', { max_length: 512 }), Infinity) - estimate(on('webgpu'), 128))) < 1, String(other.total));
  assert.equal(need(on('webgpu'), told({ gpu_memory_bytes: null })).measured, false);
  assert.equal(need(on('webgpu'), record({ settings: settingsOf(on('webgpu')) })).measured, false, 'it ran on the CPU then');
  // What automatic was the last time.
  const auto = need(on('auto'), told({ gpu_memory_bytes: 1.3e9 }, { settings: settingsOf(on('auto')), of: 'run' }));
  assert.deepEqual([auto.total, auto.measured], [1.3e9, 'this']);
});

test('no gradient passes through layers below all that is trained: they keep nothing, and are packed for one direction', () => {
  const whole = estimateMemory(BERT_BASE, settings());
  const upper = estimateMemory(BERT_BASE, { ...settings(), lora: { ...settings().lora, layers_to_transform: [8, 9, 10, 11] } });
  const linear = 4 * 768 ** 2 + 2 * 768 * 3072;
  assert.equal(whole.weights - upper.weights, 4 * 8 * linear);
  assert.ok(upper.activations < 0.4 * whole.activations, `${upper.activations} of ${whole.activations}`);
  const head = estimateMemory(BERT_BASE, { ...settings(), lora: { ...settings().lora, target_modules: ['pooler.dense'] } });
  assert.ok(head.activations < 0.2 * whole.activations, 'above all layers');
});

test('longer texts never need less: a portion of shorter ones is as full', () => {
  const model = { ...BERT_BASE, dropout: { hidden: 25 * 768, attention: 12 } };
  for (const batch of [1, 3, 16]) {
    const of = (max_length: number) => estimateMemory(model, settings({ max_length, per_device_train_batch_size: batch })).total;
    const pairs = (length: number) => t5({ max_length: length, per_device_train_batch_size: batch }, { longest: Infinity }).total;
    for (let length = 8; length < 1100; length++) for (const need of [of, pairs]) assert.ok(need(length + 1) >= need(length), `batch ${batch}: ${need(length)} with ${length} tokens, ${need(length + 1)} with one more`);
  }
});

test('packed rows fill a portion, whatever the longest text is, and take their own measurement', () => {
  const packed = (part: Partial<MemorySettings['training']>): MemorySettings => ({ ...settings({ per_device_train_batch_size: 2, max_length: 512, packing: true, ...part }), task: 'CAUSAL_LM' });
  const need = (values: MemorySettings, longest: number): number => estimateMemory(BERT_BASE, values, longest).activations;
  assert.ok(need(packed({ packing: false }), 60) < 0.3 * need(packed({}), 60), 'two texts of 60 tokens are not two rows of 512');
  assert.equal(need(packed({}), 60), need(packed({ packing: false, per_device_train_batch_size: 100 }), 60), 'a full portion');
  assert.equal(need(packed({ max_length: 120 }), 60), need(packed({ packing: false, per_device_train_batch_size: 4 }), 60), 'two rows of 120 tokens are no more than that');
  const alone = { measured: [record({ settings: settingsOf(packed({ packing: false })) }, { longest: 60 })] };
  assert.deepEqual([neededMemory(BERT_BASE, packed({ packing: false }), alone).measured, neededMemory(BERT_BASE, packed({}), alone).measured], ['this', 'other']);
  assert.ok(neededMemory(BERT_BASE, packed({}), alone).total > 2e9 + 1e8);
});

test('heads are those of the checkpoint, where it tells', () => {
  const small = { ...bertModel({ layers: 12, hidden: 384, intermediate: 1536, vocabulary: 30522, positions: 512 }), dropout: { hidden: 0, attention: 11 } };
  const of = (heads?: number) => estimateMemory({ ...small, heads }, settings(), 512).activations;
  assert.equal(of(), of(6), 'of 64 without it');
  // Probabilities, masks and what these leave of them, in all layers but the last one.
  assert.ok(of(12) - of(6) >= 4 * 11 * 3 * 6 * 128 * 512, `${of(12) - of(6)}`);
});

test('dropout keeps its masks', () => {
  const base = { ...BERT_BASE, dropout: { hidden: 25 * 768, attention: 12 } };
  const of = (model: typeof BERT_BASE, lora_dropout: number): number => estimateMemory(model, { ...settings({ max_length: 66 }), lora: { ...settings().lora, lora_dropout } }).total;
  near(of(base, 0.1), 1.51e9);
  assert.equal(of(BERT_BASE, 0.1) - of(BERT_BASE, 0), 4 * 512 * 11 * 2 * 2 * 768, 'mask and input of both adapters of a layer, but for the last one, of which only first tokens are computed');
});

test('what a run goes without counts, where it saves memory; what was measured before the setting was there still holds', () => {
  const given = settings();
  const of = (without: MemorySettings['engine']['without'], task: MemorySettings['task'] = 'SEQ_CLS') => estimateMemory(BERT_BASE, { ...given, task, engine: { ...given.engine, without } });
  const all = of([]);
  for (const name of ['portions', 'last_layer_positions', 'on_demand_memory'] as const) assert.ok(of([name]).activations > all.activations, name);
  assert.ok(of(['portions']).activations > 3.5 * all.activations, 'four portions at once');
  assert.ok(of(['chunked_loss'], 'CAUSAL_LM').activations > of([], 'CAUSAL_LM').activations + 4 * 512 * 3 * 20_000, 'logits of the whole vocabulary');
  assert.equal(of(['thread_spinning', 'split_bias']).total, all.total);
  const kept = { ...given, lora: { ...given.lora, layers_to_transform: [8, 9] }, training: { ...given.training, num_train_epochs: 3 } };
  assert.deepEqual([estimateMemory(BERT_BASE, { ...kept, engine: { ...given.engine, without: ['prefix_cache'] } }).beside, estimateMemory(BERT_BASE, kept).beside], [left(kept.lora), left(kept.lora) + 1024e6]);
  assert.equal(JSON.stringify(settingsOf({ ...given, engine: { ...given.engine, without: [] } })), JSON.stringify(settingsOf(given)));
  assert.notEqual(JSON.stringify(settingsOf({ ...given, engine: { ...given.engine, without: ['portions'] } })), JSON.stringify(settingsOf(given)));
});

/** What a whole run needed at its peak: the table of test/bench/README.md, of which the bench measures the rows. */
const near = (total: number, measured: number): void => assert.ok(Math.abs(total / measured - 1) < 0.1, `${total}, measured ${measured}`);

test('weights in few bits are held as two rounded copies, and the estimate is near what runs needed', () => {
  const of = (precision: MemorySettings['engine']['precision'], device: MemorySettings['engine']['device'] = 'cpu') => estimateMemory(BERT_BASE, { ...settings(), engine: { ...settings({}, device).engine, precision } });
  near(of('fp32').total, 1.30e9);
  near(of('int8').total, 0.875e9);
  near(of('int4').total, 0.73e9);
  const linear = 12 * (4 * 768 ** 2 + 2 * 768 * 3072) + 768 ** 2;
  for (const device of ['webgpu', 'auto'] as const) assert.equal(of('fp16', device).weights, 2 * 109_483_778, 'half precision is held once, on a GPU');
  assert.equal(of('int4', 'webgpu').weights, 1.125 * linear + 4 * (109_483_778 - linear));
});

test('adapters keep what their A makes, and those of the second feed-forward layer what they read', () => {
  const of = (lora: Partial<MemorySettings['lora']>) => estimateMemory(BERT_BASE, { ...settings(), lora: { ...settings().lora, ...lora } }, 128);
  const most = of({ target_modules: 'all-linear' }).activations - of({}).activations;
  assert.equal(most, 4 * 512 * 11 * (3072 + 4 * 8), 'in all layers but the last one, of which only first tokens are computed');
  near(of({ target_modules: 'all-linear', r: 64 }).total, 2.34e9);
});

test('of an encoder with long texts probabilities count only where they are kept', () => {
  const model = bertModel({ layers: 4, hidden: 512, intermediate: 2048, vocabulary: 30522, positions: 2048 });
  const given = settings({ max_length: 2048, per_device_train_batch_size: 1 });
  near(estimateMemory(model, given, 2048).total, 0.71e9);
  near(estimateMemory(model, { ...given, engine: { ...given.engine, without: ['attention_blocks'] } }, 2048).total, 1.365e9);
});

test('dropout of probabilities that are computed again keeps neither its masks nor what they leave', () => {
  const model = bertModel({ layers: 12, hidden: 768, intermediate: 3072, vocabulary: 30522, positions: 1024 });
  const dropped = { ...model, dropout: { hidden: 23 * 768, attention: 11 } };
  const given = settings({ max_length: 1024, per_device_train_batch_size: 2 });
  const lora = { ...given.lora, lora_dropout: 0.1 };
  near(estimateMemory(model, given, 1024).total, 1.53e9);
  near(estimateMemory(dropped, { ...given, lora }, 1024).total, 1.78e9);
  const more = (without: MemorySettings['engine']['without']): number => {
    const of = (base: typeof model): number => estimateMemory(base, { ...given, engine: { ...given.engine, without: [...without!, 'on_demand_memory'] } }, 1024).activations;
    return of(dropped) - of({ ...dropped, dropout: { ...dropped.dropout, attention: 0 } });
  };
  assert.equal(more([]), 0);
  assert.ok(more(['attention_blocks']) >= 2 * 11 * 4 * 12 * 1024 ** 2, 'mask and what it leaves, in all layers but the last one');
});

/** Of a T5-small as its first release has it. */
const t5 = (training: Partial<MemorySettings['training']>, { longest = 1024, dropout = 0, ...part }: { longest?: number; dropout?: number } & Partial<MemorySettings> = {}) => {
  const model = { ...t5Model(), dropout: dropout ? { hidden: 81 * 512, attention: 18 } : { hidden: 0, attention: 0 } };
  const given = settings({ per_device_train_batch_size: 2, max_length: longest, ...training });
  return estimateMemory(model, { ...given, task: 'SEQ_2_SEQ_LM', lora: { ...given.lora, target_modules: ['q', 'v'], lora_dropout: dropout }, ...part }, longest);
};

test('an encoder-decoder has tokens of sources and of targets, and two attentions in each layer of its decoder', () => {
  for (const [longest, dropout, peak] of [[512, 0, 1.26e9], [512, 0.1, 1.70e9], [1024, 0, 1.56e9], [1024, 0.1, 1.98e9]]) near(t5({}, { longest, dropout }).total, peak);
  assert.equal(t5({ per_device_train_batch_size: 16 }, { longest: 128 }).activations, t5({}, { longest: 128 }).activations, 'a portion of 512 tokens has two sources and two targets of 128');
  const kept = t5({ max_length: 256, max_target_length: 128 }, { longest: 256 }).activations - t5({ max_length: 256, max_target_length: 127 }, { longest: 256 }).activations;
  assert.ok(kept > 0 && kept < t5({ max_length: 256 }, { longest: 256 }).activations / 100, 'a token of the targets less');
});

test('of T5 probabilities of the decoder count up to targets of 511 tokens, of the source up to 1,023, and all where embeddings are trained', () => {
  const [heads, layers] = [8, 6];
  const of = (source: number, target: number, part: Partial<MemorySettings> = {}): number => t5({ max_length: source, max_target_length: target, per_device_train_batch_size: 1 }, { longest: Math.max(source, target), ...part }).activations;
  const step = (at: number, without: MemorySettings['engine']['without'] = []): number => of(600, at - 1, { engine: { ...settings().engine, without } }) - of(600, at, { engine: { ...settings().engine, without } });
  assert.ok(step(512) > 0.5 * layers * 4 * heads * 512 ** 2, 'those of the own attention go');
  assert.ok(step(512, ['attention_blocks']) < 0);
  assert.ok(of(1023, 100) - of(1024, 100) > 0.5 * layers * 4 * heads * 1024 ** 2);
  const embeddings = { lora: { ...settings().lora, target_modules: ['q', 'decoder.embed_tokens'] } };
  assert.ok(of(600, 512, embeddings) > of(600, 511, embeddings));
});

test('a model that is trained whole needs about sixty bytes a parameter on the CPU, more on a GPU', () => {
  const of = (shape: Parameters<typeof bertModel>[0], device: MemorySettings['engine']['device'] = 'cpu'): number => {
    const model = bertModel({ vocabulary: 30522, positions: 512, ...shape });
    return estimateMemory(model, { ...settings({}, device), lora: values({ full: true }).lora }).total;
  };
  near(of({ layers: 4, hidden: 256, intermediate: 1024 }), 1.010e9);
  near(of({ layers: 4, hidden: 512, intermediate: 2048 }), 2.050e9);
  const base = { layers: 12, hidden: 768, intermediate: 3072 };
  near(of(base), 7.450e9);
  assert.ok(of(base, 'webgpu') > 1.4 * of(base), 'a GPU has whole vectors');
});

test('where much is trained the portions are larger, and a batch of as many tokens as the small ones takes their memory', () => {
  const of = (lora: Partial<MemorySettings['lora']>, per_device_train_batch_size: number, model = bertModel({ layers: 4, hidden: 512, intermediate: 2048, vocabulary: 30522, positions: 512 })): number =>
    estimateMemory(model, { ...settings({ per_device_train_batch_size }), lora: { ...settings().lora, ...lora } }, 128).activations;
  for (const [lora, examples] of [[{ r: 8 }, 4], [{ r: 256 }, 8], [{ full: true }, 16]] as const) {
    assert.equal(of(lora, 32), of(lora, examples), JSON.stringify(lora));
    assert.ok(of(lora, examples) > 1.2 * of(lora, examples / 2), JSON.stringify(lora));
  }
});

test('an output layer over a vocabulary that is trained has logits of all its classes at once', () => {
  const of = (full: boolean, without: MemorySettings['engine']['without']): number => estimateMemory({ ...BERT_BASE, default_target_modules: ['query'] }, { ...settings(), task: 'CAUSAL_LM', lora: { ...settings().lora, full }, engine: { ...settings().engine, without } }, 128).activations;
  assert.ok(of(false, ['chunked_loss']) > of(false, []));
  assert.equal(of(true, ['chunked_loss']), of(true, []));
});

test('the logits of an adapter on the output layer are there beside those of the layer', () => {
  const head = { name: 'lm_head', type: 'Linear' as const, shape: [30522, 768], parameters: 30522 * 768, dtype: 'F32' as const, adaptable: true, saved: false, output: true };
  const model = { ...BERT_BASE, modules: [...BERT_BASE.modules, head], base_parameters: BERT_BASE.base_parameters + head.parameters };
  const of = (target_modules: string[], without: MemorySettings['engine']['without']): number =>
    estimateMemory(model, { ...settings({ per_device_train_batch_size: 2 }), task: 'CAUSAL_LM', lora: { ...settings().lora, target_modules }, engine: { ...settings().engine, without } }, 128).activations;
  assert.equal(of(['query', 'lm_head'], []) - of(['query'], ['chunked_loss']), 4 * 256 * 30522);
});

test('a kept prefix counts up to its limit in memory, and texts that are written with the base a second time; a measured step has neither', () => {
  const given = settings({ num_train_epochs: 3 });
  const of = (part: Partial<MemorySettings>, data_bytes?: number) => estimateMemory({ ...BERT_BASE, data_bytes }, { ...given, ...part });
  const upper = { ...given.lora, layers_to_transform: [8, 9] };
  assert.equal(of({ lora: upper }).beside - left(upper), 1024e6);
  assert.equal(of({ lora: upper }, 40_000).beside - left(upper), 4 * 768 * 10_000, 'the states of as many tokens as the data can have');
  const named = { ...given.lora, target_modules: ['layer.11.attention.self.query'] };
  assert.equal(of({ lora: named }).beside - left(named), 1024e6, 'whatever it is that leaves the lower layers out');
  const nothing: Partial<MemorySettings>[] = [
    { lora: { ...upper, layers_to_transform: [0, 9] } }, { lora: { ...upper, bias: 'all' } }, { lora: { ...upper, trainable_token_indices: [3] } }, { lora: { ...upper, modules_to_save: ['embeddings'] } },
    { lora: upper, training: { ...given.training, num_train_epochs: 1 } }, { lora: upper, engine: { ...given.engine, prefix_cache: 'off' } },
  ];
  for (const part of nothing) assert.equal(of(part).beside, left(part.lora), JSON.stringify(part));
  const writing = { ...given, task: 'CAUSAL_LM' as const, training: { ...given.training, predict_with_generate: true } };
  assert.ok(of(writing).beside >= 4 * 109_483_778, 'the whole base');
  const few = (max_steps: number, rows?: number, gradient_accumulation_steps = 1): number => estimateMemory({ ...BERT_BASE, rows }, { ...given, lora: upper, training: { ...given.training, max_steps, gradient_accumulation_steps } }).beside - left(upper);
  assert.deepEqual([few(10), few(10, 160), few(11, 160), few(10, 161), few(2, 32, 2)], [1024e6, 0, 1024e6, 0, 1024e6], 'only steps after the first epoch gain by it, where it is known how many it has');
  const cut = { ...given, lora: upper, training: { ...given.training, max_steps: 10 } };
  const told = (rows?: number, values: MemorySettings = cut): number => Math.round(neededMemory(BERT_BASE, values, { measured: [record({ settings: settingsOf(cut) }, { rows })] }).total - left(upper));
  assert.deepEqual([told(), told(160)], [2e9 + 1024e6, 2e9], 'a measured step tells it');
  const longer = { ...cut, training: { ...cut.training, max_steps: 20 } };
  const more = estimateMemory({ ...BERT_BASE, rows: 160 }, longer).total - estimateMemory({ ...BERT_BASE, rows: 160 }, cut).total;
  assert.ok(more > 0.9e9 && Math.abs(told(160, longer) - 2e9 - more) < 1, 'of a longer run of these settings too');
  const total = (of: MeasuredMemory['of']): number => neededMemory(BERT_BASE, { ...given, lora: upper }, { measured: [record({ settings: settingsOf({ ...given, lora: upper }), of })] }).total;
  assert.equal(Math.round(total('step')), 2e9 + 1024e6 + left(upper));
  assert.equal(Math.round(total('run')), 2e9, 'a whole run had all of it');
});

test('a long run of a small model counts what JavaScript has not cleared away: the sample took 237 to 255 MB', () => {
  const small = bertModel({ layers: 4, hidden: 128, intermediate: 512, vocabulary: 1000, positions: 64 });
  assert.ok(estimateMemory(small, settings()).beside > 30e6);
  assert.equal(estimateMemory(small, settings({}, 'webgpu')).beside, 0, 'which is in the memory of the processor');
  assert.equal(left({ ...settings().lora, r: 64 }), 0, 'the vectors of large adapters are counted with them');
});

test('a sweep has the highest rank of its members and the values of all; what one needed is its own', () => {
  const sweep = { members: 8, r: 16 };
  const [swept, alone] = [{ ...settings(), sweep }, { ...settings(), lora: { ...settings().lora, r: 16 } }];
  assert.equal(estimateMemory(BERT_BASE, swept).total - estimateMemory(BERT_BASE, alone).total, 7 * 8 * 4 * (2 * 294_912 + 1_538));
  const memory = { measured: [record({ settings: settingsOf(swept), of: 'run' })] };
  assert.deepEqual([neededMemory(BERT_BASE, swept, memory).measured, neededMemory(BERT_BASE, swept, memory).total], ['this', 2e9]);
  assert.equal(neededMemory(BERT_BASE, settings(), memory).measured, 'other', 'a single run needs less');
  assert.ok(neededMemory(BERT_BASE, settings(), memory).total < 2e9);
});

test('memory of a model without linear layers is a number', () => {
  const { weights, activations } = estimateMemory({ modules: [], base_parameters: 10, default_target_modules: [] }, settings());
  assert.deepEqual([weights, activations], [40, 0]);
});

test('a measured step replaces the estimate of its own settings and corrects that of others', () => {
  const view = (result: object): Pick<MemoryView, 'measured'> => ({ measured: [record({}, result)] });
  const step = 2e9 + left();
  const need = (part: Partial<MemorySettings['training']>, memory?: Pick<MemoryView, 'measured'>) => neededMemory(BERT_BASE, settings(part), memory);
  assert.deepEqual([need({}, view({})).total, need({}, view({})).measured], [step, 'this']);
  const other = need({ max_length: 512 }, view({}));
  assert.equal(other.measured, 'other');
  assert.ok(Math.abs(other.total - step - (need({ max_length: 512 }).total - need({}).total)) < 1);
  // The longest text of the data has 60 tokens: a longer max_length changes nothing.
  assert.equal(need({ max_length: 512 }, view({ longest: 60 })).total, step);
  assert.equal(need({}, view({ device: 'webgpu on NVIDIA L4 (onnxruntime)' })).measured, false, 'what a process on the CPU needs says nothing of a GPU');
  const both = { measured: [record({ settings: settingsOf(settings({ max_length: 64 })) }, { peak_memory_bytes: 1e9 }), ...view({}).measured] };
  assert.deepEqual([need({}, both).total, need({ max_length: 64 }, both).total], [step, 1e9 + left()], 'each of its own settings, whichever was the last');
  const rated = { ...settings(), lora: { ...settings().lora, lora_alpha: 99 } };
  assert.equal(neededMemory(BERT_BASE, rated, view({})).measured, 'this', 'alpha takes no memory');
});

test('a peak from when the base was in memory in fp32 too says nothing of a run with rounded weights', () => {
  const rounded = { ...settings(), engine: { ...settings().engine, precision: 'int4' as const } };
  const need = (result: object) => neededMemory(BERT_BASE, rounded, { measured: [record({ settings: settingsOf(rounded), of: 'run' }, result)] });
  assert.deepEqual([need({}).measured, need({}).total], ['this', 2e9]);
  assert.deepEqual([need({ peak_with_fp32: true }).measured, need({ peak_with_fp32: true }).total], [false, estimateMemory(BERT_BASE, rounded).total]);
});

test('where the device is to be chosen, what ran the last time says whose memory is meant', () => {
  const auto = settings({}, 'auto');
  const ran = (device: string) => neededMemory(BERT_BASE, auto, { measured: [record({ settings: settingsOf(auto) }, { device })] });
  assert.equal(ran('webgpu on NVIDIA L4 (onnxruntime)').estimate.total, estimateMemory(BERT_BASE, settings({}, 'webgpu')).total);
  assert.equal(ran('cpu (onnxruntime); auto: no GPU was found').total, 2e9 + left());
});

test('a run that does not fit is offered the smallest change of each kind that makes it fit', () => {
  const given = settings({ max_length: 512 });
  const start = { ...given, training: { ...given.training, gradient_accumulation_steps: 2, per_device_train_batch_size: 8, max_length: 64 } };
  const need = (other: MemorySettings): number => estimateMemory(BERT_BASE, other).total;
  const fits = need({ ...start, training: { ...start.training, per_device_train_batch_size: 4 } });
  const changes = fittingChanges(start, fits, need);
  assert.deepEqual(changes.map(change => change.label), ['Batch 4, accumulation 4', 'Recompute activations', 'max_length 32', 'Base weights in int4']);
  assert.deepEqual(changes[0].edits, [{ path: ['training', 'per_device_train_batch_size'], value: 4 }, { path: ['training', 'gradient_accumulation_steps'], value: 4 }]);
  for (const change of changes) assert.ok(change.total <= fits);
  assert.deepEqual(changes[3].edits, [{ path: ['engine', 'precision'], value: 'int4' }]);
  const rounding = (part: object): boolean => fittingChanges({ ...start, ...part }, fits, need).some(({ label }) => label === 'Base weights in int4');
  for (const refused of [{ engine: { ...start.engine, device: 'cuda' } }, { engine: { ...start.engine, device: 'tensorflow' } }, { lora: { ...start.lora, use_dora: true } }, { lora: { ...start.lora, full: true } }, { engine: { ...start.engine, precision: 'int4' } }]) assert.equal(rounding(refused), false, JSON.stringify(refused));
  assert.equal(rounding({ engine: { ...start.engine, precision: 'int8', device: 'cpu' } }), true);
  assert.deepEqual(fittingChanges(start, 1e8, need), [], 'nothing makes the weights fit');
});

test('on an automatic device that was CUDA the last time, nothing is offered that CUDA refuses', () => {
  const auto = values();
  const labels = (device: string): string[] => {
    const measured = [record({ settings: settingsOf(auto) }, { device, gpu_memory_bytes: 6e8, device_memory_bytes: 5e8 })];
    return costOf(BERT_BASE, auto, { available_bytes: 9e9, measuring: false, silent: null, held: null, measured }).memory.changes.map(({ label }) => label);
  };
  assert.ok(labels('webgpu on NVIDIA L4 (onnxruntime); auto: a probe step ran on it').includes('Base weights in int4'));
  const cuda = labels('cuda on NVIDIA L4 (onnxruntime); auto: a probe step ran on it');
  assert.ok(cuda.includes('Recompute activations') && !cuda.includes('Base weights in int4'), cuda.join());
});

test('a GPU that is known to compute half precision is offered it before int4, with what it needs then, and no other device is', () => {
  const offered = (given: ExperimentValues, half_precision: boolean | undefined, device = 'webgpu on NVIDIA L4 (onnxruntime)', device_memory_bytes = 5e8) => {
    const measured = [record({ settings: settingsOf(given) }, { device, gpu_memory_bytes: 7e8, device_memory_bytes, half_precision })];
    return costOf(BERT_BASE, given, { available_bytes: costOf(BERT_BASE, given).memory.total - 1, measuring: false, silent: null, held: null, measured }).memory.changes.filter(({ label }) => label.startsWith('Base weights'));
  };
  const labels = (...args: Parameters<typeof offered>): string[] => offered(...args).map(({ label }) => label);
  const on = (device: ExperimentValues['engine']['device']): ExperimentValues => ({ ...values(), engine: { ...values().engine, device } });
  const webgpu = on('webgpu');
  const [half, rounded] = offered(webgpu, true);
  assert.deepEqual([half.label, half.edits, rounded.label], ['Base weights in fp16', [{ path: ['engine', 'precision'], value: 'fp16' }], 'Base weights in int4']);
  assert.equal(half.total, 7e8 - 2 * BERT_BASE.base_parameters, 'half of four bytes for each weight');
  const dora = offered({ ...webgpu, lora: { ...webgpu.lora, use_dora: true } }, true, undefined, 6e8);
  assert.deepEqual(dora.map(({ label }) => label), ['Base weights in fp16'], 'with DoRA too, which int4 refuses');
  assert.equal(dora[0].total - half.total, 4 * 12 * 2 * 768 ** 2, 'and which needs the adapted weights in fp32 beside them');
  assert.deepEqual(labels(on('auto'), true), ['Base weights in fp16', 'Base weights in int4'], 'automatic was WebGPU the last time');
  for (const unknown of [false, undefined]) assert.deepEqual(labels(webgpu, unknown), ['Base weights in int4'], 'an adapter without shader-f16, or one of which an earlier version kept nothing');
  assert.deepEqual(labels(on('cuda'), true, 'cuda on NVIDIA L4 (onnxruntime)'), []);
  assert.deepEqual(labels(on('cpu'), true), ['Base weights in int4']);
});

test('one row for each kind of linear layer, without the head, which is trained whole', () => {
  const kinds = targetKinds(bertModel(), values().lora);
  assert.deepEqual(kinds.map(({ kind, ticked, modules }) => [kind, ticked, modules.length]), [
    ['attention.self.query', 4, 4], ['attention.self.key', 0, 4], ['attention.self.value', 4, 4], ['attention.output.dense', 0, 4],
    ['intermediate.dense', 0, 4], ['output.dense', 0, 4], ['bert.pooler.dense', 0, 1],
  ]);
  assert.equal(kinds[0].parameters, 4 * 8 * 256);
});

test('a row of which single layers are ticked says how many', () => {
  const kinds = targetKinds(bertModel(), values({ target_modules: ['layer.0.attention.self.query', 'layer.3.attention.self.query'] }).lora);
  assert.equal(kinds[0].ticked, 2);
});

const targets = (...value: string[]): SettingChange[] => [{ path: ['lora', 'target_modules'], value }];

test('ticking a kind writes the shortest names that match exactly the ticked modules', () => {
  const model = bertModel();
  assert.deepEqual(tickKind(model, values().lora, 'attention.self.key', true), targets('query', 'key', 'value'));
  assert.deepEqual(tickKind(model, values().lora, 'attention.self.value', false), targets('query'));
  assert.deepEqual(tickKind(model, values({ target_modules: ['query', 'layer.0.attention.self.value'] }).lora, 'attention.self.value', true), targets('query', 'value'));
});

test('ticking an excluded kind lifts the exclusion', () => {
  assert.deepEqual(tickKind(bertModel(), values({ exclude_modules: ['key'] }).lora, 'attention.self.key', true), [...targets('query', 'key', 'value'), { path: ['lora', 'exclude_modules'] }]);
});

test('targets read as written, with how much they match', () => {
  const model = bertModel();
  assert.equal(describeTargets(model, values().lora), 'query, value · 8 of 25 linear layers');
  assert.equal(describeTargets(model, values({ target_modules: null }).lora), 'query, value (default) · 8 of 25 linear layers');
  assert.equal(describeTargets(null, values({ target_modules: 'all-linear' }).lora), 'all-linear');
});
