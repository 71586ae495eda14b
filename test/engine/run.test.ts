/** Whole runs: interruption and resume, pausing, saving, divergence, and what stays on disk when something fails. */
import assert from 'node:assert/strict';
import { appendFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findCheckpoint } from '../../src/engine/checkpointFolders';
import { inspectCheckpoint } from '../../src/engine/inspect';
import { LabError } from '../../src/engine/errors';
import { readAdapter } from '../../src/engine/model/adapter';
import type { RunState } from '../../src/protocol/engine';
import { isEvalRecord } from '../../src/protocol/metrics';
import { trainedPortion } from '../../src/protocol/portions';
import { ROOT } from '../support/paths';
import { inTemporaryFolder, snapshot, withFault } from '../support/faults';
import { copyCase, readMetrics, startRun, trainRecords } from '../support/runs';

const refusal = (code: string, says?: RegExp) => (error: unknown): boolean => {
  assert.ok(error instanceof LabError, String(error));
  assert.equal(error.report.code, code, error.message);
  if (says) assert.match(error.message, says);
  return true;
};

/** Everything that could make a resumed run differ: shuffling, dropout in base and adapter, accumulation with a short last window, clipping, a schedule. */
const DEMANDING = {
  config: { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 },
  lora: { lora_dropout: 0.2 },
  training: { shuffle: true, gradient_accumulation_steps: 3, max_steps: 10, lr_scheduler_type: 'cosine', warmup_steps: 2, weight_decay: 0.1, max_grad_norm: 0.5, eval_strategy: 'epoch', save_strategy: 'no' },
};

test('a run that was stopped and resumed, at any step, ends exactly as one that was not', () => inTemporaryFolder(async folder => {
  const whole = copyCase(join(folder, 'whole'), DEMANDING);
  await startRun(whole).ended;
  const exact = (record: object) => ({ ...record, time: 0, tokens_per_second: 0, eval_runtime: 0 });
  const expected = readMetrics(join(folder, 'whole/run')).map(exact);
  const adapter = readFileSync(join(folder, 'whole/run/adapter/adapter_model.safetensors'));
  // 10 batches of 4 in windows of 3 are 4 steps an epoch: steps 4 and 8 end one.
  for (const stop of [1, 3, 4, 7, 9]) {
    const file = copyCase(join(folder, `stop-${stop}`), DEMANDING);
    const first = await startRun(file, { onStep: ({ step }, control) => { if (step === stop) control.want('stop'); } }).ended;
    assert.equal(first.state, 'stopped');
    assert.equal(first.steps, stop);
    let history = -1;
    const second = await startRun(file, { resume: true, started: started => { history = started.history.length; } }).ended;
    assert.equal(second.state, 'finished');
    const run = join(folder, `stop-${stop}/run`);
    assert.ok(history >= stop, 'the resumed run shows what came before');
    assert.deepEqual(readMetrics(run).map(exact), expected, `stopped after step ${stop}`);
    assert.ok(readFileSync(join(run, 'adapter/adapter_model.safetensors')).equals(adapter), `adapter after a stop at step ${stop}`);
  }
}));

/** What is trained so that a portion has so many tokens: a sixteenth of all values or more, and all of them. */
const LARGER_PORTIONS = [{ tokens: 1024, lora: { r: 8, lora_alpha: 16, target_modules: ['query', 'value'], lora_dropout: 0.2 } }, { tokens: 2048, lora: null }];

