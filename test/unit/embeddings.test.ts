/** Adapters on embeddings: what is targeted, counted, saved and refused. */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { buildModuleTree, findNode, nodeState, tickable } from '../../src/extension/moduleNodes';
import { LabError } from '../../src/engine/errors';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { fillTrainables, readAdapter } from '../../src/engine/model/adapter';
import { families } from '../../src/engine/model/families';
import { loadModel } from '../../src/engine/model/loadModel';
import { initialTrainables, planAdapter } from '../../src/engine/model/lora';
import { readHeader, readTensor } from '../../src/engine/model/safetensors';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { tableFeeds } from '../../src/engine/training/tableRows';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';
import { settings, tinyBert } from '../support/tinyModel';

const refuses = (code: string, says: RegExp) => (error: unknown): boolean => error instanceof LabError && error.report.code === code && says.test(`${error.report.where} ${error.report.cause} ${error.report.action}`);
const planOf = (model: ReturnType<typeof tinyBert>, lora: object) => planAdapter(model, settings(lora).lora);
const checkpoint = (name: string, task: string) => loadModel(fixture('references', name, 'model'), { task, labels: null, seed: 1, families });

test('an embedding is adapted by its name alone, A [r, rows] and B [width, r]; all-linear leaves it out', () => {
  const model = tinyBert();
  const names = (target_modules: string | string[]) => planOf(model, { r: 2, target_modules }).modules.filter(module => module.embedding).map(module => module.name);
  assert.deepEqual(names(['query', 'word_embeddings']), ['bert.embeddings.word_embeddings']);
  assert.deepEqual(names('.*embeddings'), ['word', 'position', 'token_type'].map(name => `bert.embeddings.${name}_embeddings`));
  assert.deepEqual(names('all-linear'), []);
  const { trainables } = planOf(model, { r: 2, target_modules: ['query', 'word_embeddings'] });
  assert.deepEqual(trainables.slice(0, 2).map(({ name, shape, decay }) => [name, shape, decay]), [
    ['base_model.model.bert.embeddings.word_embeddings.lora_embedding_A', [2, 50], true], ['base_model.model.bert.embeddings.word_embeddings.lora_embedding_B', [16, 2], true],
  ]);
});

test('A starts at zero and B normal, so that nothing changes; with init_lora_weights false both are normal', () => {
  const model = tinyBert();
  for (const init_lora_weights of [true, 'gaussian', false]) {
    const { lora } = settings({ r: 4, target_modules: ['word_embeddings'], init_lora_weights });
    const plan = planAdapter(model, lora);
    const values = initialTrainables(model, plan, 3, lora);
    const [A, B] = plan.trainables.map(({ offset, size }) => Array.from(values.subarray(offset, offset + size)));
    const deviation = (list: number[]): number => Math.sqrt(list.reduce((sum, value) => sum + value * value, 0) / list.length);
    assert.equal(A.every(value => value === 0), init_lora_weights !== false);
    for (const list of init_lora_weights === false ? [A, B] : [B]) assert.ok(Math.abs(deviation(list) - 1) < 0.25, `${deviation(list)}`);
  }
});

test('what PEFT does not do on embeddings, or what would never be read, is refused by name', () => {
  const model = tinyBert();
  assert.throws(() => planOf(model, { target_modules: ['word_embeddings'], lora_bias: true }), refuses('lora.combination', /lora_bias.*word_embeddings/));
  assert.throws(() => planOf(model, { r: 2, target_modules: ['query', 'word_embeddings'], init_lora_weights: 'pissa' }), refuses('lora.combination', /pissa.*word_embeddings/));
  assert.throws(() => planOf(model, { target_modules: ['word_embedding'] }), refuses('lora.target-not-found', /did you mean "word_embeddings"/));
  assert.throws(() => planOf(checkpoint('t5-qv', 'SEQ_2_SEQ_LM'), { target_modules: ['q', 'shared'] }), refuses('lora.target-unread', /encoder\.embed_tokens and decoder\.embed_tokens.*name "embed_tokens"/));
});

test('the base layers that PEFT stores with embeddings are accepted if they are the base\'s', () => inTemporaryFolder(async folder => {
  const model = checkpoint('llama-embeddings', 'CAUSAL_LM');
  const plan = planOf(model, { r: 4, lora_alpha: 8, target_modules: ['q_proj', 'embed_tokens', 'lm_head'] });
  const from = fixture('references', 'llama-embeddings', 'adapter_final');
  assert.ok(fillTrainables(plan, readAdapter(from), model).some(value => value !== 0));
  cpSync(from, folder, { recursive: true });
  const file = join(folder, 'adapter_model.safetensors');
  const tensors = [...readHeader(file).tensors.values()].map(ref => ({ name: ref.name, dtype: ref.dtype, shape: ref.shape, data: readTensor(ref) }));
  const base = tensors.find(({ name }) => name.endsWith('embed_tokens.base_layer.weight'))!;
  base.data[7] += 1;
  rmSync(file);
  await writeSafetensors(file, tensors, { format: 'pt' });
  assert.throws(() => fillTrainables(plan, readAdapter(folder), model), refuses('adapter.base-layer', /embed_tokens\.base_layer\.weight/));
}));

