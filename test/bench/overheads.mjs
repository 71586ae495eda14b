/**
 * What the laboratory costs beside the step itself: node test/bench/overheads.mjs
 * The sample is trained in a terminal without and with a checkpoint every fifth step, and in the real workbench with the panel
 * open, where the processor time of extension host and page is read from /proc. Linux only, and needs an otherwise idle machine.
 * Afterwards the same in the workbench with a BERT-base, if `npm run bench` has left one.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'jsonc-parser';
import { build } from '../../src/tools/build.mjs';
import { launchBrowser } from '../../src/tools/browser.mjs';
import { root } from '../../src/tools/paths.mjs';
import { followRun } from '../../src/tools/runReport.mjs';
import { copySample } from '../../src/tools/sample.mjs';
import { openPage, startWorkbench } from '../../src/tools/workbench.mjs';

const TICK = 0.01;
const folder = mkdtempSync(join(tmpdir(), 'lora-lab-overheads-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
await build();

const sample = copySample(join(folder, 'sample'));
const small = settings(join(sample, 'sentiment.lora.json'), { num_train_epochs: 8, eval_strategy: 'no', save_strategy: 'no' });
const plain = inTerminal(small);
const saving = inTerminal(settings(small, { save_strategy: 'steps', save_steps: 5 }));
const saves = Math.floor(saving.steps / 5);
const perSave = (saving.seconds - plain.seconds) / saves;
console.log(`sample: a step takes ${milliseconds(plain.seconds / plain.steps)}; saving a checkpoint ${milliseconds(perSave)}, ${(perSave / (plain.seconds / plain.steps)).toFixed(2)} of a step`);
await inWorkbench('sample', sample, settings(small, { save_strategy: 'no', num_train_epochs: 24 }), plain);

const bench = join(tmpdir(), 'lora-lab-bench');
if (existsSync(join(bench, 'bert-base'))) {
  const workspace = copySample(join(folder, 'large'));
  cpSync(join(bench, 'bert-base'), join(workspace, 'bert-base'), { recursive: true });
  const large = settings(join(workspace, 'sentiment.lora.json'), { max_steps: 25, eval_strategy: 'no', save_strategy: 'no', per_device_train_batch_size: 16 }, { base_model: 'bert-base' });
  const steps = inTerminal(large);
  const withSaves = inTerminal(settings(large, { save_strategy: 'steps', save_steps: 5 }));
  console.log(`BERT-base: a step takes ${milliseconds(steps.seconds / steps.steps)}; saving a checkpoint ${milliseconds((withSaves.seconds - steps.seconds) / 5)}`);
  await inWorkbench('BERT-base', workspace, settings(large, { save_strategy: 'no', max_steps: 80 }), steps);
}
process.exit(0);

function settings(file, training, rest = {}) {
  const experiment = parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...experiment, ...rest, training: { ...experiment.training, ...training }, engine: { device: 'cpu' } }, null, 2));
  return file;
}

/** Seconds from the first to the last logged step, and the steps between. */
function duration(metrics) {
  const records = readFileSync(metrics, 'utf8').trim().split('\n').map((line) => JSON.parse(line)).filter((record) => record.loss !== undefined);
  return { seconds: records.at(-1).time - records[0].time, steps: records.at(-1).step - records[0].step };
}

function inTerminal(file) {
  const summary = JSON.parse(execFileSync(process.execPath, [join(root, 'dist/engine/cli.js'), 'train', file], { stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8' }));
  return duration(join(summary.adapter, '../metrics.jsonl'));
}

async function inWorkbench(name, workspace, file, plain) {
  const report = join(folder, `${name}.json`);
  const workbench = await startWorkbench({ env: { LORA_LAB_OPEN: file, LORA_LAB_RUN: report } });
  const browser = await launchBrowser();
  try {
    await openPage(browser, workbench.address(workspace));
    const seen = { begun: undefined };
    const state = await followRun(report, {
      alive: () => workbench.server.exitCode === null,
      onProgress({ step, total_steps }) {
        // What the workbench does after its start is over by then.
        if (!seen.begun && step > total_steps / 3) seen.begun = usage();
        if (step < total_steps * 0.95) seen.ended = usage();
      },
    });
    const seconds = seen.ended.time - seen.begun.time;
    const share = (kind) => `${(100 * (seen.ended[kind] - seen.begun[kind]) / seconds).toFixed(1)} %`;
    const watched = duration(join(state.adapter, '../metrics.jsonl'));
    const slower = watched.seconds / watched.steps / (plain.seconds / plain.steps) - 1;
    console.log(`${name} in the workbench, of one core: extension host ${share('host')}, page ${share('page')}, engine ${share('engine')}; a step takes ${(100 * slower).toFixed(1)} % longer than in a terminal`);
  } finally {
    await browser.close();
    await workbench.stop();
    await sleep(500);
  }
}

/** Processor seconds so far, by what a process is. */
function usage() {
  const sums = { time: performance.now() / 1000, host: 0, page: 0, engine: 0 };
  for (const line of execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8', maxBuffer: 1 << 24 }).trim().split('\n')) {
    const [, pid, args] = /^\s*(\d+) (.*)$/.exec(line);
    const kind = args.includes('--type=extensionHost') ? 'host' : /--type=(renderer|gpu-process)/.test(args) ? 'page' : args.includes(join('dist', 'engine', 'main.js')) ? 'engine' : null;
    if (kind) sums[kind] += processorSeconds(pid);
  }
  return sums;
}

function processorSeconds(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    return TICK * (Number(fields[11]) + Number(fields[12]));
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0;
    throw error;
  }
}

function milliseconds(seconds) {
  return `${(1000 * seconds).toFixed(1)} ms`;
}
