/** Start values of A, B and the rest against the distributions that PEFT draws them from. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planAdapter } from '../../src/engine/model/lora';
import { initialTrainables } from '../../src/engine/model/loraStart';
import type { LoraSettings } from '../../src/protocol/experiment';
import { settings, tinyBert } from '../support/tinyModel';

/** Start values of one tensor of the first adapted module, by the end of its key, and the model they are for. */
function start(lora: Partial<LoraSettings>) {
  const model = tinyBert({ hidden_size: 64, intermediate_size: 96 });
  const { lora: full } = settings({ r: 8, lora_alpha: 24, target_modules: ['query'], ...lora });
  const plan = planAdapter(model, full);
  const values = initialTrainables(model, plan, 3, full);
  return { model, value: (suffix: string): Float32Array => { const { offset, size } = plan.trainables.find(t => t.name.endsWith(suffix))!; return values.slice(offset, offset + size); } };
}

const largest = (values: Float32Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const deviation = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
const isUniform = (values: Float32Array, bound: number): void => {
  assert.ok(largest(values) <= bound && largest(values) > 0.9 * bound, `${largest(values)} within ${bound}`);
  assert.ok(Math.abs(deviation(values) / (bound / Math.sqrt(3)) - 1) < 0.15, String(deviation(values)));
};

test('true: A uniform within ±1/√in, all of B zero', () => {
  const { value } = start({ lora_bias: true });
  isUniform(value('lora_A.weight'), 1 / 8);
  assert.equal(largest(value('lora_B.weight')), 0);
  assert.equal(largest(value('lora_B.bias')), 0);
});

test('false: A, B and the bias of B as torch starts any linear layer', () => {
  const { value } = start({ init_lora_weights: false, lora_bias: true });
  isUniform(value('lora_A.weight'), 1 / 8);
  isUniform(value('lora_B.weight'), 1 / Math.sqrt(8));
  isUniform(value('lora_B.bias'), 1 / Math.sqrt(8));
});

test('gaussian: A normal with deviation 1/r', () => {
  const { value } = start({ init_lora_weights: 'gaussian' });
  const A = value('lora_A.weight');
  assert.ok(Math.abs(deviation(A) * 8 - 1) < 0.1);
  assert.ok(largest(A) > 2 * deviation(A), 'has tails');
  assert.equal(largest(value('lora_B.weight')), 0);
});

test('magnitudes start at the lengths of the rows of W + scaling · B A, trained biases where the base has them', () => {
  for (const init_lora_weights of [true, false] as const) {
    const { model, value } = start({ init_lora_weights, use_dora: true, bias: 'lora_only' });
    const { data: W } = model.weights.get('bert.encoder.layer.0.attention.self.query.weight') as { data: Float32Array };
    const [A, B] = [value('lora_A.weight'), value('lora_B.weight')];
    value('lora_magnitude_vector').forEach((magnitude, o) => {
      let square = 0;
      for (let i = 0; i < 64; i++) {
        let w = W[o * 64 + i];
        for (let k = 0; k < 8; k++) w += 3 * B[o * 8 + k] * A[k * 64 + i];
        square += w * w;
      }
      assert.ok(Math.abs(magnitude - Math.sqrt(square)) < 1e-5 * magnitude, `${magnitude}, expected ${Math.sqrt(square)}`);
    });
    const bias = model.weights.get('bert.encoder.layer.0.attention.self.query.bias') as { data: Float32Array };
    assert.deepEqual(value('base_layer.bias'), bias.data);
  }
});

test('keys that LoraConfig does not take together are refused', () => {
  for (const lora of [{ lora_bias: true, use_dora: true }, { lora_bias: true, init_lora_weights: 'gaussian' }] as const) assert.throws(() => start(lora), /lora_bias/);
});