test('single rows of embeddings: which are trained, what reads them, and what is refused', () => {
  const model = checkpoint('gpt2-text', 'CAUSAL_LM');
  const tokens = (trainable_token_indices: unknown, of = model, more = {}) => planOf(of, { r: 2, target_modules: ['c_attn'], trainable_token_indices, ...more }).tokens!.map(({ name, indices, readers }) => [name, indices, readers]);
  assert.deepEqual(tokens([3, 1]), [['transformer.wte', [3, 1], ['transformer.wte', 'lm_head']]]);
  assert.deepEqual(tokens({ wte: [3], lm_head: [3] }), [['transformer.wte', [3], ['transformer.wte', 'lm_head']]]);
  assert.deepEqual(tokens({ wte: [3], lm_head: [4] }), [['transformer.wte', [3], ['transformer.wte']], ['lm_head', [4], ['lm_head']]]);
  assert.deepEqual(tokens({ wpe: [0] }), [['transformer.wpe', [0], ['transformer.wpe']]]);
  assert.deepEqual(tokens([]), []);
  assert.throws(() => tokens([1, 1]), refuses('lora.tokens', /token 1 of transformer\.wte twice/));
  assert.throws(() => tokens([100000]), refuses('lora.tokens', /100000 is no row.*has 320/));
  assert.throws(() => tokens({ c_attn: [1] }), refuses('lora.tokens', /"c_attn" is neither.*transformer\.wte/));
  assert.throws(() => tokens([1], model, { target_modules: ['wte'] }), refuses('lora.tokens', /transformer\.wte has an adapter/));
  const t5 = checkpoint('t5-v1.1-all-linear', 'SEQ_2_SEQ_LM');
  assert.throws(() => tokens([1], t5, { target_modules: ['q'] }), refuses('lora.tokens', /"shared".*"embed_tokens"/));
  const [trainable] = planOf(model, { target_modules: ['c_attn'], r: 2, trainable_token_indices: [3, 1] }).trainables.filter(t => t.name.includes('token'));
  assert.deepEqual([trainable.name, trainable.shape], ['base_model.model.transformer.wte.token_adapter.trainable_tokens_delta', [2, 32]]);
  for (const [value, says] of [[[-1], /\[-1\]/], [{ wte: 3 }, /wte/], ['wte', /wte/]] as const) assert.throws(() => settings({ trainable_token_indices: value }), says);
});

test('the tree ticks an embedding by its own box, a parent its linear layers', () => {
  const inspection = inspectCheckpoint({ folder: fixture('references', 't5-qv', 'model'), task: null });
  const root = buildModuleTree(inspection, 't5');
  const lora = settings({ r: 4, target_modules: ['q'] }).lora;
  assert.ok(tickable(root, lora).every(module => module.type === 'Linear'));
  const leaf = findNode(root, 'module:decoder.embed_tokens')!;
  const { adapter, description } = nodeState(leaf, new Set(['decoder.embed_tokens']), lora);
  const [rows, width] = leaf.module!.shape;
  assert.deepEqual([adapter!.A, adapter!.B, adapter!.parameters], [[4, rows], [width, 4], 4 * (rows + width)]);
  assert.match(description, /r 4$/);
  assert.deepEqual(tickable(findNode(root, 'module:shared')!, lora), []);
});

test('gradients of a table: each row\'s places in groups of 16, none for rows that were not read and for padding', () => {
  const ids = Int32Array.from([3, 1, 3, 0, ...Array.from({ length: 40 }, () => 2)]);
  const feeds = tableFeeds([{ ids: 'input_ids', rows: 5, padding: 1 }], { input_ids: { data: ids, shape: [ids.length] } });
  const [groups, mask, merged] = ['groups', 'group_mask', 'merged'].map(name => feeds[`input_ids_${name}`]);
  const rows = feeds.input_ids_rows_5_1.data;
  const M = merged.shape[1];
  const read = (row: number): number[] => Array.from(merged.data.subarray(rows[row] * M, (rows[row] + 1) * M)).flatMap(group =>
    Array.from(groups.data.subarray(16 * group, 16 * group + 16)).filter((_, i) => mask.data[16 * group + i] === 1));
  const places = (row: number): number[] => Array.from(ids.keys()).filter(place => ids[place] === row);
  assert.deepEqual([0, 1, 2, 3, 4].map(read), [places(0), [], places(2), places(3), []]);
});