for (const { tokens, lora } of LARGER_PORTIONS) {
  test(`a run with dropout in portions of ${tokens} tokens that was stopped and resumed ends exactly as one that was not`, () => inTemporaryFolder(async folder => {
    const { config, training } = DEMANDING;
    const long = Array.from({ length: 144 }, (_, i) => JSON.stringify({ text: Array(60).fill(i % 2 ? 'good' : 'bad').join(' '), label: i % 2 }));
    const prepared = (name: string): string => {
      const file = copyCase(join(folder, name), { config, training: { ...training, per_device_train_batch_size: 48, gradient_accumulation_steps: 2, max_length: 64, max_steps: 5, eval_strategy: 'no' } });
      // copyCase adds its own keys to those of `lora`.
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')) as object, lora }));
      writeFileSync(join(folder, name, 'train.jsonl'), `${long.join('\n')}\n`);
      return file;
    };
    const losses = (name: string): unknown[] => trainRecords(join(folder, name, 'run')).map(({ step, loss, grad_norm }) => [step, loss, grad_norm]);
    const weights = (name: string): Buffer => readFileSync(join(folder, name, 'run', lora ? 'adapter/adapter_model.safetensors' : 'model/model.safetensors'));
    const summary = await startRun(prepared('whole')).ended;
    assert.equal(trainedPortion(summary), tokens);
    assert.ok(48 * 60 > tokens, 'a batch has more than one portion');
    for (const stop of [1, 3]) {
      const name = `stop-${stop}`, file = prepared(name);
      assert.equal((await startRun(file, { onStep: ({ step }, control) => { if (step === stop) control.want('stop'); } }).ended).steps, stop);
      assert.equal((await startRun(file, { resume: true }).ended).state, 'finished');
      assert.deepEqual(losses(name), losses('whole'), `stopped after step ${stop}`);
      assert.ok(weights(name).equals(weights('whole')), `weights after a stop at step ${stop}`);
    }
  }));
}

test('a run whose adapter is saved with its start resumes exactly, too', () => inTemporaryFolder(async folder => {
  const changes = { ...DEMANDING, lora: { lora_dropout: 0.2, init_lora_weights: 'pissa_niter_2' }, training: { ...DEMANDING.training, loraplus_lr_ratio: 4 } };
  const files = ['whole', 'stopped'].map(name => copyCase(join(folder, name), changes));
  await startRun(files[0]).ended;
  await startRun(files[1], { onStep: ({ step }, control) => { if (step === 4) control.want('stop'); } }).ended;
  await startRun(files[1], { resume: true }).ended;
  const [whole, resumed] = ['whole', 'stopped'].map(name => readFileSync(join(folder, name, 'run/adapter/adapter_model.safetensors')));
  assert.ok(resumed.equals(whole));
  const { config, tensors } = readAdapter(join(folder, 'whole/run/adapter'));
  assert.deepEqual([config.r, config.lora_alpha, config.init_lora_weights], [8, 16, true], 'a plain LoRA of twice the rank');
  assert.deepEqual(tensors.get('base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight')!.shape, [8, 32]);
}));

test('starts from the base weight refuse what they cannot be combined with', () => inTemporaryFolder(async folder => {
  for (const [lora, says] of [
    [{ init_adapter: 'adapter_start' }, /init_adapter/], [{ use_dora: true }, /use_dora/], [{ use_rslora: true, rank_pattern: { query: 2 } }, /rank_pattern/], [{ r: 17 }, /32 × 32/],
  ] as const) {
    const file = copyCase(join(folder, Object.keys(lora)[0]), { lora: { init_lora_weights: 'olora', ...lora } });
    await assert.rejects(startRun(file).ended, refusal('r' in lora ? 'lora.rank-too-high' : 'lora.combination', says));
  }
}));

test('class numbers that do not fit the checkpoint\'s head are said of the data file', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder), train = join(folder, 'train.jsonl');
  writeFileSync(train, [1, 2].map(label => JSON.stringify({ text: 'good', label })).join('\n'));
  await assert.rejects(startRun(file).ended, (error: unknown) => refusal('dataset.labels', /from 1 to 2.*Number the classes from 0 on/)(error) && (error as LabError).report.file === train);
}));

