import assert from 'node:assert/strict';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { fillTrainables, readAdapter, settingsFromAdapter, withAdapterWeights, writeAdapter, type AdapterConfig } from '../../src/engine/model/adapter';
import { bert } from '../../src/engine/model/bert';
import { loadModel } from '../../src/engine/model/loadModel';
import { planAdapter } from '../../src/engine/model/lora';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { random } from '../../src/engine/random';
import type { LoraSettings } from '../../src/protocol/experiment';
import { writeCheckpoint, type CheckpointOptions } from '../support/checkpoints';
import { inTemporaryFolder, snapshot, withFault } from '../support/faults';
import { settings } from '../support/tinyModel';

const LABELS = ['a', 'b', 'c'];
const load = (folder: string, seed = 1) => loadModel(folder, { task: 'SEQ_CLS', labels: LABELS, seed, families: [bert] });
const isProblem = (code: string, says = /./) => (error: unknown): boolean => error instanceof LabError && error.report.code === code && says.test(`${error.report.where} ${error.report.cause}`);

/** A tiny base, a plan for it and random trained values; `write` saves them as an adapter. */
async function withAdapter(lora: Partial<LoraSettings>, use: (at: Awaited<ReturnType<typeof prepare>>) => void | Promise<void>, options: CheckpointOptions = {}): Promise<void> {
  await inTemporaryFolder(async folder => use(await prepare(folder, lora, options)));
}
async function prepare(folder: string, given: Partial<LoraSettings>, options: CheckpointOptions) {
  const base = join(folder, 'model');
  await writeCheckpoint(base, { labels: LABELS, ...options });
  const model = load(base);
  const { lora } = settings({ r: 4, lora_alpha: 8, ...given });
  const plan = planAdapter(model, lora);
  const generator = random(5, 'values');
  const trainables = Float32Array.from({ length: plan.trainable_parameters }, () => generator.normal());
  const adapter = join(folder, 'adapter');
  const content = { model, plan, lora, trainables, labels: LABELS };
  return { folder, base, model, lora, plan, trainables, adapter, content, write: () => writeAdapter(adapter, content) };
}

test('an adapter folder is what PEFT writes', async () => {
  await withAdapter({ lora_dropout: 0.1, rank_pattern: { 'layer.1.attention.self.value': 2 } }, async ({ adapter, write, base }) => {
    await write();
    const config = JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8')) as AdapterConfig;
    // keys as written by PEFT 0.21
    assert.equal(Object.keys(config).join(' '), 'alora_invocation_tokens alpha_pattern arrow_config auto_mapping base_model_name_or_path bias corda_config ensure_weight_tying eva_config exclude_modules fan_in_fan_out inference_mode init_lora_weights kasa_config layer_replication layers_pattern layers_to_transform loftq_config lora_alpha lora_bias lora_dropout lora_ga_config megatron_config megatron_core modules_to_save monteclora_config peft_type peft_version qalora_group_size r rank_pattern revision target_modules target_parameters task_type trainable_token_indices use_bdlora use_dora use_qalora use_rslora velora_config');
    assert.deepEqual([config.peft_type, config.task_type, config.r, config.lora_alpha, config.lora_dropout], ['LORA', 'SEQ_CLS', 4, 8, 0.1]);
    assert.deepEqual(config.target_modules, ['query', 'value']);
    assert.deepEqual(config.modules_to_save, ['classifier', 'score']);
    assert.equal(config.base_model_name_or_path, base);
    const { tensors, labels } = readAdapter(adapter);
    assert.deepEqual([...tensors].map(([name, { shape }]) => `${name} ${shape}`).sort(), [
      ...[0, 1].flatMap(i => ['query', 'value'].flatMap(name => {
        const r = i === 1 && name === 'value' ? 2 : 4;
        const module = `base_model.model.bert.encoder.layer.${i}.attention.self.${name}`;
        return [`${module}.lora_A.weight ${r},16`, `${module}.lora_B.weight 16,${r}`];
      })),
      'base_model.model.classifier.bias 3', 'base_model.model.classifier.weight 3,16',
    ]);
    assert.deepEqual(labels, LABELS);
  });
});

