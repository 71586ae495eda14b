/** Embeddings that an adapter trained whole: of a base whose output layer they are PEFT leaves the output layer as it was; those of a T5 cannot be merged. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { families } from '../../src/engine/model/families';
import { mergeAdapter } from '../../src/engine/model/merge';
import { readHeader, readTensor } from '../../src/engine/model/safetensors';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { LabError } from '../../src/engine/errors';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

const TABLE = 'model.embed_tokens.weight';
const tensorsOf = (file: string) => new Map([...readHeader(file).tensors].map(([name, ref]) => [name, { name, dtype: 'F32' as const, shape: ref.shape, data: readTensor(ref) }]));

/** A case in `folder` whose adapter has also trained an embedding whole. Returns the base's table and the trained one. */
async function withSaved(folder: string, name: string, table: string, entry: string) {
  cpSync(fixture('references', name), folder, { recursive: true });
  const [base, adapter, out] = ['model', 'adapter_final', 'merged'].map(part => join(folder, part));
  const before = tensorsOf(join(base, 'model.safetensors')).get(table)!;
  const trained = { ...before, name: `base_model.model.${table}`, data: before.data.map((value, i) => value + i % 7) };
  const weights = join(adapter, 'adapter_model.safetensors');
  const factors = [...tensorsOf(weights).values()].filter(({ name: key }) => key.includes('lora_'));
  rmSync(weights);
  await writeSafetensors(weights, [...factors, trained], { format: 'pt' });
  const config = join(adapter, 'adapter_config.json');
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')) as object, trainable_token_indices: null, modules_to_save: [entry] }));
  return { base, adapter, out, before, trained };
}

test('saved embeddings of a tied base are merged apart from its output layer', () => inTemporaryFolder(async folder => {
  const { base, adapter, out, before, trained } = await withSaved(folder, 'qwen3-tokens', TABLE, 'embed_tokens');
  await mergeAdapter({ base, adapter, out, families });
  const merged = tensorsOf(join(out, 'model.safetensors'));
  assert.deepEqual(merged.get(TABLE)!.data, trained.data);
  assert.deepEqual(merged.get('lm_head.weight')!.data, before.data);
  assert.equal((JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as { tie_word_embeddings: boolean }).tie_word_embeddings, false);
}));

test("the saved embeddings of a T5, which encoder and decoder share, are refused by name, and nothing is written", () => inTemporaryFolder(async folder => {
  const { base, adapter, out } = await withSaved(folder, 't5-qv', 'shared.weight', 'shared');
  await assert.rejects(mergeAdapter({ base, adapter, out, families }), (error: unknown) => {
    assert.ok(error instanceof LabError, String(error));
    assert.deepEqual([error.report.code, error.report.file, error.report.where], ['merge.shared-embeddings', adapter, 'shared.weight']);
    assert.match(`${error.report.cause}. ${error.report.action}`, /encoder and decoder share the embeddings, and would need different ones\. use this adapter unmerged/);
    return true;
  });
  assert.equal(existsSync(out), false);
}));
