/** Memory that another thread touches before a session takes it. glibc only: elsewhere nothing is done. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { touchAhead, touchBy, touchFor } from '../../src/engine/memoryAhead';
import { writeCheckpoint } from '../support/checkpoints';
import { noisyStep } from '../support/compareSteps';
import { inTemporaryFolder } from '../support/faults';
import { built } from '../support/paths';
import { copyCase } from '../support/runs';
import { tinyEncoder } from '../support/tinyModel';

const { glibcVersionRuntime } = (process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }).header;
const skip = glibcVersionRuntime === undefined && 'this is no system with glibc';
const MIB = 2 ** 20, PAGE = 4096;

/** As weights are packed. */
const PIECES = Array<number>(20).fill(9 * MIB), PAGES = 20 * 9 * MIB / PAGE;
const faults = (): number => process.resourceUsage().minorPageFault;
/** Page faults of taking and writing all of these, which are kept. */
function faultsOfTaking(): { pieces: Buffer[]; count: number } {
  const before = faults();
  return { pieces: PIECES.map(size => Buffer.allocUnsafeSlow(size).fill(1)), count: faults() - before };
}

test('what is taken after it was touched ahead takes no page faults, and what was not yet touched is not touched after the stop', { skip }, async () => {
  const taken = [faultsOfTaking()];
  assert.ok(taken[0].count > 0.9 * PAGES, 'memory that is new');
  const { port1, port2 } = new MessageChannel();
  touchFor(port1);
  touchBy(port2);
  const stop = await touchAhead(PIECES);
  for (let last = -1; faults() > last; await sleep(50)) last = faults();
  taken.push(faultsOfTaking());
  assert.ok(taken[1].count < 0.1 * PAGES, `${taken[1].count} page faults`);
  stop();
  (await touchAhead(Array(10).fill(PIECES).flat() as number[]))();
  const stopped = faults();
  await sleep(100);
  assert.ok(faults() - stopped < PAGES, 'stopped');
  port2.close();
});

test('products that are computed again ask for no memory beside that of their first time', { skip }, async () => {
  const asked = async (gradient_checkpointing: boolean): Promise<number[]> => {
    const sizes: number[] = [];
    touchBy({ postMessage: (message: ArrayBuffer | string) => { if (message instanceof ArrayBuffer) sizes.push(message.byteLength); } } as MessagePort);
    const model = tinyEncoder({ hidden_size: 64, intermediate_size: 1024, num_hidden_layers: 3 });
    await (await noisyStep(model, { lora: { r: 2, target_modules: ['query', 'value'] }, training: { gradient_checkpointing } })).dispose();
    return sizes.sort((a, b) => a - b);
  };
  const plain = await asked(false);
  // Two feed-forward weights in three layers, each in both directions.
  assert.deepEqual(plain, Array(12).fill(4 * 64 * 1024));
  assert.deepEqual(await asked(true), plain);
});

/** Page faults of the main thread of a run of the engine up to its first step. */
async function mainThreadFaults(file: string, run: string): Promise<number> {
  const child = spawn(process.execPath, [built('engine/cli.js'), 'train', file], { stdio: 'ignore' });
  const ended = new Promise(resolve => child.once('close', resolve));
  const metrics = join(run, 'metrics.jsonl');
  while (child.exitCode === null && !(existsSync(metrics) && readFileSync(metrics, 'utf8').includes('\n'))) await sleep(5);
  const [, count] = /\) \S(?: \S+){6} (\d+)/.exec(readFileSync(`/proc/${child.pid}/task/${child.pid}/stat`, 'utf8'))!;
  child.kill('SIGKILL');
  await ended;
  return Number(count);
}

test('while a run prepares its step, its main thread touches the memory that weights are packed into', { skip }, () => inTemporaryFolder(async folder => {
  const config = { hidden_size: 256, intermediate_size: 4096, num_hidden_layers: 2 };
  const packed = 2 * 4 * config.num_hidden_layers * (2 * config.hidden_size * config.intermediate_size + 4 * config.hidden_size ** 2);
  const run = async (name: string, without: string[]): Promise<number> => {
    const file = copyCase(join(folder, name), { engine: { device: 'cpu', without }, training: { max_steps: 100_000, save_strategy: 'no', eval_strategy: 'no' } });
    const model = join(folder, name, 'model'), vocabulary = readFileSync(join(model, 'vocab.txt'));
    rmSync(join(model, 'model.safetensors'));
    await writeCheckpoint(model, { labels: ['LABEL_0', 'LABEL_1'], config: { ...JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as object, ...config } });
    writeFileSync(join(model, 'vocab.txt'), vocabulary);
    return mainThreadFaults(file, join(folder, name, 'run'));
  };
  const [on, off] = [await run('on', []), await run('off', ['touched_memory'])];
  assert.ok(on - off > 0.6 * packed / PAGE, `${on} and ${off} page faults of the main thread, ${packed / PAGE} pages of packed weights`);
}));