test('values and settings survive saving and reading', async () => {
  for (const lora of [{}, { target_modules: '.*\\.1\\..*dense' }, { target_modules: 'all-linear', exclude_modules: ['pooler.dense'] }, { modules_to_save: ['pooler.dense'], alpha_pattern: { query: 3 } }, { use_dora: true, use_rslora: true, init_lora_weights: 'gaussian' },
    { lora_bias: true, bias: 'all', layers_to_transform: [1], layers_pattern: 'layer' }, { bias: 'lora_only', layers_to_transform: 0, init_lora_weights: false }] as Partial<LoraSettings>[]) {
    await withAdapter(lora, async ({ adapter, write, model, plan, trainables }) => {
      await write();
      const read = readAdapter(adapter);
      assert.deepEqual(fillTrainables(plan, read, model), trainables);
      const again = planAdapter(model, settingsFromAdapter(read.config));
      assert.deepEqual(again, plan, JSON.stringify(lora));
    });
  }
});

test('a pooler that the base lacks goes with the adapter', async () => {
  const stored = (name: string) => (name.includes('pooler') || name.startsWith('classifier') ? undefined : name);
  await withAdapter({}, async ({ adapter, write, model, plan, trainables, base }) => {
    await write();
    const read = readAdapter(adapter);
    assert.ok((read.config.modules_to_save as string[]).includes('bert.pooler.dense'));
    const other = load(base, 99);
    assert.notDeepEqual(other.weights.get('bert.pooler.dense.weight'), model.weights.get('bert.pooler.dense.weight'));
    assert.deepEqual(withAdapterWeights(other, read).weights.get('bert.pooler.dense.weight'), model.weights.get('bert.pooler.dense.weight'));
    assert.deepEqual(fillTrainables(plan, read, other), trainables);
  }, { stored });
});

test('an adapter for other weights, modules, ranks or classes is refused', async () => {
  await withAdapter({}, async ({ folder, adapter, write, model, plan, trainables, lora }) => {
    await write();
    const read = readAdapter(adapter);
    const other = join(folder, 'other');
    await writeCheckpoint(other, { labels: LABELS, seed: 2 });
    assert.throws(() => fillTrainables(plan, read, load(other)), isProblem('adapter.wrong-base'));
    const planned = (change: Partial<LoraSettings>) => planAdapter(model, { ...lora, ...change });
    assert.throws(() => fillTrainables(planned({ target_modules: ['query', 'key', 'value'] }), read, model), isProblem('adapter.missing', /key\.lora_A/));
    assert.throws(() => fillTrainables(planned({ target_modules: ['query'] }), read, model), isProblem('adapter.unexpected', /value\.lora_A/));
    assert.throws(() => fillTrainables(planned({ r: 2 }), read, model), isProblem('adapter.shape', /\[4, 16\].*\[2, 16\]/));
    // Adapters of other programs record no base: names and shapes decide.
    const tensors = [...read.tensors].map(([name, tensor]) => ({ name, dtype: 'F16' as const, ...tensor }));
    rmSync(join(adapter, 'adapter_model.safetensors'));
    await writeSafetensors(join(adapter, 'adapter_model.safetensors'), tensors, { format: 'pt' });
    const foreign = readAdapter(adapter);
    assert.equal(foreign.labels, null);
    const values = fillTrainables(plan, foreign, load(other));
    assert.ok(values.every((value, i) => Math.abs(value - trainables[i]) < 2e-3 * Math.max(1, Math.abs(value))));
  });
});

