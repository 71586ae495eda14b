/** What the commands for target modules choose among, on models of every family. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { isAttention, kindsOf, toggled } from '../../src/extension/moduleChoices';
import { MODEL_TYPES } from '../../src/protocol/modelTypes';
import { fixture } from '../support/paths';

const modulesOf = (name: string) => inspectCheckpoint({ folder: fixture('references', name, 'model'), task: null }).modules.filter(module => module.adaptable);

const BERT = ['attention.self.query', 'attention.self.key', 'attention.self.value', 'attention.output.dense'];
const LLAMA = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj'];
const T5 = ['SelfAttention.q', 'SelfAttention.k', 'SelfAttention.v', 'SelfAttention.o', 'EncDecAttention.q', 'EncDecAttention.k', 'EncDecAttention.v', 'EncDecAttention.o'];
/** The attention layers of each model_type, with a checkpoint of it. */
const ATTENTION: Record<string, [checkpoint: string, names: string[]]> = {
  bert: ['linear', BERT], roberta: ['roberta', BERT], electra: ['electra', BERT],
  distilbert: ['distilbert', ['attention.q_lin', 'attention.k_lin', 'attention.v_lin', 'attention.out_lin']],
  gpt2: ['gpt2-text', ['attn.c_attn', 'attn.c_proj']],
  llama: ['llama-text', LLAMA], mistral: ['mistral-text', LLAMA], qwen2: ['qwen2-completion', LLAMA], qwen3: ['qwen3-completion', LLAMA], gemma: ['gemma-text', LLAMA], gemma2: ['gemma2-completion', LLAMA],
  phi3: ['phi3-text', ['self_attn.qkv_proj', 'self_attn.o_proj']],
  t5: ['t5-qv', T5], mt5: ['mt5-qkv', T5],
};

test('the attention layers of every family are its projections, and nothing else', () => {
  assert.deepEqual(Object.keys(ATTENTION).sort(), Object.keys(MODEL_TYPES).sort());
  for (const [type, [checkpoint, names]] of Object.entries(ATTENTION)) {
    const found = modulesOf(checkpoint).filter(isAttention).map(({ name }) => name.replace(/^.*\.\d+\./, ''));
    assert.deepEqual([...new Set(found)], names, type);
  }
});

test('a kind that nobody touches keeps the modules that are ticked, and says how many', () => {
  const modules = modulesOf('linear');
  const ticked = new Set(modules.map(({ name }) => name).filter(name => /query|layer\.0\.attention\.self\.key/.test(name)));
  const kinds = kindsOf(modules, ticked);
  const kind = (label: string) => kinds.find(found => found.label === label)!;
  assert.deepEqual([kind('attention.self.query'), kind('attention.self.key'), kind('attention.self.value')].map(({ picked }) => picked), [true, false, false]);
  assert.match(kind('attention.self.key').description, /^2 × \[\d+, \d+\] · 1 of 2 adapted$/);
  assert.match(kind('attention.self.query').description, /^2 × \[\d+, \d+\]$/);
  const after = toggled([kind('attention.self.query'), kind('attention.self.value')], ticked);
  assert.deepEqual([...after].map(name => name.replace(/^.*layer\./, '')).sort(), ['0.attention.self.key', '0.attention.self.value', '1.attention.self.value']);
});
