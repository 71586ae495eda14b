/** The checkpoint, data and experiment of one row of the bench. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bert } from '../../src/engine/model/bert';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { random } from '../../src/engine/random';
import type { Row } from './rows';

const BERT_BASE = {
  architectures: ['BertForSequenceClassification'], model_type: 'bert', vocab_size: 30522, hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 3072,
  max_position_embeddings: 512, type_vocab_size: 2, hidden_act: 'gelu', layer_norm_eps: 1e-12, initializer_range: 0.02, pad_token_id: 0,
};
const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];

/** Writes a bert-base of random weights, unless one is there. 438 MB. */
export async function makeBert(folder: string): Promise<void> {
  if (existsSync(folder)) return;
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished);
  const tensors = bert.parameters(BERT_BASE, 'SEQ_CLS', 2).map(({ name, shape, init }) => ({
    name, shape, dtype: 'F32' as const,
    data: function* () {
      const size = shape.reduce((product, n) => product * n, 1);
      const stream = random(0, name);
      yield Float32Array.from({ length: size }, () => (init === 'normal' ? 0.02 * stream.normal() : init === 'ones' ? 1 : 0));
    },
  }));
  await writeSafetensors(join(unfinished, 'model.safetensors'), tensors, { format: 'pt' });
  writeFileSync(join(unfinished, 'vocab.txt'), [...SPECIAL, ...Array.from({ length: BERT_BASE.vocab_size - SPECIAL.length }, (_, i) => `w${i}`)].join('\n'));
  writeFileSync(join(unfinished, 'config.json'), JSON.stringify(BERT_BASE));
  renameSync(unfinished, folder);
}

/** Writes data, start adapter settings and experiment. Dropout of the base stands in its config.json. */
export function writeRow(folder: string, row: Row): void {
  const words = random(2, 'bench-words');
  const lines = row.lengths.map((length, i) => JSON.stringify({ text: Array.from({ length: length - 2 }, () => `w${Math.floor(words.next() * 30000)}`).join(' '), label: i % 2 }));
  writeFileSync(join(folder, 'train.jsonl'), `${lines.join('\n')}\n`);
  writeFileSync(join(folder, 'bert-base/config.json'), JSON.stringify({ ...BERT_BASE, hidden_dropout_prob: row.dropout, attention_probs_dropout_prob: row.dropout }));
  writeFileSync(join(folder, 'bench.lora.json'), JSON.stringify({
    base_model: 'bert-base', task: 'SEQ_CLS', dataset: { train: 'train.jsonl' },
    lora: { r: 8, lora_alpha: 16, target_modules: row.target_modules, lora_dropout: row.dropout },
    training: {
      per_device_train_batch_size: row.batch, max_steps: row.steps, learning_rate: 5e-4, lr_scheduler_type: 'constant', shuffle: false, max_length: 128, save_strategy: 'no', eval_strategy: 'no',
    },
    engine: { device: 'cpu' }, output_dir: 'run',
  }, null, 2));
}
