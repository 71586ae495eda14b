/** The memory of one step, measured before a run. */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspectCheckpoint } from '../../src/engine/inspect';
import * as ort from 'onnxruntime-node';
import { largestBatches, measureMemory } from '../../src/engine/measureMemory';
import { prepare } from '../../src/engine/prepare';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { SILENT } from '../../src/engine/reporter';
import { tokensOf } from '../../src/engine/training/step.types';
import type { MemoryMeasurement } from '../../src/protocol/engine';
import { inTemporaryFolder } from '../support/faults';
import { copyCase } from '../support/runs';
import { fixture } from '../support/paths';

/** Tokens of each run of ONNX Runtime that computes a portion. */
async function portionsOf(work: () => Promise<unknown>): Promise<number[]> {
  const { InferenceSession } = ort;
  const { create } = InferenceSession;
  const tokens: number[] = [];
  InferenceSession.create = (async (bytes: Uint8Array, options: ort.InferenceSession.SessionOptions) => {
    const session = await create.call(InferenceSession, bytes, options);
    const run = session.run.bind(session) as typeof session.run;
    session.run = ((feeds: ort.InferenceSession.FeedsType) => {
      if (feeds.input_ids) tokens.push((feeds.input_ids as ort.Tensor).dims[0]);
      return run(feeds);
    }) as typeof session.run;
    return session;
  }) as typeof create;
  try { await work(); } finally { InferenceSession.create = create; }
  return tokens;
}

test('what is measured has the longest text, and also the fullest portion, which texts of another length make', () => inTemporaryFolder(async folder => {
  // Twelve texts of 40 tokens make 480, sixteen of 32 a full portion.
  const file = copyCase(folder, { training: { per_device_train_batch_size: 16, max_length: 64 } }, 'mixed-lengths');
  const text = (length: number): string => Array(length - 2).fill('music').join(' ');
  writeFileSync(join(folder, 'train.jsonl'), [...Array<number>(20).fill(40), ...Array<number>(20).fill(32), 64].map((length, i) => JSON.stringify({ text: text(length), label: i % 2 ? 'no' : 'yes' })).join('\n'));
  const { train } = prepare(readExperimentFile(file), null, SILENT);
  assert.deepEqual([0, 20, 40].map(i => tokensOf(train.get(i))), [40, 32, 64]);
  let found: MemoryMeasurement | undefined;
  const tokens = await portionsOf(async () => { found = await measureMemory({ experiment_file: file }); });
  assert.deepEqual([found!.longest, found!.rows, tokens], [64, 41, [12 * 40, 3 * 40 + 64, 16 * 32]]);
}));

test('a portion is filled from whatever length leaves the least room, with no more examples than a batch has', () => {
  const sets = (lengths: number[], rows: Uint32Array[] | null = null) => ({ rows, train: { length: lengths.length, get: (i: number) => ({ input_ids: new Int32Array(lengths[i]), token_type_ids: null, label: 0 }) } });
  const of = (lengths: number[], size: number, rows: Uint32Array[] | null = null): number[][] => largestBatches(sets(lengths, rows), size, 512).map(batch => batch.map(i => lengths[i]));
  const mixed = [...Array<number>(16).fill(300), ...Array<number>(16).fill(128)];
  assert.deepEqual(of(mixed, 16), [Array(16).fill(300), [128, 128, 128, 128]]);
  assert.deepEqual(of(mixed, 2), [[300, 300], [300, 128]], 'two texts of 128 tokens are less');
  assert.deepEqual(of([700, 600, 200], 2), [[700, 600], [200]]);
  assert.deepEqual(of([60, 50, 40], 2), [[60, 50]], 'all at once');
  assert.deepEqual(of([700], 4), [[700]]);
  const rows = [Uint32Array.of(0, 1), Uint32Array.of(2, 3), Uint32Array.of(4)];
  assert.deepEqual(of([300, 200, 60, 60, 400], 1, rows), [[400], [300, 200]], 'of packed rows the longest text and the most tokens');
  assert.deepEqual(of([300, 200, 60, 60, 400], 2, rows)[1], [300, 200, 400]);
});

test('one step on the longest examples leaves nothing behind', () => inTemporaryFolder(async folder => {
  cpSync(fixture('references', 'mixed-lengths'), folder, { recursive: true });
  const file = join(folder, 'case.lora.json');
  const { train } = prepare(readExperimentFile(file), null, SILENT);
  const before = readdirSync(folder, { recursive: true });
  const { device, longest, device_memory_bytes } = await measureMemory({ experiment_file: file });
  assert.equal(longest, Math.max(...Array.from({ length: train.length }, (_, i) => tokensOf(train.get(i)))));
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
  const { dropout, heads, data_bytes } = inspect({ hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 });
  // Of the last layer only first tokens are computed.
  const layers = given.num_hidden_layers - 1;
  assert.equal(heads, 4);
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
