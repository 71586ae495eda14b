/** Sweeps: every member is the run that it would have been by itself, and what is interrupted goes on. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RunControl } from '../../src/engine/control';
import { LabError } from '../../src/engine/errors';
import { readAdapter } from '../../src/engine/model/adapter';
import { SILENT, type Reporter } from '../../src/engine/reporter';
import { runSweep } from '../../src/engine/sweep';
import { isEvalRecord, type Summary, type SweepSummary } from '../../src/protocol/metrics';
import { memberName, parseSweep } from '../../src/protocol/sweep';
import { assertClose } from '../support/close';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, readMetrics, startRun, type CaseChanges } from '../support/runs';

const UPPER = {
  lora: { target_modules: ['layer.1.attention.self.query', 'layer.1.attention.self.value'], lora_dropout: 0.1 },
  training: { shuffle: true, max_steps: -1, num_train_epochs: 3, gradient_accumulation_steps: 2, eval_strategy: 'epoch', save_strategy: 'no', learning_rate: 5e-3, lr_scheduler_type: 'cosine', weight_decay: 0.1 },
};
const GRID = { 'lora.r': [2, 5], 'training.learning_rate': [1e-3, 2e-2] };

function sweepIn(folder: string, sweep: object, changes: CaseChanges = UPPER): string {
  return copyCase(folder, { ...changes, top: { sweep } });
}

function start(experiment_file: string, { resume = false, ...report }: { resume?: boolean } & Partial<Reporter> = {}, control = new RunControl()): Promise<SweepSummary> {
  return runSweep({ experiment_file, resume, cwd: join(experiment_file, '..'), control, report: { ...SILENT, ...report } });
}

const losses = (run: string): number[] => readMetrics(run).flatMap(record => (isEvalRecord(record) ? [Number(record.eval_loss)] : [Number(record.loss), Number(record.grad_norm)]));
const lastEvaluation = (run: string): number => Number(readMetrics(run).filter(isEvalRecord).at(-1)!.eval_loss);
const adapterFile = (run: string): Buffer => readFileSync(join(run, 'adapter/adapter_model.safetensors'));

test('every member is the run that its settings give alone, in its own run folder', () => inTemporaryFolder(async folder => {
  const summary = await start(sweepIn(join(folder, 'sweep'), GRID));
  assert.equal(summary.state, 'finished');
  const { members } = parseSweep({ sweep: GRID }).sweep!;
  for (const [i, changes] of members.entries()) {
    const name = memberName(i, changes);
    const [own, alone] = [join(folder, 'sweep/run', name), join(folder, `alone-${i}`)];
    await startRun(copyCase(alone, { lora: { ...UPPER.lora, r: changes['lora.r'] }, training: { ...UPPER.training, learning_rate: changes['training.learning_rate'] } })).ended;
    assertClose(losses(own), losses(join(alone, 'run')), 1e-4, name);
    const [found, expected] = [own, join(alone, 'run')].map(run => readAdapter(join(run, 'adapter')));
    assert.equal(found.config.r, changes['lora.r']);
    for (const [tensor, { shape, data }] of expected.tensors) {
      assert.deepEqual(found.tensors.get(tensor)!.shape, shape);
      assertClose(found.tensors.get(tensor)!.data, data, 1e-3, tensor);
    }
    const [mine, its] = [own, join(alone, 'run')].map(run => JSON.parse(readFileSync(join(run, 'summary.json'), 'utf8')) as Summary);
    assert.equal(mine.state, 'finished');
    assertClose([mine.eval_before!.loss, mine.eval!.loss], [its.eval_before!.loss, its.eval!.loss], 1e-4, 'evaluations');
  }
  const reached = members.map((changes, i) => memberName(i, changes)).map(name => ({ name, value: lastEvaluation(join(folder, 'sweep/run', name)) })).sort((a, b) => a.value - b.value);
  assert.deepEqual(summary.members.map(({ name, value }) => ({ name, value })), reached, 'the lowest loss first, by what the members have logged');
  assert.deepEqual([summary.metric, summary.best], ['eval_loss', reached[0].name]);
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'sweep/run/sweep.json'), 'utf8')), summary);
  assert.equal(readdirSync(join(folder, 'sweep/run')).some(name => name.startsWith('.')), false);
}));

test('where the best checkpoint is what a member saves, it is what the member is ranked by', () => inTemporaryFolder(async folder => {
  // The highest rates overfit: their last evaluation is far from their best one.
  const training = { max_steps: -1, num_train_epochs: 6, eval_strategy: 'epoch', save_strategy: 'epoch', load_best_model_at_end: true, metric_for_best_model: 'loss', lr_scheduler_type: 'constant' };
  const file = sweepIn(folder, { 'training.learning_rate': [1e-4, 1e-3, 1e-2, 3e-2] }, { training });
  const summary = await start(file);
  const evaluations = summary.members.map(({ name }) => readMetrics(join(folder, 'run', name)).filter(isEvalRecord).map(({ eval_loss }) => Number(eval_loss)));
  assert.deepEqual(summary.members.map(({ value }) => value), evaluations.map(values => Math.min(...values)), 'the loss of what is saved');
  assert.deepEqual(summary.members.map(({ eval: saved }) => saved!.loss), summary.members.map(({ value }) => value), 'the two columns agree');
  const byBest = evaluations.map(values => Math.min(...values));
  assert.deepEqual(byBest, [...byBest].sort((a, b) => a - b), 'the lowest first');
  const byLast = evaluations.map(values => values.at(-1)!);
  assert.notDeepEqual(byLast, [...byLast].sort((a, b) => a - b), 'which the last evaluations would rank otherwise');
  assert.deepEqual((await start(file, { resume: true })).members, summary.members, 'also when it is taken up from the disk');
}));

test('halving ends the worse half at each comparison and changes nothing in the others', () => inTemporaryFolder(async folder => {
  const order: string[] = [];
  const running: string[][] = [];
  const summary = await start(sweepIn(join(folder, 'halved'), { ...GRID, halving: { eta: 2, min_epochs: 1 } }), {
    member({ name, members }) {
      order.push(name);
      running.push(members.filter(({ state }) => state === 'running').map(member => member.name));
    },
  });
  const full = await start(sweepIn(join(folder, 'full'), GRID));
  const names = full.members.map(({ name }) => name).sort();
  assert.deepEqual(order.slice(0, 4), names, 'all of them up to the first comparison');
  assert.deepEqual(running, order.map(name => [name]), 'the member that goes on is the one that runs');
  assert.deepEqual([order.length, summary.members.map(({ state, steps }) => [state, steps])], [7, [['finished', 15], ['halved', 10], ['halved', 5], ['halved', 5]]]);
  const after = (name: string, step: number): number => Number(readMetrics(join(folder, 'full/run', name)).filter(isEvalRecord).find(record => record.step === step)!.eval_loss);
  const first = [...names].sort((a, b) => after(a, 5) - after(b, 5)).slice(0, 2);
  assert.deepEqual(summary.members.slice(0, 2).map(({ name }) => name).sort(), [...first].sort());
  const winner = first.sort((a, b) => after(a, 10) - after(b, 10))[0];
  assert.equal(summary.best, winner);
  assertClose(losses(join(folder, 'halved/run', winner)), losses(join(folder, 'full/run', winner)), 1e-5, 'the winner, which was held twice');
}));

for (const [what, sweep] of [['a sweep', GRID], ['a halved sweep', { ...GRID, halving: {} }]] as const) {
  test(`${what} that was interrupted goes on: members that ended are kept, the others end bit for bit the same`, () => inTemporaryFolder(async folder => {
    const whole = await start(sweepIn(join(folder, 'whole'), sweep));
    for (const stop of [3, 12, 27]) {
      const file = sweepIn(join(folder, `stop-${stop}`), sweep);
      const control = new RunControl();
      let seen = 0;
      const first = await start(file, { metrics: ({ records }) => { seen += records.filter(record => !isEvalRecord(record)).length; if (seen === stop) control.want('stop'); } }, control);
      assert.equal(first.state, 'stopped');
      const kept = first.members.filter(({ state }) => state === 'finished').map(({ name }) => name);
      let begun = 0;
      const second = await start(file, { resume: true, started: () => { begun++; } });
      assert.deepEqual(second.members.map(({ name, state, steps, value }) => [name, state, steps, value]), whole.members.map(({ name, state, steps, value }) => [name, state, steps, value]), `stopped after ${stop} steps`);
      assert.ok(begun <= 4 - kept.length);
      for (const { name } of whole.members) assert.ok(adapterFile(join(folder, `stop-${stop}/run`, name)).equals(adapterFile(join(folder, 'whole/run', name))), `${name}, stopped after ${stop} steps`);
    }
  }));
}

test('a member that diverges has failed, the others go on', () => inTemporaryFolder(async folder => {
  const file = sweepIn(folder, { 'training.learning_rate': [1e37, 1e-3] }, { ...UPPER, training: { ...UPPER.training, max_grad_norm: 0 } });
  const summary = await start(file);
  assert.deepEqual(summary.members.map(({ state }) => state), ['finished', 'failed']);
  assert.match(summary.members[1].error!, /became/);
  const resumed = await start(file, { resume: true });
  assert.deepEqual(resumed.members, summary.members, 'also why it failed');
  writeFileSync(join(folder, 'run/sweep.json'), '{}');
  await assert.rejects(start(file, { resume: true }), (error: unknown) => error instanceof LabError && error.report.code === 'sweep.damaged' && error.report.file === join(folder, 'run/sweep.json'));
}));

test('a pause holds the sweep; a second sweep moves the first aside', () => inTemporaryFolder(async folder => {
  const file = sweepIn(folder, { 'lora.lora_alpha': [2, 8] });
  const control = new RunControl();
  let steps = 0, paused!: () => void;
  const whenPaused = new Promise<void>(resolve => { paused = resolve; });
  const ended = start(file, {
    metrics: ({ records }) => { steps += records.filter(record => !isEvalRecord(record)).length; if (steps === 3) control.want('pause'); },
    state: ({ state }) => { if (state === 'paused') paused(); },
  }, control);
  await Promise.race([whenPaused, ended]);
  await sleep(300);
  assert.equal(steps, 3, 'no step while paused');
  control.want('run');
  assert.equal((await ended).state, 'finished');
  assert.equal(steps, 30);
  const first = readFileSync(join(folder, 'run/sweep.json'), 'utf8');
  await start(file);
  assert.equal(readFileSync(join(folder, 'run.1/sweep.json'), 'utf8'), first);
}));

test('what does not go together is refused, before anything is written', () => inTemporaryFolder(async folder => {
  const refused = async (name: string, code: string, sweep: object, changes: CaseChanges = UPPER): Promise<void> => {
    await assert.rejects(start(sweepIn(join(folder, name), sweep, changes)), (error: unknown) => error instanceof LabError && error.report.code === code || assert.fail(String(error)));
    assert.equal(existsSync(join(folder, name, 'run')), false);
  };
  await refused('pissa', 'sweep.start', GRID, { ...UPPER, lora: { ...UPPER.lora, init_lora_weights: 'pissa' } });
  await refused('start', 'sweep.start', GRID, { ...UPPER, lora: { init_adapter: 'adapter_start' } });
  await refused('no-eval', 'experiment.problem', { ...GRID, halving: {} }, { ...UPPER, dataset: { eval: null } });
  await refused('late', 'sweep.halving', { ...GRID, halving: { min_epochs: 3 } });
  await refused('rank', 'lora.rank-too-high', { 'lora.r': [4, 40] });
  const file = sweepIn(join(folder, 'changed'), GRID);
  await assert.rejects(startRun(file).ended, /is a sweep/);
  await start(file);
  const experiment = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, JSON.stringify({ ...experiment, sweep: { 'lora.r': [2, 6] } }));
  await assert.rejects(start(file, { resume: true }), (error: unknown) => error instanceof LabError && error.report.code === 'sweep.changed');
}));
