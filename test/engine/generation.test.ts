/** Writing with kept keys and values: the same logits as reading the whole text again, in every architecture, on every executor. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { Generator } from '../../src/engine/generation/generator';
import { KeyValueCache } from '../../src/engine/generation/keyValueCache';
import { initialTrainables, planAdapter } from '../../src/engine/model/lora';
import { random } from '../../src/engine/random';
import { createTrainingStep } from '../../src/engine/training/step';
import { assertClose } from '../support/close';
import { openSoftwareGpu } from '../support/softwareGpu';
import { TINY_DECODERS, tinyDecoder } from '../support/tinyDecoders';
import { settings } from '../support/tinyModel';
import { TINY_T5 } from '../support/tinyT5';

const CASES = { ...TINY_DECODERS, ...TINY_T5 };
/** Tokens of the texts at first, and passes after them; the second text ends after the third pass. */
const [LENGTHS, PASSES, ENDS] = [[5, 9, 1], 6, 3];

let held: CompiledProgram | undefined;
after(async () => held?.dispose());

interface Options { device?: string; lora?: object; passes?: number; tolerance?: number }

/** Writes random tokens side by side and compares the logits of each pass with those of the whole texts so far. */
async function assertSameLogits(config: Record<string, unknown>, { device = 'cpu', lora = {}, passes = PASSES, tolerance = 1e-5 }: Options = {}): Promise<void> {
  const seq2seq = config.d_model !== undefined;
  const model = tinyDecoder(config, seq2seq ? 'SEQ_2_SEQ_LM' : 'CAUSAL_LM');
  const { lora: adapter, training } = settings({ r: 3, lora_alpha: 5, target_modules: 'all-linear', ...lora });
  const plan = planAdapter(model, adapter);
  const noise = random(3, 'noise');
  const trainables = initialTrainables(model, plan, 7).map(value => value + 0.1 * noise.normal());
  const generator = await Generator.create({ model, plan, trainables, device });
  const whole = await createTrainingStep({ model, plan, lora: adapter, training, device: device === 'webgpu' ? 'cpu' : device, trainables, train: false, read: 'last' });
  const tokens = (count: number): number[] => Array.from({ length: count }, () => Math.floor(noise.next() * 40));
  const sources = LENGTHS.map(length => (seq2seq ? Int32Array.from(tokens(length)) : new Int32Array(0)));
  const texts = LENGTHS.map(length => ({ ids: seq2seq ? [0] : tokens(length) }));
  const batch = await generator.begin(sources);
  let open = texts.map((_, i) => i);
  let fresh = texts.map(({ ids }) => ids);
  for (let pass = 0; pass < passes; pass++) {
    const logits = await batch.next(fresh);
    for (const [row, i] of open.entries()) {
      const ids = Int32Array.from(texts[i].ids);
      const example = { input_ids: seq2seq ? sources[i] : ids, token_type_ids: null, label: 0, ...(seq2seq ? { decoder_input_ids: ids } : {}) };
      const expected = (await whole.evaluate([example])).logits;
      assertClose(logits.subarray(row * 40, (row + 1) * 40), expected, tolerance, `text ${i}, pass ${pass}`);
    }
    if (pass === ENDS) {
      open = [0, 2];
      batch.keep(open);
    }
    fresh = open.map(() => tokens(1));
    open.forEach((i, row) => texts[i].ids.push(...fresh[row]));
  }
  await generator.dispose();
  await whole.dispose();
}

for (const [name, config] of Object.entries(CASES)) {
  test(`${name}: logits of kept keys and values are those of the whole text`, async () => {
    await assertSameLogits(config);
    await assertSameLogits(config, { device: 'reference' });
  });
}

test('DoRA, biases and texts longer than one block of the cache', async () => {
  await assertSameLogits({ ...TINY_DECODERS.llama, max_position_embeddings: 200 }, { lora: { use_dora: true, target_modules: ['q_proj', 'v_proj', 'up_proj'] }, passes: 70 });
  await assertSameLogits({ ...TINY_DECODERS.gpt2, n_positions: 200 }, { lora: { lora_bias: true, bias: 'all', target_modules: ['c_attn'] }, passes: 70 });
  await assertSameLogits(TINY_T5['t5 v1.0'], { passes: 70 });
});

test('on WebGPU', async t => {
  const found = await openSoftwareGpu();
  if ('reason' in found) return t.skip(found.reason);
  held = found.device;
  for (const name of ['gpt2', 'llama', 'mistral with a window', 'gemma2 with windows', 't5 v1.0']) await assertSameLogits(CASES[name], { device: 'webgpu', passes: 3, tolerance: 1e-4 });
});

test('one pass reads the new tokens alone, and a cache holds no more than a block beyond its texts', () => {
  const cache = new KeyValueCache(2, { layers: 1, heads: 1, head_dim: 2 });
  const fresh = (S: number, value: number) => ({ keys_0: new Float32Array(2 * S * 2).fill(value), values_0: new Float32Array(2 * S * 2).fill(-value) });
  cache.append(fresh(60, 1), [60, 3]);
  cache.append(fresh(1, 2), [1, 1]);
  assert.deepEqual([cache.lengths, cache.slots], [[61, 4], 64]);
  const keys = cache.feeds().past_keys_0;
  assert.deepEqual(keys.shape, [2, 1, 64, 2]);
  assert.deepEqual([keys.data[119], keys.data[120], keys.data[122], keys.data[128 + 5], keys.data[128 + 6], keys.data[128 + 8]], [1, 2, 0, 1, 2, 0]);
  cache.append(fresh(4, 3), [4, 4]);
  cache.keep([1]);
  assert.deepEqual([cache.lengths, cache.slots, cache.feeds().past_values_0.data[8], cache.feeds().past_values_0.data[16]], [[8], 128, -3, 0]);
});
