import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LabError } from '../../src/engine/errors';
import { nodeFileSystem, useFileSystem } from '../../src/engine/files';
import { writeAdapter } from '../../src/engine/model/adapter';
import { bert } from '../../src/engine/model/bert';
import { openCheckpoint } from '../../src/engine/model/checkpoint';
import { toBF16, toF16 } from '../../src/engine/model/floats';
import { loadModel } from '../../src/engine/model/loadModel';
import { planAdapter } from '../../src/engine/model/lora';
import { mergeAdapter } from '../../src/engine/model/merge';
import { readTensor, type DType } from '../../src/engine/model/safetensors';
import { random } from '../../src/engine/random';
import type { LoraSettings } from '../../src/protocol/experiment';
import { oldNames, withoutPrefix, writeCheckpoint, type CheckpointOptions } from '../support/checkpoints';
import { inTemporaryFolder, snapshot, withFault } from '../support/faults';
import { settings } from '../support/tinyModel';

const families = [bert];
const LABELS = ['bad', 'good', 'mixed'];
const isProblem = (code: string) => (error: unknown): boolean => error instanceof LabError && error.report.code === code;

async function prepare(folder: string, options: CheckpointOptions = {}, given: Partial<LoraSettings> = {}, scale = 1) {
  const base = join(folder, 'model');
  await writeCheckpoint(base, { labels: LABELS, ...options });
  const model = loadModel(base, { task: 'SEQ_CLS', labels: LABELS, seed: 1, families });
  const { lora } = settings({ r: 4, lora_alpha: 8, ...given });
  const plan = planAdapter(model, lora);
  const generator = random(5, 'values');
  const trainables = Float32Array.from({ length: plan.trainable_parameters }, () => scale * generator.normal());
  const adapter = join(folder, 'adapter');
  await writeAdapter(adapter, { model, plan, lora, trainables, labels: LABELS });
  /** What each merged weight must be, in double precision. */
  const expected = new Map<string, Float64Array>();
  const part = (name: string): Float32Array => { const { offset, size } = plan.trainables.find(t => t.name === `base_model.model.${name}`)!; return trainables.subarray(offset, offset + size); };
  for (const { name, r, in_features, out_features, scaling } of plan.modules) {
    const weight = model.weights.get(`${name}.weight`)!;
    assert.ok(weight.source === 'file');
    const [W, A, B] = [readTensor(weight.ref), part(`${name}.lora_A.weight`), part(`${name}.lora_B.weight`)];
    expected.set(`${name}.weight`, Float64Array.from(W, (w, at) => {
      const [o, i] = [Math.floor(at / in_features), at % in_features];
      let sum = 0;
      for (let k = 0; k < r; k++) sum += B[o * r + k] * A[k * in_features + i];
      assert.ok(o < out_features);
      return w + scaling * sum;
    }));
  }
  for (const name of ['classifier.weight', 'classifier.bias']) expected.set(name, Float64Array.from(part(name)));
  return { base, adapter, out: join(folder, 'merged'), model, expected, plan };
}

const ROUND: Partial<Record<DType, (values: Float32Array) => ArrayLike<number>>> = { F32: x => x, F16: toF16, BF16: toBF16 };

