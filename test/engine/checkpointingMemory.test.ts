/** What a whole process needs, beside what the formula says and what one step told before: with `gradient_checkpointing` and without. */
import assert from 'node:assert/strict';
import { fork, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter } from 'vscode-jsonrpc/node';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { inspectCheckpoint } from '../../src/engine/inspect';
import type { MemoryMeasurement } from '../../src/protocol/engine';
import type { Summary } from '../../src/protocol/metrics';
import { estimateMemory, type MemoryEstimate } from '../../src/protocol/memoryEstimate';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { makeBase, word } from '../bench/bases';

const LENGTH = 512;
/** Sixteen layers of width 256: what they keep for the backward pass outweighs all else. Of a table of embeddings only the rows that texts use come into memory, so it has few others. */
const DEEP = {
  task: 'SEQ_CLS' as const, dropout: [],
  config: {
    architectures: ['BertForSequenceClassification'], model_type: 'bert', vocab_size: 1000, hidden_size: 256, num_hidden_layers: 16, num_attention_heads: 4, intermediate_size: 1024, max_position_embeddings: LENGTH,
    type_vocab_size: 2, hidden_act: 'gelu', layer_norm_eps: 1e-12, initializer_range: 0.02, pad_token_id: 0, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0,
  },
};

/** Without the tests' source maps of the bundles, which nobody else's process reads: they take 18 MB. */
const env = { ...process.env, NODE_OPTIONS: '' };

/** As the editor measures: in an engine of its own. */
async function measured(experiment_file: string): Promise<MemoryMeasurement> {
  const child = fork(built('engine/main.js'), [], { env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
  try {
    connection.listen();
    return await connection.sendRequest<MemoryMeasurement>('measure', { experiment_file });
  } finally {
    child.kill('SIGKILL');
    connection.dispose();
  }
}

test('recomputed activations take the memory that the formula says, and give the same losses', () => inTemporaryFolder(async folder => {
  await makeBase(join(folder, 'model'), DEEP);
  const text = Array.from({ length: LENGTH - 2 }, (_, i) => word(i)).join(' ');
  writeFileSync(join(folder, 'train.jsonl'), [0, 1, 0, 1].map(label => JSON.stringify({ text, label })).join('\n'));
  const train = async (gradient_checkpointing: boolean): Promise<{ summary: Summary; estimate: MemoryEstimate; step: MemoryMeasurement }> => {
    const file = join(folder, `recomputed-${gradient_checkpointing}.lora.json`);
    writeFileSync(file, JSON.stringify({
      base_model: 'model', dataset: { train: 'train.jsonl' }, lora: { target_modules: ['query', 'value'] }, engine: { device: 'cpu' }, output_dir: `run-${gradient_checkpointing}`,
      training: { per_device_train_batch_size: 1, max_steps: 4, max_length: LENGTH, eval_strategy: 'no', save_strategy: 'no', gradient_checkpointing },
    }));
    const { status, stdout, stderr } = spawnSync(process.execPath, [built('engine/cli.js'), 'train', file], { env, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    const { experiment } = readExperimentFile(file);
    return { step: await measured(file), summary: JSON.parse(stdout) as Summary, estimate: estimateMemory(inspectCheckpoint({ folder: join(folder, 'model'), task: 'SEQ_CLS' }), experiment) };
  };
  const [plain, recomputed] = [await train(false), await train(true)];
  assert.ok(Math.abs(recomputed.summary.train_loss / plain.summary.train_loss - 1) < 1e-5, `${recomputed.summary.train_loss}, ${plain.summary.train_loss}`);
  const saved = plain.summary.peak_memory_bytes - recomputed.summary.peak_memory_bytes;
  const said = plain.estimate.total - recomputed.estimate.total;
  assert.ok(said > 8e7, `${said}`);
  assert.ok(Math.abs(saved / said - 1) < 0.2, `saved ${saved}, the formula says ${said}`);
  for (const { summary: { peak_memory_bytes: needed }, estimate, step } of [plain, recomputed]) {
    // Four steps leave JavaScript nothing to clear away.
    const said = estimate.total - estimate.beside;
    assert.ok(Math.abs(said / needed - 1) < 0.1, `${said}, the run took ${needed}`);
    assert.ok(Math.abs(step.peak_memory_bytes / needed - 1) < 0.1, `one step took ${step.peak_memory_bytes}, the run ${needed}`);
  }
}));
