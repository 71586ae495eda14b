/** Merging, inspecting and counting decoders and encoder-decoders: stored transposed, sharded, tied, without prefix. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { readAdapter } from '../../src/engine/model/adapter';
import { families } from '../../src/engine/model/families';
import { mergeAdapter } from '../../src/engine/model/merge';
import { predict } from '../../src/engine/predict';
import { countAdapter } from '../../src/protocol/adapterMath';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { inTemporaryFolder } from '../support/faults';
import { languageLogits } from '../support/languageModel';
import { fixture } from '../support/paths';
import { assertClose } from '../support/close';

interface Expected { final_logits: number[][]; trainable_parameters: number; all_parameters: number; labels: string[] }

// With the tolerance that rounding the merged weights to the stored type leaves.
const CASES: [string, number][] = [
  ['gpt2-text', 1e-5], ['gpt2-completion', 5e-3], ['gpt2-classes', 1e-5], ['llama-messages', 5e-2], ['llama-classes', 1e-5], ['qwen3-messages', 1e-5], ['gemma-classes', 1e-5], ['llama-saved-norms', 1e-5], ['llama-saved-embeddings', 1e-5], ['phi3-text', 1e-5],
  ['gpt2-embeddings', 1e-5], ['llama-embeddings', 1e-5], ['qwen3-embeddings', 5e-2], ['gemma-embeddings', 1e-5], ['gpt2-tokens', 1e-5], ['llama-tokens', 1e-5], ['qwen3-tokens', 1e-5], ['t5-tokens', 1e-5],
  ['t5-qv', 1e-5], ['t5-v1.1-all-linear', 5e-2], ['t5-cross-attention', 5e-3], ['mt5-qkv', 1e-5],
];

for (const [name, tolerance] of CASES) {
  test(`${name}: the merged checkpoint gives the adapter's logits`, () => inTemporaryFolder(async folder => {
    cpSync(fixture('references', name), folder, { recursive: true });
    const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected;
    const before = JSON.parse(readFileSync(join(folder, 'model/config.json'), 'utf8')) as Record<string, unknown>;
    const merged = join(folder, 'merged');
    const report = await mergeAdapter({ base: join(folder, 'model'), adapter: join(folder, 'adapter_final'), out: merged, families });
    assert.ok(report.merged_modules.length > 0);
    const after = JSON.parse(readFileSync(join(merged, 'config.json'), 'utf8')) as Record<string, unknown>;
    assert.equal(String((after.architectures as string[])[0]).endsWith('SequenceClassification'), expected.labels.length > 0);
    const floats = (text: string): string[] => text.match(/"\w+": -?\d+\.\d+/g) ?? [];
    assert.deepEqual(floats(readFileSync(join(merged, 'config.json'), 'utf8')), floats(readFileSync(join(folder, 'model/config.json'), 'utf8')), 'transformers tells 1.0 from 1');
    // Embeddings with an adapter or trained rows of their own are no longer the output layer.
    const untied = ['gpt2-embeddings', 'qwen3-embeddings', 'qwen3-tokens'].includes(name) ? { tie_word_embeddings: false } : {};
    if (!expected.labels.length) assert.deepEqual({ ...after, architectures: null }, { ...before, architectures: null, ...untied });

    if (expected.labels.length) {
      const texts = readFileSync(join(folder, 'train.jsonl'), 'utf8').split('\n').slice(0, expected.final_logits.length).map(line => (JSON.parse(line) as { text: string }).text);
      const predictions = await predict({ base: merged, adapter: null, texts, max_length: 32 });
      predictions.forEach(({ logits }, i) => assertClose(logits, expected.final_logits[i], tolerance, `text ${i}`));
      return;
    }
    rmSync(join(folder, 'model'), { recursive: true });
    renameSync(merged, join(folder, 'model'));
    const experiment = JSON.parse(readFileSync(join(folder, 'case.lora.json'), 'utf8')) as { lora: object };
    writeFileSync(join(folder, 'case.lora.json'), JSON.stringify({ ...experiment, lora: { ...experiment.lora, init_adapter: null } }));
    const logits = await languageLogits(join(folder, 'case.lora.json'), null, expected.final_logits.length);
    logits.forEach((row, i) => assertClose(row, expected.final_logits[i], tolerance, `text ${i}`));
  }));

  test(`${name}: inspection counts what PEFT counts and knows the task`, () => {
    const source = readExperimentFile(fixture('references', name, 'case.lora.json'));
    const { task, lora, dataset } = source.experiment;
    const expected = JSON.parse(readFileSync(fixture('references', name, 'expected.json'), 'utf8')) as Expected;
    const inspection = inspectCheckpoint({ folder: source.resolve('model'), task, lora: { ...lora, init_adapter: null }, dataset: { ...dataset, train: source.resolve(dataset.train) } });
    assert.deepEqual([inspection.trainable_parameters, inspection.all_parameters], [expected.trainable_parameters, expected.all_parameters]);
    const counted = countAdapter(inspection, lora);
    assert.deepEqual([counted.trainable_parameters, counted.all_parameters], [expected.trainable_parameters, expected.all_parameters], 'the panel counts the same');
    const matched = new Set(inspection.matched.map(module => module.name));
    assert.deepEqual(new Set([...readAdapter(fixture('references', name, 'adapter_final')).tensors.keys()].flatMap(key => /^base_model\.model\.(.*)\.lora_(?:A\.weight|embedding_A)$/.exec(key)?.[1] ?? [])), matched);
    assert.equal(inspectCheckpoint({ folder: source.resolve('model'), task: null }).modules.some(module => module.name === 'score'), expected.labels.length > 0);
  });
}
