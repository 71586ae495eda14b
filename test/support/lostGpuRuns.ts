/**
 * Runs on a GPU that Vulkan loses in the middle, as after a reset of its driver, or that hangs: WebGPU on SwiftShader, with a layer of ours between the two.
 * They are processes of their own, as the command line and the extension host start them. For a test file each, whose tests come one after the other.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, type TestContext } from 'node:test';
import type { Summary } from '../../src/protocol/metrics';
import { knownProbe } from '../../src/engine/executors/probe';
import { buildLostGpu, type LostGpu } from './lostGpu';
import { built } from './paths';
import { copyCase, trainRecords } from './runs';
import { useSwiftShader } from './softwareGpu';

export const folder = mkdtempSync(join(tmpdir(), 'lora-lab-gpu-'));
// What a probe finds on a GPU that is about to be lost is nothing to remember elsewhere.
const kept = { ...process.env };
process.env.LORA_LAB_CACHE = join(folder, 'cache');
const probed = probe();
after(() => { process.env = kept; rmSync(folder, { recursive: true, force: true }); });

/** Why the tests are skipped, if they are; else the runs find the answer of the probe. */
async function probe(): Promise<string | undefined> {
  const reason = useSwiftShader();
  if (reason !== undefined) return reason;
  const result = await knownProbe('webgpu');
  if (result.ok) return undefined;
  const cause = `SwiftShader cannot be used: ${result.cause}`;
  if (!result.missing) throw new Error(cause);
  return `${cause} (libvulkan1 is needed)`;
}

/** More than a loaded machine makes between the third step and the loss of the GPU. */
export const STEPS = 16;
/** A run is told of its lost GPU at once, and ends within seconds, also beside others that compute; a hanging one never does. */
export const PATIENCE_MS = 150_000;
const TRAINING = { max_steps: STEPS, logging_steps: 1, eval_strategy: 'no', save_strategy: 'steps', save_steps: 2 };

/** Tests come one after the other: they share the layer. */
let layer: LostGpu | { reason: string } | undefined;

/** A GPU to be lost and an experiment on it; undefined, and the test skipped by name, where there is none. */
export async function prepared(t: TestContext, name: string): Promise<{ gpu: LostGpu; file: string; run: string } | undefined> {
  const reason = await probed;
  if (reason) { t.skip(reason); return undefined; }
  const gpu = layer ??= buildLostGpu(folder);
  if ('reason' in gpu) { t.skip(gpu.reason); return undefined; }
  gpu.wake();
  const own = mkdtempSync(join(folder, `${name}-`));
  return { gpu, file: copyCase(join(own, 'case'), { training: TRAINING, engine: { device: 'webgpu' } }), run: join(own, 'case/run') };
}

/** What a process said, and that it ended by itself. */
export async function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null; out: string; err: string }> {
  let out = '', err = '';
  child.stdout!.on('data', data => { out += data; });
  child.stderr!.on('data', data => { err += data; });
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  return new Promise(resolve => child.once('close', (code, signal) => { clearTimeout(timer); resolve({ code, signal, out, err }); }));
}

export const train = (file: string, env: NodeJS.ProcessEnv = {}, ...more: string[]): ChildProcess => spawn(process.execPath, [built('engine/cli.js'), 'train', file, ...more], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });

export async function lines(run: string, count: number, child: ChildProcess): Promise<void> {
  const file = join(run, 'metrics.jsonl');
  while ((!existsSync(file) || readFileSync(file, 'utf8').split('\n').length <= count) && child.exitCode === null && child.signalCode === null) await sleep(10);
}

/** The one line that a person is told; nothing else is said of it, and no stack. */
export function onlyMessage(err: string): string {
  const found = err.split('\n').filter(line => /^(error|warn): |^ +at /.test(line));
  assert.equal(found.length, 1, err);
  return found[0];
}

/** The newest checkpoint, and that nothing half-written or half-removed lies beside it. */
export function newest(run: string): string {
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
export async function resumesExactly(file: string, run: string): Promise<void> {
  if (!straight) {
    const other = copyCase(mkdtempSync(join(folder, 'straight-')), { training: TRAINING, engine: { device: 'webgpu' } });
    straight = losses(train(other), join(other, '../run'));
  }
  const [resumed, whole] = await Promise.all([losses(train(file, {}, '--resume'), run), straight]);
  assert.equal(whole.length, 1 + STEPS);
  assert.deepEqual(resumed, whole);
}