test('multi-hot lists train as lists of the classes do, and the run says how they are read', () => inTemporaryFolder(async folder => {
  const losses = async (name: string, changed: (labels: string[]) => unknown): Promise<[number[], string]> => {
    const at = join(folder, name);
    const file = copyCase(at, { training: { max_steps: 3, eval_strategy: 'no' } }, 'bert-several-classes');
    for (const data of ['train.jsonl', 'eval.jsonl'].map(part => join(at, part))) {
      const rows = readFileSync(data, 'utf8').trim().split('\n').map(line => JSON.parse(line) as { text: string; labels: string[] });
      writeFileSync(data, rows.map(({ text, labels }) => JSON.stringify({ text, labels: changed(labels) })).join('\n'));
    }
    let said = '';
    await startRun(file, { log: ({ message }) => { said += `${message}\n`; } }).ended;
    return [trainRecords(join(at, 'run')).map(({ loss }) => Number(loss)), said];
  };
  const [expected] = await losses('lists', labels => labels);
  const [found, said] = await losses('multi-hot', labels => ['a', 'b', 'c', 'd'].map(name => Number(labels.includes(name))));
  assert.deepEqual(found, expected);
  assert.match(said, /the lists in "labels" are read as a 0 or 1 for each of 4 classes/);
  // With the names of another head, which is not stored.
  cpSync(join(ROOT, 'media/sample/model'), join(folder, 'headless'), { recursive: true });
  const config = join(folder, 'headless/config.json');
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')) as object, id2label: { 0: 'v', 1: 'w', 2: 'x', 3: 'y', 4: 'z' } }));
  const dataset = { train: join(folder, 'multi-hot/train.jsonl'), eval: null, text_column: 'text', label_column: 'labels', tokens_column: 'tokens', tags_column: 'tags' };
  const { labels } = inspectCheckpoint({ folder: join(folder, 'headless'), task: 'SEQ_CLS', problem_type: 'multi_label_classification', dataset });
  assert.deepEqual(labels, ['0', '1', '2', '3'], 'as a run has them');
}));

test('one label of a csv file that is no number makes texts of all, which the run says with its line', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { dataset: { train: 'train.csv', eval: null }, training: { max_steps: 1, eval_strategy: 'no' } });
  const said = async (...labels: string[]): Promise<string> => {
    writeFileSync(join(folder, 'train.csv'), ['text,label', ...labels.map(label => `good,${label}`)].join('\n'));
    let all = '';
    await startRun(file, { log: ({ message }) => { all += `${message}\n`; } }).ended;
    return all;
  };
  assert.match(await said('1', '1', 'n/a', '1'), /the labels in "label" are read as texts: "n\/a" in line 4 is no whole number/);
  assert.doesNotMatch(await said('good', 'bad'), /read as texts/);
}));

test('a pause holds the run between two steps, where it can be saved, and costs no training time', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { max_steps: 20 } });
  const states: RunState[] = [];
  let paused!: () => void;
  const whenPaused = new Promise<void>(resolve => { paused = resolve; });
  const run = startRun(file, {
    onStep: ({ step }, control) => { if (step === 6) control.want('pause'); },
    state: ({ state }) => { states.push(state); if (state === 'paused') paused(); },
  });
  await whenPaused;
  const checkpoint = await run.control.save();
  assert.equal(checkpoint, join(folder, 'run/checkpoint-6'));
  assert.equal(trainRecords(join(folder, 'run')).length, 6, 'no step while paused');
  await new Promise(resolve => setTimeout(resolve, 1000));
  run.control.want('run');
  const summary = await run.ended;
  assert.equal(summary.steps, 20);
  assert.ok(summary.seconds < 1, `${summary.seconds} s without the pause`);
  assert.deepEqual(states.filter((state, i) => state !== states[i - 1]), ['preparing', 'evaluating', 'running', 'paused', 'saving', 'paused', 'running', 'evaluating', 'running']);
}));

test('a gradient that is no number is logged with the loss of its own step', () => inTemporaryFolder(async folder => {
  // B begins at zero, so alpha changes no loss yet, but every gradient.
  const [usual, steep] = [8, 1e25].map(lora_alpha => copyCase(join(folder, String(lora_alpha)), { lora: { lora_alpha }, training: { max_steps: 1 } }));
  await startRun(usual).ended;
  await assert.rejects(startRun(steep).ended, refusal('training.not-finite', /step 1.*gradient norm became Infinity/));
  const [expected, found] = [usual, steep].map(file => trainRecords(join(file, '../run'))[0]);
  assert.equal(found.grad_norm, 'Infinity');
  assert.equal(found.loss, expected.loss);
}));

