/** Adapters as PEFT writes them, with more in them than what was trained: used where PEFT uses them, else refused with the cause. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { fillTrainables, readAdapter, settingsFromAdapter } from '../../src/engine/model/adapter';
import { checkAdapterSettings, planOf } from '../../src/engine/model/adapterSettings';
import { families } from '../../src/engine/model/families';
import { loadModel } from '../../src/engine/model/loadModel';
import { mergeAdapter } from '../../src/engine/model/merge';
import { readHeader, readTensor } from '../../src/engine/model/safetensors';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

interface Tensor { shape: number[]; data: Float32Array }
const tensorsOf = (file: string): Map<string, Tensor> => new Map([...readHeader(file).tensors].map(([name, ref]) => [name, { shape: ref.shape, data: readTensor(ref) }]));

/** A language model's case in `folder` whose adapter has these keys and, made of the base's tensors, these tensors more. */
async function caseWith(folder: string, name: string, config: object, more: (base: Map<string, Tensor>) => Record<string, Tensor> = () => ({})) {
  cpSync(fixture('references', name), folder, { recursive: true });
  const [base, adapter] = ['model', 'adapter_final'].map(part => join(folder, part));
  const [file, weights] = ['adapter_config.json', 'adapter_model.safetensors'].map(part => join(adapter, part));
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, ...config }));
  const tensors = [...new Map([...tensorsOf(weights), ...Object.entries(more(tensorsOf(join(base, 'model.safetensors'))))])];
  rmSync(weights);
  await writeSafetensors(weights, tensors.map(([key, tensor]) => ({ name: key, dtype: 'F32', ...tensor })), { format: 'pt' });
  const model = loadModel(base, { task: 'CAUSAL_LM', labels: null, seed: 0, families });
  const use = (): Float32Array => {
    const read = readAdapter(adapter);
    return fillTrainables(planOf(read, model, settingsFromAdapter(read.config)), read, model);
  };
  return { base, adapter, file, weights, model, use };
}

async function merged({ base, adapter }: { base: string; adapter: string }): Promise<Map<string, Tensor>> {
  const out = join(base, '../merged');
  await mergeAdapter({ base, adapter, out, families });
  return tensorsOf(join(out, 'model.safetensors'));
}

/** Both of using and merging are refused alike, and nothing is written. */
async function refused(folder: string, { base, adapter, use }: { base: string; adapter: string; use: () => unknown }, code: string, file: string, says: RegExp): Promise<void> {
  const isThis = (error: unknown): boolean => {
    assert.ok(error instanceof LabError, String(error));
    assert.deepEqual([error.report.code, error.report.file], [code, file], error.message);
    assert.match(error.message, says);
    return true;
  };
  assert.throws(use, isThis);
  await assert.rejects(mergeAdapter({ base, adapter, out: join(folder, 'merged'), families }), isThis);
  assert.equal(existsSync(join(folder, 'merged')), false);
}

test('entries of an adapter\'s settings that match nothing are passed over, those of an experiment are not', () => inTemporaryFolder(async folder => {
  const expected = await caseWith(join(folder, 'plain'), 'llama-text', {});
  const settings = { target_modules: ['q_proj', 'v_proj', 'c_attn', 'query_key_value'], rank_pattern: { 'mlp.w1': 2 }, alpha_pattern: { c_attn: 3 }, layers_to_transform: [0, 1, 2, 40], modules_to_save: ['wpe'] };
  const found = await caseWith(join(folder, 'more'), 'llama-text', settings);
  assert.deepEqual(found.use(), expected.use());
  assert.deepEqual(await merged(found), await merged(expected));
  const own = settingsFromAdapter(readAdapter(expected.adapter).config);
  checkAdapterSettings(readAdapter(found.adapter), planOf(readAdapter(expected.adapter), expected.model, own), expected.model, own);
  const nothing = await caseWith(join(folder, 'nothing'), 'llama-text', { target_modules: ['c_attn', 'query_key_value'] });
  await refused(folder, nothing, 'lora.target-not-found', nothing.file, /"c_attn" matches no linear layer.*Use the base that the adapter was trained on/);
}));

