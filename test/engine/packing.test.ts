/** Packed rows: the same losses and gradients as the examples by themselves, and whole runs of them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packRows } from '../../src/engine/data/packing';
import type { Example, TrainingStep } from '../../src/engine/training/step.types';
import { assertClose } from '../support/close';
import { noisyStep } from '../support/compareSteps';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, readMetrics, startRun, trainRecords } from '../support/runs';
import { openSoftwareGpu } from '../support/softwareGpu';
import { TINY_DECODERS, tinyDecoder, tinyTexts } from '../support/tinyDecoders';

const TEXTS = tinyTexts([5, 9, 3, 16, 2, 7, 11, 4]);
const ROWS = packRows(TEXTS.map(text => text.input_ids.length), 20).map(row => Array.from(row, i => TEXTS[i]));
const LORA = { r: 3, lora_alpha: 5, target_modules: 'all-linear' };

/** Loss of one optimizer step over batches, and what it made of the gradient. */
async function stepOver(step: TrainingStep, batches: Example[][]): Promise<{ loss: number; grad_norm: number; exp_avg: Float32Array }> {
  const count = batches.reduce((sum, batch) => sum + step.count(batch), 0);
  let loss = 0;
  for (const batch of batches) loss += (await step.accumulate(batch, 1 / count, null)).loss;
  const { grad_norm } = await step.update({ learning_rate: 1e-2, step: 1 });
  return { loss, grad_norm, exp_avg: (await step.state()).exp_avg };
}

async function assertSameAsAlone(config: Record<string, unknown>, device: string): Promise<void> {
  assert.ok(ROWS.length < TEXTS.length / 2);
  const model = tinyDecoder(config, 'CAUSAL_LM');
  const steps = await Promise.all([true, true, false].map(packing => noisyStep(model, { device, lora: LORA, training: { packing } })));
  // Rows as batches of an accumulation window are divided by the targets of the whole window, not row by row.
  const [together, rowByRow, alone] = [await stepOver(steps[0], [ROWS.flat()]), await stepOver(steps[1], ROWS), await stepOver(steps[2], TEXTS.map(text => [text]))];
  for (const packed of [together, rowByRow]) {
    assertClose([packed.loss], [alone.loss], 1e-4, 'loss');
    assertClose([packed.grad_norm], [alone.grad_norm], 1e-4, 'gradient norm');
    assertClose(packed.exp_avg, alone.exp_avg, 1e-3, 'gradient');
  }
  for (const step of steps) await step.dispose();
}

for (const [name, config] of Object.entries(TINY_DECODERS)) {
  for (const device of ['cpu', 'reference']) test(`packed rows give the loss and gradient of their examples one by one: ${name} on ${device}`, () => assertSameAsAlone(config, device));
}

test('packed rows on WebGPU', async t => {
  const opened = await openSoftwareGpu();
  if ('reason' in opened) return t.skip(opened.reason);
  try { for (const name of ['gpt2', 'gemma2 with windows']) await assertSameAsAlone(TINY_DECODERS[name], 'webgpu'); } finally { await opened.device.dispose(); }
});

test('examples of a row do not see each other: joined into one text they would give another loss', async () => {
  const step = await noisyStep(tinyDecoder(TINY_DECODERS.llama, 'CAUSAL_LM'), { lora: LORA, training: { packing: true }, train: false });
  const [first, second] = ROWS[0];
  const join = (key: 'input_ids' | 'targets'): Int32Array => Int32Array.from([...first[key]!, ...second[key]!]);
  const [row, joined] = [await step.evaluate([first, second]), await step.evaluate([{ ...first, input_ids: join('input_ids'), targets: join('targets') }])];
  assert.ok(Math.abs(row.loss - joined.loss) > 1e-2);
  await step.dispose();
});

const PACKED = { packing: true, max_length: 48, shuffle: true, per_device_train_batch_size: 2, gradient_accumulation_steps: 2, max_steps: -1, num_train_epochs: 2, eval_strategy: 'epoch', save_strategy: 'no' };

test('a packed run counts rows, learns every token once an epoch, and resumes exactly', () => inTemporaryFolder(async folder => {
  const rows: string[] = [];
  const file = copyCase(join(folder, 'whole'), { lora: { lora_dropout: 0.1 }, training: PACKED }, 'gpt2-text');
  const summary = await startRun(file, { log: ({ message }) => rows.push(message) }).ended;
  const [, examples, count] = /^(\d+) training examples in (\d+) rows of up to 48 tokens/.exec(rows.find(message => /rows of up to/.test(message))!)!.map(Number);
  assert.ok(count < examples);
  assert.equal(summary.steps, 2 * Math.ceil(Math.ceil(count / 2) / 2));
  assert.equal(summary.epochs, 2);
  const unpacked = copyCase(join(folder, 'unpacked'), { training: { ...PACKED, packing: false } }, 'gpt2-text');
  await startRun(unpacked).ended;
  const tokens = (name: string): number => trainRecords(join(folder, name, 'run')).at(-1)!.tokens;
  assert.equal(tokens('whole'), tokens('unpacked'));
  const exact = (record: object) => ({ ...record, time: 0, tokens_per_second: 0, eval_runtime: 0 });
  for (const stop of [1, 3]) {
    const again = copyCase(join(folder, `stop-${stop}`), { lora: { lora_dropout: 0.1 }, training: PACKED }, 'gpt2-text');
    await startRun(again, { onStep: ({ step }, control) => { if (step === stop) control.want('stop'); } }).ended;
    await startRun(again, { resume: true }).ended;
    assert.deepEqual(readMetrics(join(folder, `stop-${stop}/run`)).map(exact), readMetrics(join(folder, 'whole/run')).map(exact));
    const adapter = (name: string): Buffer => readFileSync(join(folder, name, 'run/adapter/adapter_model.safetensors'));
    assert.ok(adapter(`stop-${stop}`).equals(adapter('whole')));
  }
}));

test('the states of frozen layers that are kept change nothing in a packed run', () => inTemporaryFolder(async folder => {
  const losses = await Promise.all(['auto', 'off'].map(async prefix_cache => {
    await startRun(copyCase(join(folder, prefix_cache), { lora: { layers_to_transform: [1], target_modules: ['c_attn'] }, training: { ...PACKED, num_train_epochs: 3 }, engine: { prefix_cache } }, 'gpt2-text')).ended;
    return trainRecords(join(folder, prefix_cache, 'run')).map(({ loss }) => loss as number);
  }));
  assertClose(losses[0], losses[1], 1e-5, 'losses');
}));

test('a batch of all rows is the batch of all examples: the same losses step by step, and the same evaluation', () => inTemporaryFolder(async folder => {
  const all = { max_length: 48, per_device_train_batch_size: 1000, gradient_accumulation_steps: 1, max_steps: 4, eval_strategy: 'steps', eval_steps: 4, save_strategy: 'no' };
  const records = await Promise.all([true, false].map(async packing => {
    const name = `packing-${packing}`;
    await startRun(copyCase(join(folder, name), { training: { ...all, packing } }, 'gpt2-completion')).ended;
    return readMetrics(join(folder, name, 'run'));
  }));
  const losses = records.map(run => run.map(record => ('eval_loss' in record ? record.eval_loss : record.loss) as number));
  assert.equal(losses[0].length, 5);
  assertClose(losses[0], losses[1], 1e-4, 'losses');
}));