test('merged weights are W + BA rounded once, everything else is as it was; in every layout and type', async () => {
  const layouts: [CheckpointOptions, Partial<LoraSettings>][] = [
    [{}, {}], [{ shards: 3 }, { rank_pattern: { value: 2 }, alpha_pattern: { 'layer.1.*query': 3 } }], [{ stored: withoutPrefix }, { target_modules: 'all-linear' }],
    [{ stored: oldNames, shards: 2 }, { target_modules: ['output.dense'] }], [{ dtype: 'F16' }, {}], [{ dtype: 'BF16', shards: 2 }, {}],
  ];
  for (const [options, lora] of layouts) {
    await inTemporaryFolder(async folder => {
      const { base, adapter, out, model, expected, plan } = await prepare(folder, options, lora);
      writeFileSync(join(base, 'pytorch_model.bin'), 'x');
      writeFileSync(join(base, 'tokenizer.json'), '{"a":1}');
      mkdirSync(join(base, '1_Pooling'));
      writeFileSync(join(base, '1_Pooling/config.json'), '{}');
      const inputs = snapshot(folder);
      const report = await mergeAdapter({ base, adapter, out, families });
      const after = snapshot(folder);
      for (const name of Object.keys(inputs)) assert.equal(after[name], inputs[name], `${name} is unchanged`);
      assert.deepEqual(report.merged_modules.sort(), plan.modules.map(m => m.name).sort());
      assert.deepEqual(report.replaced_modules, ['classifier']);

      const merged = openCheckpoint(out);
      const dtype = options.dtype ?? 'F32';
      for (const spec of model.parameters) {
        const ref = merged.tensors.get(spec.name);
        assert.ok(ref, `${spec.name} has the task model's name`);
        assert.equal(ref.dtype, dtype);
        const before = model.weights.get(spec.name)!;
        const values = expected.get(spec.name) ?? (before.source === 'file' ? readTensor(before.ref) : assert.fail());
        assert.deepEqual(Array.from(ROUND[dtype]!(readTensor(ref))), Array.from(ROUND[dtype]!(Float32Array.from(values))), spec.name);
      }
      assert.equal(merged.tensors.size, model.parameters.length);
      assert.equal(new Set(merged.files.values()).size, options.shards ?? 1);
      assert.deepEqual(Object.values(merged.config.id2label as object), LABELS);
      assert.deepEqual(merged.config.label2id, { bad: 0, good: 1, mixed: 2 });
      assert.deepEqual(merged.config.architectures, ['BertForSequenceClassification']);
      const files = Object.keys(snapshot(out));
      assert.ok(files.includes('vocab.txt') && files.includes('tokenizer.json') && files.includes('1_Pooling/config.json'));
      assert.ok(!files.includes('pytorch_model.bin'), 'weights that were not merged are left out');
    });
  }
});

test('a head for other classes takes the place of the base\'s own', async () => {
  await inTemporaryFolder(async folder => {
    const { adapter, out, expected } = await prepare(folder, { stored: withoutPrefix });
    const base = join(folder, 'model');
    // The same body with a head for two classes: recorded as the base, it would be refused, as foreign it is not.
    const other = join(folder, 'other');
    await writeCheckpoint(other, { labels: ['no', 'yes'] });
    await assert.rejects(mergeAdapter({ base: other, adapter, out, families }), isProblem('adapter.wrong-base'));
    await mergeAdapter({ base, adapter, out, families });
    assert.deepEqual(openCheckpoint(out).tensors.get('classifier.weight')!.shape, [3, 16]);
    assert.deepEqual(readTensor(openCheckpoint(out).tensors.get('classifier.bias')!), Float32Array.from(expected.get('classifier.bias')!));
  });
});

test('output folders that would do harm', async () => {
  await inTemporaryFolder(async folder => {
    const { base, adapter } = await prepare(folder);
    const merge = (out: string) => mergeAdapter({ base, adapter, out, families });
    const inputs = snapshot(folder);
    for (const out of [base, join(base, 'merged'), join(base, 'a/b'), join(adapter, 'x')]) await assert.rejects(merge(out), isProblem('merge.out-inside'), out);
    await assert.rejects(merge(folder), isProblem('merge.out-not-empty'));
    assert.deepEqual(snapshot(folder), inputs);
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    await merge(empty);
    assert.ok(readFileSync(join(empty, 'config.json')));
    await merge(join(folder, 'model-merged')); // a name that begins like the base's
  });
});

