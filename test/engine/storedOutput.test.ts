/** Bases that config.json ties, with an output layer stored all the same: its own values count, as in transformers 5. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { generate } from '../../src/engine/generate';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { families } from '../../src/engine/model/families';
import { mergeAdapter } from '../../src/engine/model/merge';
import { readHeader, readTensor } from '../../src/engine/model/safetensors';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { assertClose } from '../support/close';
import { inTemporaryFolder } from '../support/faults';
import { languageLogits } from '../support/languageModel';
import { copyCase } from '../support/runs';

const TABLES = { 'gpt2-embeddings': 'transformer.wte.weight', 'qwen3-embeddings': 'model.embed_tokens.weight' } as const;
const weightsOf = (folder: string) => new Map([...readHeader(join(folder, 'model.safetensors')).tensors].map(([name, ref]) => [name, { name, dtype: 'F32' as const, shape: ref.shape, data: readTensor(ref) }]));
const configOf = (folder: string): Record<string, unknown> => JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
/** Values of rows or logits, each at the place before its own. */
const turned = (values: Float32Array, by: number): Float32Array => values.map((_, i) => values[(i + by) % values.length]);

/** Stores beside the base's embeddings an output layer: the embeddings, each row one place earlier where it is to differ. */
async function storeOutput(base: string, table: string, differs: boolean): Promise<void> {
  const tensors = weightsOf(base);
  const { shape, data } = tensors.get(table)!;
  rmSync(join(base, 'model.safetensors'));
  await writeSafetensors(join(base, 'model.safetensors'), [...tensors.set('lm_head.weight', { name: 'lm_head.weight', dtype: 'F32', shape, data: differs ? turned(data, shape[1]) : data }).values()], { format: 'pt' });
}

for (const [name, table] of Object.entries(TABLES)) {
  test(`${name}: a stored output layer with other values than the embeddings makes the logits, with an adapter and merged too`, () => inTemporaryFolder(async folder => {
    const experiment = copyCase(folder, {}, name);
    const [base, adapter, merged] = ['model', 'adapter_final', 'merged'].map(part => join(folder, part));
    const tied = await Promise.all([null, adapter].map(trained => languageLogits(experiment, trained, 2)));
    await storeOutput(base, table, false);
    const equal = await languageLogits(experiment, null, 2);
    equal.forEach((row, i) => assertClose(row, tied[0][i], 1e-6, 'an output layer with the same values is the embeddings'));
    await storeOutput(base, table, true);
    for (const [i, trained] of [null, adapter].entries()) {
      const rows = await languageLogits(experiment, trained, 2);
      rows.forEach((row, text) => assertClose(row, turned(tied[i][text], 1), 1e-5, `text ${text} ${trained ? 'with' : 'without'} the adapter`));
    }
    const stored = weightsOf(base).get('lm_head.weight')!.data;
    await mergeAdapter({ base, adapter, out: merged, families });
    assert.deepEqual(weightsOf(merged).get('lm_head.weight')!.data, stored);
    assert.equal(configOf(merged).tie_word_embeddings, false);
    const request = { prompts: ['good hotel bed', 'a film'], max_new_tokens: 8 };
    const tokens = async (base: string, adapter: string | null): Promise<number[][]> => (await generate({ base, adapter, ...request })).map(completion => completion.tokens);
    assert.deepEqual(await tokens(merged, null), await tokens(base, adapter));
  }));
}

test('an adapter on a tied output layer is refused for what it is, on the base that it was trained on', () => inTemporaryFolder(async folder => {
  const experiment = copyCase(folder, { lora: { target_modules: ['c_attn', 'lm_head'] } }, 'gpt2-text');
  const says = (error: LabError, ...place: unknown[]): boolean => {
    assert.deepEqual([error.report.code, error.report.file, error.report.where], place);
    assert.match(`${error.report.cause}; ${error.report.action}`, /^lm_head is transformer\.wte in this model \(tie_word_embeddings\).*not supported; leave lm_head out, or use a base that stores an output layer of its own/);
    return true;
  };
  await assert.rejects(languageLogits(experiment, null, 1), (error: LabError) => says(error, 'lora.target-tied', undefined, 'lora.target_modules'));
  const [base, adapter, out] = ['model', 'adapter_final', 'merged'].map(part => join(folder, part));
  const file = join(adapter, 'adapter_config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, target_modules: ['c_attn', 'lm_head'] }));
  await assert.rejects(mergeAdapter({ base, adapter, out, families }), (error: LabError) => says(error, 'lora.target-tied', file, 'target_modules'));
}));

test('a stored output layer can be adapted and trained whole; rows that PEFT would tie to it are refused', () => inTemporaryFolder(async folder => {
  copyCase(folder, {}, 'gpt2-text');
  const base = join(folder, 'model');
  const lora = { r: 4, lora_alpha: 8 };
  await storeOutput(base, TABLES['gpt2-embeddings'], true);
  const [rows, width] = weightsOf(base).get('lm_head.weight')!.shape;
  const inspect = (changes: object) => inspectCheckpoint({ folder: base, task: 'CAUSAL_LM', lora: { ...lora, ...changes } });
  assert.equal(inspect({ target_modules: ['lm_head'] }).trainable_parameters, 4 * (rows + width));
  assert.equal(inspect({ target_modules: ['wte'], modules_to_save: ['lm_head'] }).trainable_parameters, 4 * (rows + width) + rows * width);
  assert.throws(() => inspect({ trainable_token_indices: [1, 2] }), (error: LabError) => {
    assert.match(`${error.report.cause}; ${error.report.action}`, /stores with other values though its config\.json says tie_word_embeddings; set "tie_word_embeddings" to false/);
    return true;
  });
  writeFileSync(join(base, 'config.json'), JSON.stringify({ ...configOf(base), tie_word_embeddings: false }));
  assert.equal(inspect({ trainable_token_indices: [1, 2], target_modules: ['c_attn'] }).matched.length > 0, true);
}));
