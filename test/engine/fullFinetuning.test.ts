/** `"lora": null`: all parameters are trained, as transformers' Trainer does without PEFT (test/fixtures/make_references.py), and a checkpoint is written. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RunControl } from '../../src/engine/control';
import { LabError } from '../../src/engine/errors';
import { families } from '../../src/engine/model/families';
import { mergeAdapter } from '../../src/engine/model/merge';
import { readHeader, readTensor } from '../../src/engine/model/safetensors';
import { predict } from '../../src/engine/predict';
import { SILENT } from '../../src/engine/reporter';
import { runSweep } from '../../src/engine/sweep';
import { assertClose } from '../support/close';
import { inTemporaryFolder } from '../support/faults';
import { languageLogits } from '../support/languageModel';
import { fixture } from '../support/paths';
import { copyCase, readMetrics, startRun, trainRecords } from '../support/runs';

interface Expected { trainable_parameters: number; all_parameters: number; losses: number[]; grad_norms: number[]; eval_loss: number; initial_logits: number[][]; final_logits: number[][] }

const tensorsOf = (file: string) => new Map([...readHeader(file).tensors].map(([name, ref]) => [name, { dtype: ref.dtype, data: readTensor(ref) }]));
const assertRelative = (found: number, expected: number, tolerance: number, what: string): void => assert.ok(Math.abs(found - expected) <= tolerance * Math.abs(expected), `${what}: ${found}, expected ${expected}`);

/** Logits of the first examples by the model in `folder`. */
async function logitsOf(folder: string, model: string, count: number): Promise<ArrayLike<number>[]> {
  const experiment = JSON.parse(readFileSync(join(folder, 'case.lora.json'), 'utf8')) as { task: string; training: { max_length: number } };
  if (experiment.task === 'SEQ_CLS') {
    const rows = readFileSync(join(folder, 'train.jsonl'), 'utf8').trim().split('\n').slice(0, count).map(line => JSON.parse(line) as { text: string; pair?: string });
    const pairs = rows[0].pair === undefined ? undefined : rows.map(row => row.pair!);
    return (await predict({ base: join(folder, model), adapter: null, texts: rows.map(row => row.text), pairs, max_length: experiment.training.max_length })).map(({ logits }) => logits);
  }
  const file = join(folder, 'other.lora.json');
  writeFileSync(file, JSON.stringify({ ...experiment, base_model: model }));
  return languageLogits(file, null, count);
}

for (const name of readdirSync(fixture('full_references'))) {
  test(`${name}: losses, gradient norms, evaluation and all weights follow transformers`, () => inTemporaryFolder(async folder => {
    cpSync(fixture('full_references', name), folder, { recursive: true });
    const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected;
    const summary = await startRun(join(folder, 'case.lora.json')).ended;
    assert.deepEqual([summary.trainable_parameters, summary.all_parameters, summary.full_finetuning, summary.adapter], [expected.trainable_parameters, expected.all_parameters, true, join(folder, 'run/model')]);
    assert.equal(expected.trainable_parameters, expected.all_parameters);
    const steps = trainRecords(join(folder, 'run'));
    assert.equal(steps.length, expected.losses.length);
    steps.forEach((record, i) => {
      assertRelative(Number(record.loss), expected.losses[i], 1e-3, `loss of step ${i + 1}`);
      assertRelative(Number(record.grad_norm), expected.grad_norms[i], 1e-2, `gradient norm of step ${i + 1}`);
    });
    assertRelative(summary.eval!.loss, expected.eval_loss, 1e-3, 'eval_loss');
    const [found, wanted] = [tensorsOf(join(folder, 'run/model/model.safetensors')), tensorsOf(join(folder, 'model_final/model.safetensors'))];
    assert.deepEqual([...found.keys()].sort(), [...wanted.keys()].sort());
    for (const [key, { data }] of wanted) {
      const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      found.get(key)!.data.forEach((value, i) => assert.ok(Math.abs(value - data[i]) <= 1e-3 * largest, `${key}[${i}]: ${value}, expected ${data[i]}`));
    }
    for (const [model, logits] of [['model', expected.initial_logits], ['run/model', expected.final_logits]] as const) {
      const own = await logitsOf(folder, model, logits.length);
      logits.forEach((row, i) => row.forEach((logit, k) => assert.ok(Math.abs(own[i][k] - logit) < 1e-4, `${model}, text ${i}: logit ${own[i][k]}, expected ${logit}`)));
    }
    assert.equal((JSON.parse(readFileSync(join(folder, 'run/experiment.json'), 'utf8')) as { lora: unknown }).lora, null);
    assert.ok(!existsSync(join(folder, 'run/adapter')));
  }));
}

/** A run of a reference case that trains the whole model. */
function fullCase(folder: string, name: string, training: object): string {
  const file = copyCase(folder, { training }, name);
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, lora: null }));
  return file;
}

