/** What hovers count, from Python source and from the files of an adapter. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readAdapterShapes } from '../../src/extension/adapterHeader';
import { loraHover, pythonLoraConfig } from '../../src/extension/hoverText';
import { inTemporaryFolder } from '../support/faults';
import { bertModel } from '../webview/support/fixtures';

const configOf = (call: string) => pythonLoraConfig(call, call.indexOf('r='))!.lora;

test('every key of a LoraConfig that decides what is adapted counts in Python, too', () => {
  const lora = configOf(String.raw`LoraConfig(
    r=8, lora_alpha=1_6,  # , r=99
    target_modules={"query", 'value'}, layers_to_transform=(0, 1,), layers_pattern="layer",
    exclude_modules=r".*\.1\..*value", rank_pattern={"query": 4, }, alpha_pattern={'0\\..*': 3.2e1},
    modules_to_save=["pooler"], use_rslora=False, bias="lora_only", task_type=TaskType.SEQ_CLS,
)`);
  assert.deepEqual(lora, {
    r: 8, lora_alpha: 16, target_modules: ['query', 'value'], layers_to_transform: [0, 1], layers_pattern: 'layer', exclude_modules: '.*\\.1\\..*value',
    rank_pattern: { query: 4 }, alpha_pattern: { '0\\..*': 32 }, modules_to_save: ['pooler'], use_rslora: false, bias: 'lora_only',
  });
  const text = loraHover('rank_pattern', bertModel(), lora)!;
  assert.match(text, /\*\*3 modules\*\*, 4,096 adapter parameters/);
  assert.match(text, /`attention\.self\.query` \| 2 \| `\[4, 128\]`/);
  assert.match(text, /among them `bert\.pooler\.dense`, `classifier`, trained whole/);
});

test("what is no literal, or none that the key can have, keeps PEFT's default", () => {
  assert.deepEqual(configOf('LoraConfig(r=2 * rank, target_modules=["query"] + more, layers_to_transform=list(range(4)), rank_pattern={"query": "four"}, exclude_modules=f"{name}", lora_alpha=None)'),
    { r: 8, lora_alpha: 8, target_modules: null });
  assert.deepEqual(configOf('LoraConfig(r=4, target_modules=[])').target_modules, []);
});

test('the adapter of an embedding counts among those of a file', () => inTemporaryFolder(async folder => {
  const file = join(folder, 'adapter_model.safetensors');
  const shapes = {
    'base_model.model.bert.embeddings.word_embeddings.lora_embedding_A': [4, 1200], 'base_model.model.bert.embeddings.word_embeddings.lora_embedding_B': [128, 4],
    'base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight': [8, 128], 'base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight': [128, 8],
  };
  const header = Buffer.from(JSON.stringify(Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { dtype: 'F32', shape, data_offsets: [0, 0] }]))));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(file, Buffer.concat([length, header]));
  const adapters = await readAdapterShapes(file, (_, r) => 8 / r);
  assert.deepEqual(adapters.map(({ name, r, A, B, parameters }) => [name, r, A, B, parameters]), [
    ['bert.embeddings.word_embeddings', 4, [4, 1200], [128, 4], 4 * (1200 + 128)],
    ['bert.encoder.layer.0.attention.self.query', 8, [8, 128], [128, 8], 8 * 256],
  ]);
}));
