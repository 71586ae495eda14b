/** Embeddings that an adapter trained whole on a base whose output layer they are: PEFT leaves the output layer as it was. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { families } from '../../src/engine/model/families';
import { mergeAdapter } from '../../src/engine/model/merge';
import { readHeader, readTensor } from '../../src/engine/model/safetensors';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

const TABLE = 'model.embed_tokens.weight';
const tensorsOf = (file: string) => new Map([...readHeader(file).tensors].map(([name, ref]) => [name, { name, dtype: 'F32' as const, shape: ref.shape, data: readTensor(ref) }]));

test('saved embeddings of a tied base are merged apart from its output layer', () => inTemporaryFolder(async folder => {
  cpSync(fixture('references/qwen3-tokens'), folder, { recursive: true });
  const [base, adapter, out] = ['model', 'adapter_final', 'merged'].map(name => join(folder, name));
  const before = tensorsOf(join(base, 'model.safetensors')).get(TABLE)!;
  const trained = { ...before, name: `base_model.model.${TABLE}`, data: before.data.map((value, i) => value + i % 7) };
  const weights = join(adapter, 'adapter_model.safetensors');
  const factors = [...tensorsOf(weights).values()].filter(({ name }) => name.includes('lora_'));
  rmSync(weights);
  await writeSafetensors(weights, [...factors, trained], { format: 'pt' });
  const config = join(adapter, 'adapter_config.json');
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')) as object, trainable_token_indices: null, modules_to_save: ['embed_tokens'] }));

  await mergeAdapter({ base, adapter, out, families });
  const merged = tensorsOf(join(out, 'model.safetensors'));
  assert.deepEqual(merged.get(TABLE)!.data, trained.data);
  assert.deepEqual(merged.get('lm_head.weight')!.data, before.data);
  assert.equal((JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as { tie_word_embeddings: boolean }).tie_word_embeddings, false);
}));
