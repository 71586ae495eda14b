/** Full-size checkpoints with random weights, made on the spot: configurations of real models and tokenizers of made-up words. */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { families } from '../../src/engine/model/families';
import type { Config } from '../../src/engine/model/family';
import { familyOf } from '../../src/engine/model/loadModel';
import { writeSafetensors } from '../../src/engine/model/safetensorsWriter';
import { random } from '../../src/engine/random';

export interface Base {
  task: 'SEQ_CLS' | 'CAUSAL_LM' | 'SEQ_2_SEQ_LM';
  config: Config;
  /** Keys of config.json that hold dropout probabilities. */
  dropout: string[];
}

/** BERT with `layers` layers of width `hidden_size`, heads of 64. */
const bertShape = (layers: number, hidden_size: number, max_position_embeddings = 512): Base => ({
  task: 'SEQ_CLS', dropout: ['hidden_dropout_prob', 'attention_probs_dropout_prob'],
  config: {
    architectures: ['BertForSequenceClassification'], model_type: 'bert', vocab_size: 30522, hidden_size, num_hidden_layers: layers, num_attention_heads: hidden_size / 64, intermediate_size: 4 * hidden_size,
    max_position_embeddings, type_vocab_size: 2, hidden_act: 'gelu', layer_norm_eps: 1e-12, initializer_range: 0.02, pad_token_id: 0,
  },
});

const gpt2Shape = (n_layer: number, n_embd: number, vocab_size: number): Base => ({
  task: 'CAUSAL_LM', dropout: ['resid_pdrop', 'embd_pdrop', 'attn_pdrop'],
  config: {
    architectures: ['GPT2LMHeadModel'], model_type: 'gpt2', vocab_size, n_positions: 1024, n_embd, n_layer, n_head: n_embd / 64, activation_function: 'gelu_new', layer_norm_epsilon: 1e-5, initializer_range: 0.02,
    bos_token_id: 1, eos_token_id: 1,
  },
});

/** With an output layer of its own. */
const untied = ({ config, ...base }: Base): Base => ({ ...base, config: { ...config, tie_word_embeddings: false } });

/** Qwen2 with heads of 64, two of them for keys and values. */
const qwen2Shape = (layers: number, hidden_size: number, intermediate_size: number, vocab_size: number): Base => ({
  task: 'CAUSAL_LM', dropout: ['attention_dropout'],
  config: {
    architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', vocab_size, hidden_size, num_hidden_layers: layers, num_attention_heads: hidden_size / 64, num_key_value_heads: 2, intermediate_size, hidden_act: 'silu',
    max_position_embeddings: 32768, rms_norm_eps: 1e-6, rope_theta: 1e6, tie_word_embeddings: true, initializer_range: 0.02, bos_token_id: 1, eos_token_id: 1, use_sliding_window: false,
  },
});

/** T5 of the first release with heads of 64. */
const t5Shape = (num_layers: number, d_model: number): Base => ({
  task: 'SEQ_2_SEQ_LM', dropout: ['dropout_rate'],
  config: {
    architectures: ['T5ForConditionalGeneration'], model_type: 't5', vocab_size: 32128, d_model, d_kv: 64, d_ff: 4 * d_model, num_layers, num_heads: d_model / 64, relative_attention_num_buckets: 32,
    layer_norm_epsilon: 1e-6, initializer_factor: 1, feed_forward_proj: 'relu', is_encoder_decoder: true, decoder_start_token_id: 0, pad_token_id: 0, eos_token_id: 1,
  },
});

export const BASES = {
  'bert-base': bertShape(12, 768),
  'bert-base-1024': bertShape(12, 768, 1024),
  'bert-medium': bertShape(8, 512),
  'bert-small': bertShape(4, 512),
  'bert-mini': bertShape(4, 256),
  'bert-small-2048': bertShape(4, 512, 2048),
  gpt2: gpt2Shape(12, 768, 50257),
  'gpt2-untied': untied(gpt2Shape(4, 256, 50257)),
  'qwen2-0.5b': qwen2Shape(24, 896, 4864, 151936),
  't5-small': t5Shape(6, 512),
  'bert-tiny': bertShape(2, 64),
  'gpt2-tiny': gpt2Shape(2, 64, 1000),
  'qwen2-tiny': qwen2Shape(2, 128, 256, 1000),
} satisfies Record<string, Base>;
export type BaseName = keyof typeof BASES;

/** How the name of what is this process's alone ends. A number alone would not do where containers share /tmp. */
export const OF_THIS_PROCESS = `${hostname()}.${process.pid}`;

/** Words of data: every one is one token. */
export const word = (i: number): string => `w${i}`;
/** How many of them data is made of: fewer than any tokenizer of these bases knows. */
export const wordsOf = ({ vocab_size }: Config): number => Math.min(30000, (vocab_size as number) - BERT_TOKENS.length);

const BLOCK = 1 << 19;

const BERT_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const LANGUAGE_TOKENS = ['<unk>', '<eos>'];

/** Writes the checkpoint, unless one is there, whole or not at all: two benches may make it at the same time. BERT-base takes 438 MB, Qwen2-0.5B 2 GB. */
export async function makeBase(folder: string, { config, task }: Base): Promise<void> {
  if (existsSync(folder)) return;
  const unfinished = `${folder}.${OF_THIS_PROCESS}`;
  mkdirSync(unfinished);
  const stream = random(0, 'bench-weights');
  // Drawing half a billion numbers one by one takes longer than what is to be measured.
  const pool = Float32Array.from({ length: 2 * BLOCK }, () => 0.02 * stream.normal());
  const tensors = familyOf(config, families, folder).parameters(config, task, 2).map(({ name, shape, init }) => ({
    name, shape, dtype: 'F32' as const,
    data: function* (): Generator<Float32Array> {
      let size = shape.reduce((product, n) => product * n, 1);
      if (init !== 'normal') {
        yield new Float32Array(size).fill(init === 'ones' ? 1 : 0);
        return;
      }
      for (; size > 0; size -= BLOCK) {
        const begin = Math.floor(stream.next() * BLOCK);
        yield pool.slice(begin, begin + Math.min(size, BLOCK));
      }
    },
  }));
  await writeSafetensors(join(unfinished, 'model.safetensors'), tensors, { format: 'pt' });
  writeTokenizer(unfinished, config, task);
  writeFileSync(join(unfinished, 'config.json'), JSON.stringify(config));
  try { renameSync(unfinished, folder); } catch (error) {
    // Another one was faster.
    if (!existsSync(folder)) throw error;
    rmSync(unfinished, { recursive: true, force: true });
  }
}

/** A BERT's `vocab.txt`, or a tokenizer that takes every word between spaces whole. */
function writeTokenizer(folder: string, config: Config, task: Base['task']): void {
  const special = task === 'SEQ_CLS' ? BERT_TOKENS : LANGUAGE_TOKENS;
  const tokens = [...special, ...Array.from({ length: (config.vocab_size as number) - special.length }, (_, i) => word(i))];
  if (task === 'SEQ_CLS') return writeFileSync(join(folder, 'vocab.txt'), tokens.join('\n'));
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({
    version: '1.0', truncation: null, padding: null, normalizer: null, pre_tokenizer: { type: 'WhitespaceSplit' }, post_processor: null, decoder: null,
    added_tokens: special.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    model: { type: 'WordPiece', unk_token: '<unk>', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: Object.fromEntries(tokens.map((token, id) => [token, id])) },
  }));
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', unk_token: '<unk>', eos_token: '<eos>', clean_up_tokenization_spaces: false }));
}
