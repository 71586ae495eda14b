/** What config.json of a decoder must say, and what is refused by name instead of being ignored. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { familyOf, modelOf, usualTask } from '../../src/engine/model/loadModel';
import { families } from '../../src/engine/model/families';
import { planAdapter } from '../../src/engine/model/lora';
import { rotaryOf } from '../../src/engine/model/rotaryConfig';
import { rotaryTables } from '../../src/engine/training/rotaryTables';
import type { Checkpoint } from '../../src/engine/model/checkpoint';
import { settings } from '../support/tinyModel';
import { TINY_DECODERS, tinyDecoder } from '../support/tinyDecoders';

const refusal = (code: string, says: RegExp) => (error: unknown): boolean => {
  assert.ok(error instanceof LabError, String(error));
  assert.equal(error.report.code, code);
  assert.match(`${error.report.where}: ${error.message}`, says);
  return true;
};

test('values that are not supported are refused with their key', () => {
  for (const [name, change, says] of [
    ['llama', { hidden_act: 'gelu_fast' }, /hidden_act.*gelu_fast/],
    ['llama', { rope_scaling: { rope_type: 'proportional', factor: 2 } }, /rope_type.*proportional/],
    ['llama', { rope_parameters: { full_attention: { rope_type: 'default' } } }, /rope_parameters/],
    ['llama', { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    ['llama', { num_key_value_heads: 3 }, /num_key_value_heads/],
    ['llama', { hidden_size: 18 }, /num_attention_heads/],
    ['phi3', { rope_scaling: { type: 'longrope', short_factor: [1, 2, 3], long_factor: [1, 2, 3] } }, /short_factor/],
    ['qwen2', { layer_types: ['full_attention', 'linear_attention'] }, /layer_types/],
    ['gemma', { use_bidirectional_attention: true }, /use_bidirectional_attention/],
    ['gpt2', { add_cross_attention: true }, /add_cross_attention/],
    ['gpt2', { activation_function: 'mish' }, /activation_function/],
    ['gpt2', { n_head: 3 }, /n_head/],
  ] as const) {
    const config = { ...TINY_DECODERS[name], ...change };
    assert.throws(() => familyOf(config, families, '').parameters(config, 'CAUSAL_LM', 0), refusal('checkpoint.config', says), JSON.stringify(change));
  }
});

test('tasks that an architecture cannot learn, and quantized weights, are refused', () => {
  const open = (config: Record<string, unknown>, task: string): unknown => modelOf({ folder: '/model', config, tensors: new Map(), files: new Map(), sharded: false, fingerprint: '' } as Checkpoint, { task, labels: [], seed: 1, families });
  assert.throws(() => open({ model_type: 'bert' }, 'CAUSAL_LM'), refusal('model.task', /bert.*CAUSAL_LM/));
  assert.throws(() => open({ ...TINY_DECODERS.llama, quantization_config: { bits: 4 } }, 'CAUSAL_LM'), refusal('checkpoint.config', /quantization_config/));
  assert.throws(() => familyOf({ model_type: 'mamba' }, families, '/model'), refusal('checkpoint.model-type', /mamba/));
});

test('targets: PEFT\'s defaults, all-linear without the output layer, and none where PEFT has none', () => {
  const targets = (name: string, lora: object, change: object = {}): string[] => {
    const model = tinyDecoder({ ...TINY_DECODERS[name], ...change }, 'CAUSAL_LM');
    return [...new Set(planAdapter(model, settings({ r: 2, ...lora }).lora).modules.map(module => module.name.split('.').at(-1)!))];
  };
  assert.deepEqual(targets('gpt2', {}), ['c_attn']);
  assert.deepEqual(targets('llama', {}), ['q_proj', 'v_proj']);
  assert.deepEqual(targets('llama', { target_modules: 'all-linear' }), ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']);
  assert.deepEqual(targets('llama', { target_modules: ['lm_head'] }), ['lm_head']);
  assert.throws(() => targets('phi3', {}), refusal('lora.no-default', /target_modules.*no default/));
  assert.throws(() => targets('llama', { target_modules: ['lm_head'] }, { tie_word_embeddings: true }), refusal('lora.target-tied', /lm_head is model\.embed_tokens in this model \(tie_word_embeddings\)/));
  assert.throws(() => targets('gpt2', { target_modules: '.*(c_attn|lm_head)' }), refusal('lora.target-tied', /transformer\.wte/));
  assert.deepEqual(targets('gpt2', { target_modules: '.*(c_attn|lm_head)', exclude_modules: ['lm_head'] }), ['c_attn']);
  for (const saved of ['embed_tokens', 'lm_head']) assert.throws(() => targets('llama', { modules_to_save: [saved] }, { tie_word_embeddings: true }), refusal('lora.modules-to-save', new RegExp(`"${saved}".*tie_word_embeddings`)));
  assert.throws(() => targets('llama', { modules_to_save: ['attn'] }), refusal('lora.modules-to-save', /"attn" trains model\.layers\.0\.self_attn\.q_proj whole/));
});

test('the task that a checkpoint is stored for', () => {
  const task = (model_type: string, architecture: string): string => usualTask({ architectures: [architecture] }, familyOf({ model_type }, families, ''));
  assert.deepEqual([task('gpt2', 'GPT2LMHeadModel'), task('gpt2', 'GPT2ForSequenceClassification'), task('llama', 'LlamaModel'), task('bert', 'BertForMaskedLM')], ['CAUSAL_LM', 'SEQ_CLS', 'CAUSAL_LM', 'SEQ_CLS']);
});

const rotaryFrequencies = (config: Record<string, unknown>, head_dim: number): Float32Array => rotaryOf(config, head_dim).frequencies;

test('angles of rotary embedding: default, linear and Llama 3, in old and new spelling', () => {
  const base = { max_position_embeddings: 64 };
  assert.deepEqual([...rotaryFrequencies(base, 4)], [1, Math.fround(0.01)]);
  assert.deepEqual(rotaryFrequencies({ ...base, rope_theta: 500 }, 8), rotaryFrequencies({ ...base, rope_parameters: { rope_type: 'default', rope_theta: 500 } }, 8));
  const linear = rotaryFrequencies({ ...base, rope_scaling: { type: 'linear', factor: 4 } }, 4);
  assert.deepEqual([...linear], [0.25, Math.fround(Math.fround(0.01) / 4)]);
  const scaled = rotaryFrequencies({ ...base, rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 } }, 8);
  const plain = rotaryFrequencies(base, 8);
  // Wave lengths 6, 63, 628 and 6,283: the first is shorter than a quarter of the context of 32, the others are longer than it.
  assert.equal(scaled[0], plain[0]);
  for (const i of [1, 2, 3]) assert.equal(scaled[i], Math.fround(plain[i] / 8));
});

test('YaRN: pairs that turn often stay, slow ones are stretched, and scores grow with the factor', () => {
  const rope = { rope_type: 'yarn', factor: 8, original_max_position_embeddings: 64 };
  const { frequencies, scaling } = rotaryOf({ max_position_embeddings: 512, rope_parameters: { ...rope, beta_fast: 4 } }, 16);
  const plain = rotaryFrequencies({}, 16);
  assert.equal(frequencies[0], plain[0]);
  for (const i of [4, 5, 6, 7]) assert.ok(Math.abs(frequencies[i] - plain[i] / 8) < 1e-6 * plain[i], `pair ${i}`);
  assert.ok(frequencies[1] < plain[1] && frequencies[1] > plain[1] / 8, 'between them');
  assert.ok(Math.abs(scaling - (0.1 * Math.log(8) + 1)) < 1e-12);
  assert.equal(rotaryOf({ rope_parameters: { ...rope, attention_factor: 1.5 } }, 16).scaling, 1.5);
  assert.equal(rotaryOf({ rope_parameters: { ...rope, mscale: 2, mscale_all_dim: 2 } }, 16).scaling, 1);
});

test('LongRoPE takes other angles where the longest example is beyond the original context, under its older names too', () => {
  const config = { model_type: 'phi3', max_position_embeddings: 32, original_max_position_embeddings: 8, rope_scaling: { type: 'su', short_factor: [1, 2], long_factor: [4, 8] } };
  const types = { partial: true, types: ['default', 'longrope'] as const, renamed: { su: 'longrope' } as const, original: 4096 };
  const rotary = rotaryOf(config, 4, types);
  assert.deepEqual([[...rotary.frequencies], [...rotary.long!.frequencies], rotary.long!.beyond], [[1, Math.fround(0.005)], [0.25, Math.fround(0.01 / 8)], 8]);
  assert.ok(Math.abs(rotary.scaling - Math.sqrt(1 + Math.log(4) / Math.log(8))) < 1e-12);
  const second = (positions: number, longest?: number): number => rotaryTables(rotary, positions, longest).rotary_cos.data[2];
  for (const [positions, longest, angle] of [[8, undefined, 1], [9, undefined, 0.25], [4, 9, 0.25], [4, 8, 1]] as const) assert.ok(Math.abs(second(positions, longest) - Math.cos(angle) * rotary.scaling) < 1e-6, `${positions} of ${longest}`);
  assert.throws(() => rotaryOf({ ...config, rope_scaling: { type: 'su', short_factor: [1], long_factor: [4, 8] } }, 4, types), /short_factor.*2 numbers/);
  assert.throws(() => rotaryOf({ ...config, rope_scaling: { type: 'linear', factor: 2 } }, 4, types), /rope_type.*default, longrope/);
});
