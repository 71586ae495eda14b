/**
 * A GPU that Vulkan loses in the middle of a run, as after a reset of its driver, or that hangs: WebGPU on SwiftShader, with a layer of ours between the two.
 * Runs are processes of their own, as the command line and the extension host start them.
 */
import assert from 'node:assert/strict';
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, test, type TestContext } from 'node:test';
import { createMessageConnection, IPCMessageReader, IPCMessageWriter } from 'vscode-jsonrpc/node';
import { PROTOCOL_VERSION, type ErrorReport } from '../../src/protocol/engine';
import type { Summary } from '../../src/protocol/metrics';
import type { CompiledProgram } from '../../src/engine/executors/executor';
import { knownProbe } from '../../src/engine/executors/probe';
import { buildLostGpu, type LostGpu } from '../support/lostGpu';
import { built } from '../support/paths';
import { copyCase, trainRecords } from '../support/runs';
import { openSoftwareGpu } from '../support/softwareGpu';

const folder = mkdtempSync(join(tmpdir(), 'lora-lab-gpu-'));
let held: CompiledProgram | undefined;
// What a probe finds on a GPU that is about to be lost is nothing to remember elsewhere.
const kept = { ...process.env };
process.env.LORA_LAB_CACHE = join(folder, 'cache');
const opened = openSoftwareGpu().then(async found => {
  if ('reason' in found) return found.reason;
  held = found.device;
  await knownProbe('webgpu');
  return undefined;
});
after(async () => { await held?.dispose(); process.env = kept; rmSync(folder, { recursive: true, force: true }); });

/** More than a loaded machine makes between the third step and the loss of the GPU. */
const STEPS = 16;
/** A run is told of its lost GPU at once, and ends within seconds; a hanging one never does. */
const PATIENCE_MS = 90_000;
/** Seconds that the first step, which compiles all shaders, does not take. */
const SLOWEST = '6';
const TRAINING = { max_steps: STEPS, logging_steps: 1, eval_strategy: 'no', save_strategy: 'steps', save_steps: 2 };

/** Tests come one after the other: they share the layer. */
let layer: LostGpu | { reason: string } | undefined;

/** A GPU to be lost and an experiment on it; undefined, and the test skipped by name, where there is none. */
async function prepared(t: TestContext, name: string): Promise<{ gpu: LostGpu; file: string; run: string } | undefined> {
  const reason = await opened;
  if (reason) { t.skip(reason); return undefined; }
  const gpu = layer ??= buildLostGpu(folder);
  if ('reason' in gpu) { t.skip(gpu.reason); return undefined; }
  gpu.wake();
  const own = mkdtempSync(join(folder, `${name}-`));
  return { gpu, file: copyCase(join(own, 'case'), { training: TRAINING, engine: { device: 'webgpu' } }), run: join(own, 'case/run') };
}

/** What a process said, and that it ended by itself. */
async function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null; out: string; err: string }> {
  let out = '', err = '';
  child.stdout!.on('data', data => { out += data; });
  child.stderr!.on('data', data => { err += data; });
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  return new Promise(resolve => child.once('close', (code, signal) => { clearTimeout(timer); resolve({ code, signal, out, err }); }));
}

const train = (file: string, env: NodeJS.ProcessEnv = {}, ...more: string[]): ChildProcess => spawn(process.execPath, [built('engine/cli.js'), 'train', file, ...more], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });

async function lines(run: string, count: number, child: ChildProcess): Promise<void> {
  const file = join(run, 'metrics.jsonl');
  while ((!existsSync(file) || readFileSync(file, 'utf8').split('\n').length <= count) && child.exitCode === null && child.signalCode === null) await sleep(10);
}

/** The one line that a person is told; nothing else is said of it, and no stack. */
function onlyMessage(err: string): string {
  const found = err.split('\n').filter(line => /^(error|warn): |^ +at /.test(line));
  assert.equal(found.length, 1, err);
  return found[0];
}

/** The newest checkpoint, and that nothing half-written or half-removed lies beside it. */
function newest(run: string): string {
  const names = readdirSync(run).sort();
  assert.deepEqual(names.filter(name => !/^(checkpoint-\d+|experiment\.json|metrics\.jsonl)$/.test(name)), []);
  const steps = names.filter(name => name.startsWith('checkpoint-')).map(name => Number(name.slice(11)));
  assert.ok(steps.length > 0 && Math.max(...steps) < STEPS, names.join());
  return join(run, `checkpoint-${Math.max(...steps)}`);
}

/** What `train` comes to: the result's steps and every logged step. */
async function losses(child: ChildProcess, run: string): Promise<unknown[]> {
  const { code, out, err } = await ended(child);
  assert.equal(code, 0, err);
  return [(JSON.parse(out) as Summary).steps, ...trainRecords(run).map(({ step, loss, grad_norm, tokens }) => [step, loss, grad_norm, tokens])];
}
/** Of a run without the fault. */
let straight: Promise<unknown[]> | undefined;

/** Goes on without the fault, and comes to what a run without it comes to. */
async function resumesExactly(file: string, run: string): Promise<void> {
  if (!straight) {
    const other = copyCase(mkdtempSync(join(folder, 'straight-')), { training: TRAINING, engine: { device: 'webgpu' } });
    straight = losses(train(other), join(other, '../run'));
  }
  const [resumed, whole] = await Promise.all([losses(train(file, {}, '--resume'), run), straight]);
  assert.equal(whole.length, 1 + STEPS);
  assert.deepEqual(resumed, whole);
}