test('a loss that is no number ends the run, names the step and keeps the last good weights', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { learning_rate: 1e37, lr_scheduler_type: 'constant', max_grad_norm: 0, max_steps: 30 } });
  let save: Promise<unknown> | undefined;
  await assert.rejects(startRun(file, { onStep: ({ loss, grad_norm }, control) => { if ([loss, grad_norm].some(value => typeof value === 'string')) save = assert.rejects(control.save(), refusal('run.none', /has ended before it could save/)); } }).ended, (error: unknown) => {
    refusal('training.not-finite', /step \d+.*became (NaN|-?Infinity)/)(error);
    const { where, lastGoodCheckpoint } = (error as LabError).report;
    assert.match(where!, /^step \d+$/);
    assert.equal(lastGoodCheckpoint, findCheckpoint(join(folder, 'run')).folder);
    return true;
  });
  assert.ok(save, 'a checkpoint was asked for while it diverged');
  await save;
  const last = trainRecords(join(folder, 'run')).at(-1)!;
  assert.ok(['NaN', 'Infinity', '-Infinity'].includes(String(last.loss)) || typeof last.grad_norm === 'string', 'the log says so');
  readAdapter(join(folder, 'run/adapter')).tensors.forEach(({ data }) => assert.ok(data.every(Number.isFinite)));
  assert.equal(existsSync(join(folder, 'run/summary.json')), false, 'no summary of a run that failed');
}));

test('evaluation and checkpoints come each epoch, or every n steps, as Trainer orders them', () => inTemporaryFolder(async folder => {
  const epoch = copyCase(join(folder, 'epoch'), { training: { max_steps: -1, num_train_epochs: 2.5, eval_strategy: 'epoch', save_strategy: 'epoch', logging_steps: 4 } });
  const summary = await startRun(epoch).ended;
  assert.equal(summary.steps, 25);
  const records = readMetrics(join(folder, 'epoch/run'));
  assert.deepEqual(records.filter(isEvalRecord).map(({ step, epoch: at }) => [step, at]), [[10, 1], [20, 2], [25, 2.5]]);
  assert.deepEqual(records.filter(record => !isEvalRecord(record)).map(({ step }) => step), [4, 8, 12, 16, 20, 24, 25]);
  const checkpoints = (run: string) => readdirSync(run).filter(name => name.startsWith('checkpoint-')).map(name => Number(name.slice(11))).sort((a, b) => a - b);
  assert.deepEqual(checkpoints(join(folder, 'epoch/run')), [10, 20, 25]);

  const steps = copyCase(join(folder, 'steps'), { training: { max_steps: 12, eval_strategy: 'steps', eval_steps: 5, save_strategy: 'steps', save_steps: 5 } });
  await startRun(steps).ended;
  assert.deepEqual(readMetrics(join(folder, 'steps/run')).filter(isEvalRecord).map(({ step }) => step), [5, 10]);
  assert.deepEqual(checkpoints(join(folder, 'steps/run')), [5, 10, 12]);
}));

test('a second run moves the first aside; a run that cannot begin leaves it alone', () => inTemporaryFolder(async folder => {
  process.env.LORA_LAB_TFJS_NODE = join(folder, 'no-tensorflow');
  const file = copyCase(folder);
  await startRun(file).ended;
  const before = snapshot(join(folder, 'run'));
  const good = readFileSync(file, 'utf8');
  for (const [change, code] of [
    [{ base_model: 'nowhere' }, 'checkpoint.no-folder'], [{ dataset: { train: 'missing.jsonl' } }, 'dataset.no-file'], [{ lora: { target_modules: ['queri'] } }, 'lora.target-not-found'],
    [{ lora: { r: 33 } }, 'lora.rank-too-high'], [{ engine: { device: 'tensorflow' } }, 'device.missing'],
    // What a new run would move away with the earlier one before it has read all of it.
    [{ lora: { init_adapter: 'run/adapter' } }, 'run.holds-inputs'], [{ base_model: 'run/model' }, 'run.holds-inputs'], [{ dataset: { eval: 'run/predicted.jsonl' } }, 'run.holds-inputs'], [{ output_dir: '.' }, 'run.holds-inputs'],
  ] as const) {
    const experiment = JSON.parse(good) as Record<string, object>;
    for (const [key, value] of Object.entries(change)) experiment[key] = typeof value === 'object' ? { ...experiment[key], ...value } : value;
    writeFileSync(file, JSON.stringify(experiment));
    await assert.rejects(startRun(file).ended, refusal(code));
    assert.deepEqual(snapshot(join(folder, 'run')), before, code);
  }
  writeFileSync(file, good);
  await startRun(file).ended;
  assert.deepEqual(snapshot(join(folder, 'run.1')), before);
}));

