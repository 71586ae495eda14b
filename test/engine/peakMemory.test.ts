/** The peak of a run with rounded weights that is compared with float32: what it needs itself, and not what the comparison took before it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { forgetExactStep, peakMemory } from '../../src/engine/peakMemory';
import type { Summary } from '../../src/protocol/metrics';
import { inTemporaryFolder } from '../support/faults';
import { without } from '../support/integerProducts';
import { built } from '../support/paths';
import { makeBase, word } from '../bench/bases';

/** BERT-base with few words: 680 MB of packed weights in float32, a quarter of that in int8. */
const WIDE = {
  task: 'SEQ_CLS' as const, dropout: [],
  config: {
    architectures: ['BertForSequenceClassification'], model_type: 'bert', vocab_size: 2000, hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 3072, max_position_embeddings: 64,
    type_vocab_size: 2, hidden_act: 'gelu', layer_norm_eps: 1e-12, initializer_range: 0.02, pad_token_id: 0, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0,
  },
};

test('a run in int8 that is compared with fp32 tells the peak that it has without the comparison, or that it cannot', without('int8'), () => inTemporaryFolder(async folder => {
  await makeBase(join(folder, 'model'), WIDE);
  const text = Array.from({ length: 30 }, (_, i) => word(i)).join(' ');
  writeFileSync(join(folder, 'train.jsonl'), [0, 1, 0, 1].map(label => JSON.stringify({ text, label })).join('\n'));
  const train = (name: string, engine: object): Summary => {
    const file = join(folder, `${name}.lora.json`);
    writeFileSync(file, JSON.stringify({
      base_model: 'model', dataset: { train: 'train.jsonl' }, lora: { target_modules: ['query', 'value'] }, engine: { device: 'cpu', ...engine }, output_dir: name,
      training: { per_device_train_batch_size: 4, max_steps: 3, max_length: 64, eval_strategy: 'no', save_strategy: 'no' },
    }));
    const { status, stdout, stderr } = spawnSync(process.execPath, [built('engine/cli.js'), 'train', file], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout) as Summary;
  };
  const [exact, alone, compared] = [train('fp32', {}), train('alone', { precision: 'int8', compare_precision: 'off' }), train('compared', { precision: 'int8' })];
  assert.ok(compared.first_step && !alone.first_step);
  assert.ok(exact.peak_memory_bytes - alone.peak_memory_bytes > 8e7, `${exact.peak_memory_bytes}, ${alone.peak_memory_bytes}`);
  if (process.platform !== 'linux') return assert.equal(compared.peak_with_fp32, true);
  assert.equal(compared.peak_with_fp32, undefined);
  const more = compared.peak_memory_bytes - alone.peak_memory_bytes;
  // Freed memory that the allocator keeps is a part of it.
  assert.ok(more < 0.25 * (exact.peak_memory_bytes - alone.peak_memory_bytes), `${more} more than ${alone.peak_memory_bytes}, in fp32 ${exact.peak_memory_bytes}`);
}));

test('where the system does not forget a peak, the summary says what it counts, until it does', () => {
  forgetExactStep(join(built('engine'), 'no', 'such', 'file'));
  assert.equal(peakMemory().peak_with_fp32, true);
  if (process.platform !== 'linux') return;
  forgetExactStep();
  assert.equal('peak_with_fp32' in peakMemory(), false);
});