for (const at of ['submit', 'wait'] as const) {
  test(`a GPU that is lost (${at}) ends a run on the command line with one message${at === 'submit' ? ', and a fresh engine goes on from the last checkpoint with the same losses' : ''}`, async t => {
    const given = await prepared(t, at);
    if (!given) return;
    const { gpu, file, run } = given;
    const child = train(file, gpu.env);
    const over = ended(child);
    await lines(run, 3, child);
    gpu.lose(at);
    const { code, signal, out, err } = await over;
    assert.deepEqual([code, signal, out], [2, null, ''], err);
    const checkpoint = newest(run);
    assert.match(onlyMessage(err), /^error: .*webgpu stopped working: the GPU was lost.*Resume from the last checkpoint/);
    assert.ok(err.includes(`The last good checkpoint is ${checkpoint}`), err);
    if (at === 'submit') await resumesExactly(file, run);
  });
}

for (const at of ['submit-hangs', 'wait-hangs'] as const) {
  test(`a GPU that hangs (${at}) is told of and ends with the second Ctrl+C${at === 'submit-hangs' ? ', and the run goes on from its last checkpoint with the same losses' : ''}`, async t => {
    const given = await prepared(t, at);
    if (!given) return;
    const { gpu, file, run } = given;
    const child = train(file, { LORA_LAB_GPU_PATIENCE: SLOWEST, ...gpu.env });
    const over = ended(child);
    const told = new Promise<void>(resolve => { let err = ''; child.stderr!.on('data', data => { if ((err += data).includes('GPU')) resolve(); }); });
    await lines(run, 3, child);
    gpu.lose(at);
    await Promise.race([told, over]);
    child.kill('SIGINT');
    // Less would be the same press, passed on by npm.
    await sleep(500);
    const urgent = Date.now();
    child.kill('SIGINT');
    const { code, signal, out, err } = await over;
    assert.deepEqual([code, signal, out], [null, 'SIGINT', ''], err);
    assert.ok(Date.now() - urgent < 5000, `it took ${Date.now() - urgent} ms to end`);
    assert.match(onlyMessage(err), /^warn: The GPU has not answered since \d\d:\d\d:\d\d\. If it is only slow, wait: .* Ctrl\+C, and once more a second later, ends the run, and --resume goes on from its last checkpoint if there is one/);
    if (at === 'submit-hangs') await resumesExactly(file, run);
  });
}

test('a GPU that is slow is told of, and told of again once it has answered; the run goes on to its end', async t => {
  const given = await prepared(t, 'slow');
  if (!given) return;
  const { gpu, file, run } = given;
  const child = fork(built('engine/main.js'), [], { cwd: folder, stdio: ['ignore', 'ignore', 'ignore', 'ipc'], env: { ...process.env, LORA_LAB_GPU_PATIENCE: SLOWEST, ...gpu.env } });
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
  const told: (number | null)[] = [];
  try {
    connection.onNotification('silent', ({ since }: { since: number | null }) => {
      told.push(since);
      if (since !== null) gpu.wake();
    });
    connection.listen();
    const trained = connection.sendRequest<Summary>('train', { experiment_file: file, resume: false });
    await Promise.race([lines(run, 3, child), trained]);
    const lost = Date.now();
    gpu.lose('wait-hangs');
    assert.equal((await trained).steps, STEPS);
    assert.equal(told.length, 2, told.join());
    assert.ok(told[0]! > lost - 5000 && told[0]! < lost + 5000, `${told[0]! - lost} ms after it had begun to hang`);
    assert.equal(told[1], null);
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    connection.dispose();
  }
});

test('the extension host is told of a lost GPU with the checkpoint to resume from, by an engine that still answers', async t => {
  const given = await prepared(t, 'host');
  if (!given) return;
  const { gpu, file, run } = given;
  const child = fork(built('engine/main.js'), [], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: { ...process.env, ...gpu.env } });
  const exited = new Promise<string>(resolve => child.once('exit', (code, signal) => resolve(String(signal ?? code))));
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  const connection = createMessageConnection(new IPCMessageReader(child), new IPCMessageWriter(child));
  try {
    let said = '';
    child.stderr!.on('data', data => { said += data; });
    connection.listen();
    const trained = connection.sendRequest<Summary>('train', { experiment_file: file, resume: false }).then(() => assert.fail('it trained on a lost GPU'), (error: { data?: ErrorReport }) => error.data);
    const died = exited.then(how => assert.fail(`the engine ended with ${how}: ${said}`));
    // Once the engine is to end, nobody waits for this any more.
    died.catch(() => {});
    await Promise.race([lines(run, 3, child), trained, died]);
    gpu.lose('submit');
    const report = await Promise.race([trained, died]);
    assert.deepEqual([report?.code, report?.lastGoodCheckpoint], ['device.lost', newest(run)], JSON.stringify(report));
    assert.deepEqual(await connection.sendRequest('hello', { protocol: PROTOCOL_VERSION }), { protocol: PROTOCOL_VERSION, pid: child.pid });
    child.disconnect();
    assert.equal(await exited, 'SIGKILL', 'the engine ends when its host does');
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    connection.dispose();
  }
});

for (const at of ['create', 'submit', 'wait'] as const) {
  test(`a GPU that is lost before the first step (${at}) ends the run with one message, and nothing that looks like a checkpoint or a result is left`, async t => {
    const given = await prepared(t, `first-${at}`);
    if (!given) return;
    const { gpu, file, run } = given;
    gpu.lose(at);
    const { code, signal, err } = await ended(train(file, gpu.env));
    assert.deepEqual([code, signal], [2, null], err);
    assert.match(onlyMessage(err), /^error: .*webgpu stopped working: the GPU was lost.*or start again if there is none/);
    assert.ok(!err.includes('last good checkpoint'), err);
    assert.equal(existsSync(run) && readdirSync(run).some(name => !/^(experiment\.json|metrics\.jsonl)$/.test(name)), false);
  });
}
