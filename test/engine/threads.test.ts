/** A run computes with as many threads as it says: one for each core, or what the experiment asks for. */
import assert from 'node:assert/strict';
import { pbkdf2 } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import * as ort from 'onnxruntime-node';
import { LabError } from '../../src/engine/errors';
import { coreThreads } from '../../src/engine/executors/cpuThreads';
import { readJsonObject } from '../../src/engine/files';
import { generate } from '../../src/engine/generate';
import { createTrainingStep } from '../../src/engine/training/step';
import { stepOptions } from '../../src/engine/stepOptions';
import { prepare } from '../../src/engine/prepare';
import { readExperimentFile } from '../../src/engine/experimentFile';
import { SILENT } from '../../src/engine/reporter';
import { inTemporaryFolder } from '../support/faults';
import { copyCase, startRun } from '../support/runs';

const NOT_LINUX = process.platform !== 'linux' && 'threads are listed on Linux, and counted there';

const threadsOfProcess = (): number => readdirSync('/proc/self/task').length;

/** Calls of ONNX Runtime are made on threads of Node's own, which begin with the first. */
const beginOwnThreads = (): Promise<unknown> => Promise.all(Array.from({ length: 32 }, () => promisify(pbkdf2)('a', 'b', 1000, 16, 'sha1')));

/** What each session that `work` makes is told of threads. */
async function toldSessions(work: () => Promise<unknown>): Promise<(number | undefined)[]> {
  const { InferenceSession } = ort;
  const { create } = InferenceSession;
  const told: (number | undefined)[] = [];
  InferenceSession.create = ((bytes: Uint8Array, options: ort.InferenceSession.SessionOptions) => {
    told.push(options.intraOpNumThreads);
    return create.call(InferenceSession, bytes, options);
  }) as typeof create;
  try { await work(); } finally { InferenceSession.create = create; }
  return told;
}

test('a training step has a thread for each core: that which calls it, and the others beside', { skip: NOT_LINUX }, () => inTemporaryFolder(async folder => {
  const source = readExperimentFile(copyCase(folder, { engine: { device: 'cpu', without: ['touched_memory'] } }));
  const prepared = prepare(source, null, SILENT);
  const begun = async (threads: number | null): Promise<number> => {
    await beginOwnThreads();
    const before = threadsOfProcess();
    let step!: Awaited<ReturnType<typeof createTrainingStep>>;
    const sessions = await toldSessions(async () => {
      step = await createTrainingStep({ ...stepOptions(source.experiment, prepared), threads });
      await step.accumulate([prepared.train.get(0)], 1, null);
      await step.update({ learning_rate: 1e-3, step: 1 });
    });
    const more = (threadsOfProcess() - before) / sessions.length;
    await step.dispose();
    return 1 + more;
  };
  // Whatever else Node begins once, the first step has begun.
  await begun(1);
  assert.equal(await begun(1), 1);
  assert.equal(await begun(null), coreThreads());
  const most = Math.min(3, availableParallelism());
  assert.equal(await begun(most), most, 'what is asked for');
}));

test('every session of a run has the threads that the experiment asks for, and the run says how many', () => inTemporaryFolder(async folder => {
  const training = { predict_with_generate: true, max_steps: 2, eval_strategy: 'steps', eval_steps: 2, save_strategy: 'no', generation_max_length: 40, max_length: 64 };
  const file = copyCase(folder, { training, engine: { device: 'cpu', precision: 'int4', threads: 1 } }, 'gpt2-completion');
  let device = '';
  const told = await toldSessions(async () => { device = (await startRun(file, { started: run => { assert.match(run.device, /, 1 thread\)$/); } }).ended).device; });
  assert.ok(told.length >= 4, `the exact first step, the step, its optimizer and the writing: ${told}`);
  assert.deepEqual([...new Set(told)], [1]);
  assert.match(device, /^cpu \(onnxruntime [\d.]+, 1 thread\)$/);
  const tried = await toldSessions(() => generate({ base: join(folder, 'model'), adapter: join(folder, 'run/adapter'), prompts: ['a film'], max_new_tokens: 2, threads: 1 }, { device: 'cpu' }));
  assert.deepEqual([...new Set(tried)], [1], 'and trying it');
}));

test('a run may go on with another number of threads', () => inTemporaryFolder(async folder => {
  const steps = { training: { max_steps: 4, save_strategy: 'steps', save_steps: 2, eval_strategy: 'no' } };
  await startRun(copyCase(folder, { ...steps, engine: { device: 'cpu', threads: 1 } }), { onStep: ({ step }, control) => { if (step === 2) control.want('stop'); } }).ended;
  assert.equal((readJsonObject(join(folder, 'run/experiment.json'), 1 << 20).engine as { threads: number }).threads, 1);
  const { state, device } = await startRun(copyCase(folder, { ...steps, engine: { device: 'cpu' } }), { resume: true }).ended;
  assert.equal(state, 'finished');
  if (!NOT_LINUX) assert.match(device, new RegExp(`, ${coreThreads()} threads?\\)$`));
}));

test('more threads than the machine has CPUs are refused at the line that asks for them, before anything is written', () => inTemporaryFolder(async folder => {
  const file = copyCase(folder, { engine: { device: 'cpu', threads: 5000 } });
  await assert.rejects(startRun(file).ended, (error: unknown) => error instanceof LabError && error.report.code === 'device.threads' && /^line \d+, engine\.threads$/.test(error.report.where!) && /is 5000, and there (is|are) \d+ CPU/.test(error.report.cause));
  assert.ok(!readdirSync(folder).includes('run'));
}));