test('a resumed run ends with the very same weights', () => inTemporaryFolder(async folder => {
  const file = fullCase(folder, 'linear', { max_steps: 6, save_strategy: 'steps', save_steps: 3, eval_strategy: 'no' });
  await startRun(file).ended;
  const run = join(folder, 'run');
  const [whole, losses] = [readFileSync(join(run, 'model/model.safetensors')), trainRecords(run).map(record => record.loss)];
  assert.ok([...tensorsOf(join(run, 'checkpoint-3/model.safetensors')).values()].every(({ dtype }) => dtype === 'F32'));
  for (const name of ['checkpoint-6', 'model']) rmSync(join(run, name), { recursive: true });
  await startRun(file, { resume: true }).ended;
  assert.deepEqual(trainRecords(run).map(record => record.loss), losses);
  assert.ok(readFileSync(join(run, 'model/model.safetensors')).equals(whole));
  writeFileSync(file, readFileSync(file, 'utf8').replace('"lora":null', '"lora":{}'));
  await assert.rejects(startRun(file, { resume: true }).ended, (error: unknown) => error instanceof LabError && error.report.code === 'resume.experiment-changed');
}));

test('the members of a sweep are the runs that their learning rates give alone', () => inTemporaryFolder(async folder => {
  const training = { max_steps: 4, eval_strategy: 'no', save_strategy: 'no' };
  const file = fullCase(join(folder, 'sweep'), 'linear', training);
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, sweep: { 'training.learning_rate': [1e-3, 1e-2] } }));
  const { members } = await runSweep({ experiment_file: file, resume: false, cwd: folder, control: new RunControl(), report: SILENT });
  assert.deepEqual(members.map(({ state }) => state), ['finished', 'finished']);
  for (const { name, changes } of members) {
    const alone = join(folder, name);
    await startRun(fullCase(alone, 'linear', { ...training, learning_rate: changes['training.learning_rate'] })).ended;
    const [own, its] = [join(folder, 'sweep/run', name), join(alone, 'run')].map(run => tensorsOf(join(run, 'model/model.safetensors')));
    for (const [key, { data }] of its) assertClose(own.get(key)!.data, data, 1e-4, key);
  }
}));

test('packed rows teach the whole model the same, and there are no frozen layers to keep', () => inTemporaryFolder(async folder => {
  const training = { max_length: 48, per_device_train_batch_size: 1000, max_steps: 3, eval_strategy: 'no', save_strategy: 'no' };
  const losses: number[][] = [];
  for (const [packing, prefix_cache] of [[true, 'auto'], [true, 'off'], [false, 'auto']] as const) {
    const file = fullCase(join(folder, `${packing}-${prefix_cache}`), 'gpt2-text', { ...training, packing });
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, engine: { device: 'cpu', prefix_cache } }));
    await startRun(file).ended;
    losses.push(trainRecords(join(folder, `${packing}-${prefix_cache}`, 'run')).map(({ loss }) => Number(loss)));
  }
  assert.deepEqual(losses[0], losses[1]);
  assertClose(losses[0], losses[2], 1e-4, 'packed and not');
}));

test('the best checkpoint becomes the model, in the type and the files of the base, with its tokenizer', () => inTemporaryFolder(async folder => {
  const file = fullCase(folder, 'bfloat16-sharded', { max_steps: 4, learning_rate: 1e-3, save_strategy: 'steps', save_steps: 2, eval_strategy: 'steps', eval_steps: 2, load_best_model_at_end: true });
  const summary = await startRun(file).ended;
  const model = join(folder, 'run/model');
  const files = readdirSync(join(folder, 'model')).filter(name => name !== 'config.json').sort();
  assert.deepEqual(readdirSync(model).filter(name => name !== 'config.json').sort(), files);
  const shards = files.filter(name => name.endsWith('.safetensors'));
  assert.ok(shards.length > 1);
  const best = tensorsOf(join(folder, `run/checkpoint-${summary.best!.step}/model.safetensors`));
  for (const [key, { dtype, data }] of shards.flatMap(shard => [...tensorsOf(join(model, shard))])) {
    assert.equal(dtype, 'BF16');
    data.forEach((value, i) => assert.ok(Math.abs(value - best.get(key)!.data[i]) <= Math.abs(value) / 128 + 1e-9, key));
  }
  const texts = ['slow and warm', 'fine'];
  assert.equal((await predict({ base: model, adapter: null, texts })).length, 2);
  assert.ok(readMetrics(join(folder, 'run')).length >= 4);
  await assert.rejects(mergeAdapter({ base: join(folder, 'model'), adapter: model, out: join(folder, 'out'), families }), (error: unknown) => error instanceof LabError && /whole model/.test(error.report.cause));
}));