test('settings that are not implemented are refused by name', () => {
  const peft: AdapterConfig = { peft_type: 'LORA', task_type: 'SEQ_CLS', r: 8, lora_alpha: 16, target_modules: ['query'], modules_to_save: ['classifier', 'score'], init_lora_weights: true, loftq_config: {}, use_dora: false, layers_to_transform: null, peft_version: '0.21.0' };
  assert.deepEqual(settingsFromAdapter(peft), { r: 8, lora_alpha: 16, lora_dropout: 0, target_modules: ['query'], exclude_modules: null, rank_pattern: {}, alpha_pattern: {}, modules_to_save: null, bias: 'none', init_adapter: null, use_rslora: false, use_dora: false, lora_bias: false, init_lora_weights: true, layers_to_transform: null, layers_pattern: null, trainable_token_indices: null });
  for (const [key, value] of Object.entries({
    init_lora_weights: 'pissa', alora_invocation_tokens: [1], use_bdlora: { nblocks: 2 }, peft_type: 'IA3', task_type: 'QUESTION_ANS',
    layer_replication: [[0, 2]], ensure_weight_tying: true, target_parameters: ['x'], use_qalora: true, an_option_of_tomorrow: 1,
  })) assert.throws(() => settingsFromAdapter({ ...peft, [key]: value }), isProblem('adapter.unsupported', new RegExp(key)), key);
  assert.doesNotThrow(() => settingsFromAdapter({ ...peft, task_type: 'CAUSAL_LM', fan_in_fan_out: true }), 'what PEFT writes for GPT-2');
  for (const [key, value] of Object.entries({ r: '8', lora_alpha: -1, target_modules: [1], trainable_token_indices: [-1], rank_pattern: { a: 'b' } })) {
    assert.throws(() => settingsFromAdapter({ ...peft, [key]: value }), isProblem('adapter.bad-config', new RegExp(key)), key);
  }
});

test('folders that are no adapter', async () => {
  await withAdapter({}, async ({ folder, adapter, write }) => {
    assert.throws(() => readAdapter(join(folder, 'none')), isProblem('adapter.no-folder'));
    await write();
    truncateSync(join(adapter, 'adapter_model.safetensors'), 1000);
    assert.throws(() => readAdapter(adapter), isProblem('safetensors.truncated'));
    rmSync(join(adapter, 'adapter_model.safetensors'));
    assert.throws(() => readAdapter(adapter), isProblem('adapter.no-weights'));
    writeFileSync(join(adapter, 'adapter_model.bin'), '');
    assert.throws(() => readAdapter(adapter), isProblem('adapter.pickle-only'));
    rmSync(join(adapter, 'adapter_config.json'));
    assert.throws(() => readAdapter(adapter), isProblem('adapter.no-config'));
  });
});

test('values that are not finite are never saved', async () => {
  await withAdapter({}, async ({ adapter, content, trainables, folder }) => {
    trainables[40] = NaN;
    await assert.rejects(writeAdapter(adapter, content), isProblem('adapter.not-finite', /query\.lora_A/));
    assert.deepEqual(Object.keys(snapshot(folder)).filter(name => name.includes('adapter')), []);
  });
});

test('whichever disk operation fails, the old adapter or the new one is there, whole', async () => {
  await withAdapter({}, async ({ folder, adapter, content, write }) => {
    await write();
    const old = snapshot(adapter);
    const next = { ...content, trainables: content.trainables.map(value => value + 1) };
    const complete = join(folder, 'complete');
    await writeAdapter(complete, next);
    const fresh = snapshot(complete);
    rmSync(complete, { recursive: true });
    const before = Object.keys(snapshot(folder)).sort();
    let points = 0;
    for (let n = 1; ; n++) {
      const { reached, error } = await withFault(n, 'ENOSPC', () => writeAdapter(adapter, next));
      if (!reached) break;
      points++;
      const now = snapshot(adapter);
      if (error) {
        assert.ok(error instanceof LabError && error.report.code === 'disk.full' && error.report.file?.startsWith(folder) && !error.report.file.includes('.tmp-'), String(error));
      }
      assert.ok(JSON.stringify(now) === JSON.stringify(old) || JSON.stringify(now) === JSON.stringify(fresh), `fault ${n}`);
      await writeAdapter(adapter, content);
      rmSync(join(folder, '.leftover'), { force: true });
    }
    assert.ok(points > 15, `${points} points`);
    // What a failed removal left behind is gone after the next writer of another process; nothing else is left.
    assert.deepEqual(Object.keys(snapshot(folder)).sort().filter(name => !name.startsWith('.old-') && !name.startsWith('.tmp-')), before);
  });
});
