/** What a person asks of a sweep while it runs: to pause, to save, and to wait for room on a full disk. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { RunControl } from '../../src/engine/control';
import { LabError } from '../../src/engine/errors';
import { SILENT, type Reporter } from '../../src/engine/reporter';
import { runSweep } from '../../src/engine/sweep';
import { Peaks } from '../../src/engine/telemetry';
import { isEvalRecord, type Summary, type SweepSummary } from '../../src/protocol/metrics';
import type { ErrorReport } from '../../src/protocol/engine';
import { inTemporaryFolder, withDisk } from '../support/faults';
import { copyCase, trainRecords } from '../support/runs';

const GRID = { 'training.learning_rate': [1e-3, 5e-3] };
const TRAINING = { max_steps: 6, eval_strategy: 'no', save_strategy: 'steps', save_steps: 3 };

const sweepIn = (folder: string, sweep: object = GRID, training: object = TRAINING): string => copyCase(folder, { training, top: { sweep } });

function start(experiment_file: string, control: RunControl, report: Partial<Reporter> = {}, peaks?: Peaks): Promise<SweepSummary> {
  return runSweep({ experiment_file, resume: false, cwd: join(experiment_file, '..'), control, report: { ...SILENT, ...report }, peaks });
}

const losses = (folder: string, { members }: SweepSummary): number[][] => members.map(({ name }) => trainRecords(join(folder, 'run', name)).map(({ loss }) => Number(loss)));

test('a pause that is asked for at the last step of a member holds the next one, and saving meanwhile writes its checkpoint', () => inTemporaryFolder(async folder => {
  const control = new RunControl();
  const steps: number[] = [];
  let paused: (() => void) | undefined;
  const pausing = new Promise<void>(resolve => { paused = resolve; });
  const ended = start(sweepIn(folder), control, {
    metrics: ({ records }) => {
      for (const record of records) if (!isEvalRecord(record)) steps.push(record.step);
      if (steps.length === 6) control.want('pause');
    },
    state: ({ state }) => { if (state === 'paused') paused!(); },
  });
  await Promise.race([pausing, ended]);
  await sleep(100);
  assert.equal(steps.length, 6, 'the second member has not begun to train');
  const checkpoint = await control.save();
  assert.ok(existsSync(join(checkpoint, 'trainer_state.json')) && checkpoint.endsWith('checkpoint-0'), checkpoint);
  control.want('run');
  assert.equal((await ended).state, 'finished');
  assert.equal(steps.length, 12);
}));

test('a save or a resume that comes while a member is about to be held does not let it run on past the comparison', () => inTemporaryFolder(async folder => {
  const training = { max_steps: -1, num_train_epochs: 2, eval_strategy: 'epoch', save_strategy: 'no' };
  const sweep = { ...GRID, halving: { eta: 2, min_epochs: 1 } };
  const control = new RunControl();
  const order: string[] = [];
  const summary = await start(sweepIn(folder, sweep, training), control, {
    member: ({ name }) => order.push(name),
    metrics: ({ records }) => { if (records.some(isEvalRecord)) { control.want('pause'); control.want('run'); } },
  });
  assert.deepEqual(summary.members.map(({ state }) => state), ['finished', 'halved']);
  assert.equal(order.length, 3, 'each up to the comparison, then the better one');
}));

const HALVED = { max_steps: -1, num_train_epochs: 3, eval_strategy: 'epoch', save_strategy: 'epoch' };

test('to end the worse half is no stop of the sweep: it never says that it stops', () => inTemporaryFolder(async folder => {
  const states: string[] = [];
  const sweep = { 'training.learning_rate': [1e-3, 5e-3, 1e-2], halving: { eta: 2, min_epochs: 1 } };
  const summary = await start(sweepIn(folder, sweep, HALVED), new RunControl(), { state: ({ state }) => states.push(state) });
  assert.ok(summary.members.some(({ state }) => state === 'halved'));
  assert.ok(states.includes('running') && !states.includes('stopping'), states.join());
}));

test('a pause that is asked for during the evaluation before a comparison is told, and Resume ends it', () => inTemporaryFolder(async folder => {
  const control = new RunControl();
  const sweep = { ...GRID, halving: { eta: 2, min_epochs: 1 } };
  let evaluated = 0, paused: (() => void) | undefined;
  const pausing = new Promise<void>(resolve => { paused = resolve; });
  let steps = 0;
  const ended = start(sweepIn(folder, sweep, HALVED), control, {
    metrics: ({ records }) => {
      for (const record of records) if (isEvalRecord(record)) evaluated++; else steps++;
      // The second one's evaluation is the last before the comparison; the first one goes on after it.
      if (evaluated === 2 && records.some(isEvalRecord)) control.want('pause');
    },
    state: ({ state }) => { if (state === 'paused') paused!(); },
  });
  await Promise.race([pausing, ended]);
  const seen = steps;
  await sleep(100);
  assert.equal(steps, seen);
  control.want('run');
  assert.equal((await ended).state, 'finished');
  assert.ok(steps > seen);
}));

test('a save that a member can no longer answer fails, and keeps nobody waiting until the end of the sweep', () => inTemporaryFolder(async folder => {
  const control = new RunControl();
  let answered: string | undefined;
  const answers: (string | undefined)[] = [];
  await start(sweepIn(folder, { 'training.learning_rate': [1e37, 1e-3] }, { ...TRAINING, max_steps: 30, lr_scheduler_type: 'constant', max_grad_norm: 0 }), control, {
    metrics: ({ records }) => { if (records.some(record => 'loss' in record && [record.loss, record.grad_norm].some(value => typeof value === 'string'))) void control.save().then(path => { answered = path; }, (error: unknown) => { answered = String(error); }); },
    member: ({ number }) => { if (number === 1) answers.push(answered); },
  });
  assert.match(String(answers[0]), /has ended before it could save/);
}));

test('on a full disk a watched sweep waits, wherever it writes, and then goes on as if nothing had been', () => inTemporaryFolder(async folder => {
  const straight = await start(sweepIn(join(folder, 'a')), new RunControl());
  // The checkpoint of the first member, its adapter and summary, the second member's folder, and the ranking.
  for (const full of [3, 6, 9]) {
    const own = join(folder, `full-${full}`);
    const control = new RunControl(true);
    const reports: ErrorReport[] = [];
    let seen = 0;
    const summary = await withDisk(disk => start(sweepIn(own), control, {
      metrics: ({ records }) => { if ((seen += records.length) === full) disk.full = true; },
      blocked: ({ report }) => {
        if (!report) return;
        reports.push(report);
        setImmediate(() => { disk.full = false; control.want('run'); });
      },
    }));
    assert.equal(summary.state, 'finished');
    assert.equal(reports.length, 1, `${full}: ${JSON.stringify(reports)}`);
    assert.match(reports[0].cause, /^the disk is full, so the run is paused/);
    assert.deepEqual(losses(own, summary), losses(join(folder, 'a'), straight));
  }
}));

test('who gives up is not asked again for every member, and the sweep ends with the error', () => inTemporaryFolder(async folder => {
  const control = new RunControl(true);
  let asked = 0;
  const training = { max_steps: -1, num_train_epochs: 2, eval_strategy: 'epoch', save_strategy: 'no' };
  const sweep = { 'training.learning_rate': [1e-3, 5e-3, 1e-2], halving: { eta: 2, min_epochs: 1 } };
  const epoch = new Set<number>();
  await assert.rejects(withDisk(disk => start(sweepIn(folder, sweep, training), control, {
    metrics: ({ records }) => { for (const { epoch: place } of records) { epoch.add(place); if (place > 1) disk.full = true; } },
    blocked: ({ report }) => { if (report) { asked++; setImmediate(() => control.want('stop')); } },
  })), (error: unknown) => error instanceof LabError && error.report.code === 'disk.full');
  assert.equal(asked, 1);
}));

test('peaks of the machine are in the summary of every member and of the sweep', () => inTemporaryFolder(async folder => {
  const peaks = new Peaks();
  peaks.take({ time: 0, memory_bytes: 1, peak_memory_bytes: 1, machine_memory_bytes: 2, cpu_cores: 1.5, cores: 2, gpu: { of: 'process', memory_bytes: 3e9, memory_total_bytes: 8e9, utilization: 0.5 } });
  const summary = await start(sweepIn(folder), new RunControl(), {}, peaks);
  const members = summary.members.map(({ name }) => JSON.parse(readFileSync(join(folder, 'run', name, 'summary.json'), 'utf8')) as Summary);
  for (const of of [summary, ...members]) assert.deepEqual([of.peak_cpu_cores, of.peak_gpu_memory_bytes, of.gpu_memory_of, of.peak_gpu_utilization], [1.5, 3e9, 'process', 0.5]);
}));
