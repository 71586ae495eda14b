/** The memory of one step, measured before a run. */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { measureMemory } from '../../src/engine/measureMemory';
import { prepare } from '../../src/engine/prepare';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { SILENT } from '../../src/engine/reporter';
import { tokensOf } from '../../src/engine/training/step.types';
import { inTemporaryFolder } from '../support/faults';
import { fixture } from '../support/paths';

test('one step on the longest examples tells the peak of its process and leaves nothing behind', () => inTemporaryFolder(async folder => {
  cpSync(fixture('references', 'mixed-lengths'), folder, { recursive: true });
  const file = join(folder, 'case.lora.json');
  const { train } = prepare(readExperimentFile(file), null, SILENT);
  const before = readdirSync(folder, { recursive: true });
  const { peak_memory_bytes, device, longest, device_memory_bytes } = await measureMemory({ experiment_file: file });
  assert.equal(longest, Math.max(...Array.from({ length: train.length }, (_, i) => tokensOf(train.get(i)))));
  assert.ok(peak_memory_bytes >= process.memoryUsage.rss() * 0.9 && peak_memory_bytes < 8e9, `${peak_memory_bytes}`);
  assert.match(device, /^cpu \(onnxruntime/);
  assert.equal(device_memory_bytes, null);
  assert.deepEqual(readdirSync(folder, { recursive: true }), before);
}));

test('an inspection tells what of the base and the data memory depends on: where dropout is applied, and the size of the files', () => inTemporaryFolder(async folder => {
  cpSync(fixture('references', 'mixed-lengths'), folder, { recursive: true });
  const config = join(folder, 'model/config.json');
  const given = JSON.parse(readFileSync(config, 'utf8')) as { hidden_size: number; num_hidden_layers: number };
  const inspect = (part: object) => {
    writeFileSync(config, JSON.stringify({ ...given, ...part }));
    return inspectCheckpoint({ folder: join(folder, 'model'), task: 'SEQ_CLS', dataset: { train: join(folder, 'train.jsonl'), eval: join(folder, 'eval.jsonl'), text_column: 'text', label_column: 'label', tokens_column: 'tokens', tags_column: 'tags' } });
  };
  const { dropout, data_bytes } = inspect({ hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 });
  // Of the last layer only first tokens are computed.
  const layers = given.num_hidden_layers - 1;
  assert.deepEqual(dropout, { hidden: given.hidden_size * (1 + 2 * layers), attention: layers });
  assert.deepEqual(inspect({ hidden_dropout_prob: 0, attention_probs_dropout_prob: 0.1 }).dropout, { hidden: 0, attention: layers });
  assert.equal(data_bytes, ['train', 'eval'].reduce((sum, name) => sum + statSync(join(folder, `${name}.jsonl`)).size, 0));
}));

test('what is measured has the precision of the run', () => inTemporaryFolder(async folder => {
  cpSync(fixture('references', 'mixed-lengths'), folder, { recursive: true });
  const file = join(folder, 'case.lora.json');
  const experiment = JSON.parse(readFileSync(file, 'utf8')) as { engine?: object };
  writeFileSync(file, JSON.stringify({ ...experiment, engine: { ...experiment.engine, device: 'tensorflow', precision: 'int4' } }));
  await assert.rejects(measureMemory({ experiment_file: file }), /"int4" cannot be computed on tensorflow/);
}));