test('adapters that do not fit are refused before anything is written', async () => {
  await inTemporaryFolder(async folder => {
    const { base, adapter, out } = await prepare(folder);
    const file = join(adapter, 'adapter_config.json');
    const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    const withConfig = (change: object) => { writeFileSync(file, JSON.stringify({ ...config, ...change })); return mergeAdapter({ base, adapter, out, families }); };
    await assert.rejects(withConfig({ use_qalora: true }), isProblem('adapter.unsupported'));
    await assert.rejects(withConfig({ r: 2 }), isProblem('adapter.shape'));
    await assert.rejects(withConfig({ target_modules: ['query'] }), isProblem('adapter.unexpected'));
    await assert.rejects(withConfig({ target_modules: ['query', 'key', 'value'] }), isProblem('adapter.missing'));
    await assert.rejects(withConfig({ target_modules: ['q_proj'] }), (error: LabError) => error.report.code === 'lora.target-not-found' && error.report.file === file && error.report.action.includes(base));
    assert.deepEqual(Object.keys(snapshot(folder)).filter(name => /merged|tmp/.test(name)), []);
  });
});

test('a sum that half precision cannot store is an error, not infinity', async () => {
  await inTemporaryFolder(async folder => {
    const { base, adapter, out } = await prepare(folder, { dtype: 'F16' }, {}, 200);
    await assert.rejects(mergeAdapter({ base, adapter, out, families }), isProblem('merge.not-finite'));
    assert.ok(!Object.keys(snapshot(folder)).some(name => name.startsWith('merged') || name.startsWith('.tmp')));
  });
});

test('whichever disk operation fails, there is no merged folder or a whole one, and the inputs are as they were', async () => {
  await inTemporaryFolder(async folder => {
    const { base, adapter, out } = await prepare(folder, { shards: 2 });
    const inputs = snapshot(folder);
    await mergeAdapter({ base, adapter, out, families });
    const whole = snapshot(out);
    rmSync(out, { recursive: true });
    for (const code of ['ENOSPC', 'EIO']) {
      for (let n = 1, points = 0; ; n++, points++) {
        const { reached, error } = await withFault(n, code, () => mergeAdapter({ base, adapter, out, families }));
        if (!reached) { assert.ok(points > 20); break; }
        assert.ok(error === undefined || error instanceof LabError && error.report.code === (code === 'EIO' ? 'disk.failed' : 'disk.full'), String(error));
        const now = snapshot(folder);
        if (Object.keys(now).some(name => name.startsWith('merged'))) assert.deepEqual(snapshot(out), whole, `fault ${n}`);
        for (const name of Object.keys(inputs)) assert.equal(now[name], inputs[name]);
        rmSync(out, { recursive: true, force: true });
      }
    }
  });
});

test('too little space shows before anything is written', async () => {
  await inTemporaryFolder(async folder => {
    const { base, adapter, out } = await prepare(folder);
    const restore = useFileSystem({ ...nodeFileSystem, free: () => 1000 });
    try { await assert.rejects(mergeAdapter({ base, adapter, out, families }), isProblem('disk.full')); } finally { restore(); }
  });
});

test('of two merges into one folder at once the first to end has it, whole, and the other is refused; into two folders both are what they are alone', () => inTemporaryFolder(async folder => {
  const [one, two] = [join(folder, 'one'), join(folder, 'two')];
  const { base, adapter } = await prepare(one);
  const { base: other, adapter: others } = await prepare(two, {}, { target_modules: ['key'] }, 2);
  const alone = await Promise.all([{ base, adapter, out: join(folder, 'first'), families }, { base: other, adapter: others, out: join(folder, 'second'), families }].map(mergeAdapter));
  const place = join(folder, 'place'), out = join(place, 'merged');
  const both = await Promise.allSettled([mergeAdapter({ base, adapter, out, families }), mergeAdapter({ base: other, adapter: others, out, families })]);
  const winner = both.findIndex(({ status }) => status === 'fulfilled');
  const loser = both[1 - winner];
  assert.ok(loser.status === 'rejected' && isProblem('merge.out-not-empty')(loser.reason), JSON.stringify(both));
  assert.deepEqual(snapshot(out), snapshot(alone[winner].out));
  assert.notDeepEqual(snapshot(out), snapshot(alone[1 - winner].out));
  assert.deepEqual(readdirSync(place), ['merged']);
  for (const [i, inputs] of [{ base, adapter }, { base: other, adapter: others }].entries()) {
    const again = join(folder, `again-${i}`);
    await mergeAdapter({ ...inputs, out: again, families });
    assert.deepEqual(snapshot(alone[i].out), snapshot(again));
  }
}));