test('an adapter whose rank is above the smaller side of a matrix, as PEFT trains it, is used and merged', () => inTemporaryFolder(async folder => {
  const [r, rank, lora_alpha] = [4, 32, 64];
  const widened = ([name, { shape: [rows, width], data }]: [string, Tensor]): [string, Tensor] => (name.includes('lora_A')
    ? [name, { shape: [rank, width], data: Float32Array.from({ length: rank * width }, (_, i) => data[i] ?? 0) }]
    : [name, { shape: [rows, rank], data: Float32Array.from({ length: rows * rank }, (_, i) => (i % rank < r ? data[Math.floor(i / rank) * r + i % rank] : 0)) }]);
  const narrow = tensorsOf(fixture('references', 'llama-text', 'adapter_final/adapter_model.safetensors'));
  const wide = await caseWith(join(folder, 'wide'), 'llama-text', { r: rank, lora_alpha }, () => Object.fromEntries([...narrow].map(widened)));
  assert.equal(wide.use().length, 8 * (await caseWith(join(folder, 'narrow'), 'llama-text', {})).use().length);
  const [ours, expected] = [await merged(wide), await merged(await caseWith(join(folder, 'again'), 'llama-text', {}))];
  for (const [name, { data }] of expected) data.forEach((value, i) => assert.ok(Math.abs(ours.get(name)!.data[i] - value) < 1e-6, name));
}));

for (const [name, table] of [['llama-text', 'model.embed_tokens.weight'], ['gpt2-text', 'transformer.wte.weight']]) {
  /** What PEFT's save_embedding_layers adds: both, also where they are one. */
  const stored = (change: (tensor: Tensor) => Tensor) => (base: Map<string, Tensor>): Record<string, Tensor> => {
    const embeddings = base.get(table)!;
    return { [`base_model.model.${table}`]: change(embeddings), 'base_model.model.lm_head.weight': change(base.get('lm_head.weight') ?? embeddings) };
  };

  test(`${name}: an adapter that was saved with the base's embeddings, because they were resized, needs just that base`, () => inTemporaryFolder(async folder => {
    const at = (part: string): string => join(folder, part);
    const expected = await caseWith(at('plain'), name, {});
    // As in bfloat16.
    const same = await caseWith(at('same'), name, {}, stored(({ shape, data }) => ({ shape, data: data.map(value => value * (1 + 2 ** -9)) })));
    assert.deepEqual(same.use(), expected.use());
    assert.deepEqual(await merged(same), await merged(expected), 'the base\'s own values stay');
    const longer = await caseWith(at('longer'), name, {}, stored(({ shape: [rows, width], data }) => ({ shape: [rows + 8, width], data: Float32Array.from({ length: (rows + 8) * width }, (_, i) => data[i] ?? 0) })));
    await refused(folder, longer, 'adapter.base-layer', longer.weights, /has a row for each of 328 tokens, the base for 320: its vocabulary was resized before the adapter was trained.*resize_token_embeddings\(328\).*save_pretrained/);
    const other = await caseWith(at('other'), name, {}, stored(({ shape, data }) => ({ shape, data: data.map((value, i) => (i === 7 ? value + 1 : value)) })));
    await refused(folder, other, 'adapter.base-layer', other.weights, /holds other values than the .*Use the base that the adapter was trained on, or one with these values: PeftModel/);
  }));
}

test('embeddings and output layer that were both trained whole on a base where they are one are refused for that, used or merged', () => inTemporaryFolder(async folder => {
  const found = await caseWith(join(folder, 'case'), 'gpt2-text', { modules_to_save: ['wte', 'lm_head'] }, base => {
    const trained = base.get('transformer.wte.weight')!;
    return { 'base_model.model.transformer.wte.weight': trained, 'base_model.model.lm_head.weight': trained };
  });
  await refused(folder, found, 'lora.modules-to-save', found.file, /modules_to_save: "(wte|lm_head)" is embeddings and output layer in one.*use a base that stores an output layer of its own/);
}));