test('a run resumes only on what it began with', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { shuffle: true } });
  await startRun(file, { onStep: ({ step }, control) => { if (step === 5) control.want('stop'); } }).ended;
  const good = JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>;
  for (const [section, change] of [['training', { seed: 7 }], ['lora', { lora_alpha: 99 }], ['training', { per_device_train_batch_size: 5 }]] as const) {
    writeFileSync(file, JSON.stringify({ ...good, [section]: { ...good[section], ...change } }));
    await assert.rejects(startRun(file, { resume: true }).ended, refusal('resume.experiment-changed', new RegExp(Object.keys(change)[0])));
  }
  writeFileSync(file, JSON.stringify(good));
  const data = readFileSync(join(folder, 'train.jsonl'), 'utf8');
  appendFileSync(join(folder, 'train.jsonl'), '{"text": "one more", "label": 0}\n');
  await assert.rejects(startRun(file, { resume: true }).ended, refusal('resume.data-changed'));
  writeFileSync(join(folder, 'train.jsonl'), data);
  const weights = join(folder, 'model/model.safetensors');
  const bytes = readFileSync(weights);
  const other = Buffer.from(bytes);
  other[other.length - 3] ^= 1;
  writeFileSync(weights, other);
  await assert.rejects(startRun(file, { resume: true }).ended, refusal('resume.base-changed'));
  writeFileSync(weights, bytes);
  assert.equal((await startRun(file, { resume: true }).ended).state, 'finished');
  await assert.rejects(startRun(copyCase(join(folder, 'fresh')), { resume: true }).ended, refusal('run.nothing-to-resume'));
}));

test('one folder, one run', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { training: { max_steps: 50 } });
  let second: Promise<unknown> | undefined;
  const run = startRun(file, { onStep: ({ step }, control) => { if (step === 2) { control.want('pause'); second = startRun(file).ended.catch((error: unknown) => error).finally(() => control.want('run')); } } });
  await run.ended;
  refusal('run.in-use')(await second);
}));

test('whichever write fails, the message says which and nothing incomplete stays under a final name', () => inTemporaryFolder(async folder => {
  const changes = { training: { max_steps: 1, save_strategy: 'steps', eval_strategy: 'no' } };
  let faults = 0;
  // Every single one would take a minute: each place where something new happens is among these.
  for (let n = 1; ; n += n < 30 ? 1 : 5) {
    const place = join(folder, String(n));
    mkdirSync(place);
    const file = copyCase(place, changes);
    const inputs = () => ({ ...snapshot(join(place, 'model')), train: readFileSync(join(place, 'train.jsonl'), 'utf8') });
    const before = inputs();
    const { reached, error } = await withFault(n, 'ENOSPC', () => startRun(file).ended);
    if (!reached) break;
    faults++;
    assert.deepEqual(inputs(), before);
    const run = join(place, 'run');
    if (error !== undefined) refusal('disk.full', /ENOSPC/)(error);
    for (const name of existsSync(run) ? readdirSync(run) : []) {
      if (name.startsWith('checkpoint-')) assert.equal(findCheckpoint(run).warnings.length, 0, `fault ${n}: ${name} verifies`);
      if (name === 'adapter') readAdapter(join(run, name));
    }
    // Space again: the same experiment runs, with no lock in its way.
    assert.equal((await startRun(file).ended).state, 'finished', `after fault ${n}`);
  }
  assert.ok(faults > 30, `${faults} writes were made to fail`);
}));
