/**
 * What the laboratory costs beside the step itself: node test/bench/overheads.mjs [--seconds 15] [--rounds 3] [--only sample|BERT-base] [--no-panel]
 * The sample is trained in a terminal without and with a checkpoint every fifth step, in turns, and in the real workbench with the panel open. There
 * the processor time of extension host, page and engine is read from /proc: with the panel open and no run, the same while the experiment trains in
 * a terminal, while the workbench trains it, and then once more where VS Code looks for ports to forward. What the panel's own script and layout take
 * of the page is told by a trace of the browser; and the panel alone, with a short and a long run. Linux only, and needs an otherwise idle machine.
 * Afterwards the same with a BERT-base, if `npm run bench` has left one.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, cpSync, existsSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { parse } from 'jsonc-parser';
import { build } from '../../src/tools/build.mjs';
import { launchBrowser } from '../../src/tools/browser.mjs';
import { root } from '../../src/tools/paths.mjs';
import { start, stop } from '../../src/tools/processes.mjs';
import { copySample } from '../../src/tools/sample.mjs';
import { openPage, panelFrame, startWorkbench } from '../../src/tools/workbench.mjs';
import { aLongRun } from './longRun.mjs';
import { tracePanel } from './pageTrace.mjs';

const TICK = 0.01;
/** A checkpoint's five files, its folder, the run's folder and the log. */
const FORCED = 8;
const { values: given } = parseArgs({ options: { seconds: { type: 'string', default: '15' }, rounds: { type: 'string', default: '3' }, only: { type: 'string' }, 'no-panel': { type: 'boolean' } } });
const SUBJECTS = ['sample', 'BERT-base'];
if (given.only !== undefined && !SUBJECTS.includes(given.only)) {
  console.error(`--only "${given.only}": it is one of ${SUBJECTS.join(', ')}`);
  process.exit(2);
}
const bert = join(tmpdir(), 'lora-lab-bench/bert-base');
if (given.only === 'BERT-base' && !existsSync(bert)) {
  console.error(`there is no ${bert}; "npm run bench -- --rows 1 --rounds 1" leaves one`);
  process.exit(2);
}
const [seconds, rounds] = [Number(given.seconds), Number(given.rounds)];
const folder = mkdtempSync(join(tmpdir(), 'lora-lab-overheads-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
await build();

if (given.only !== 'BERT-base') {
  const sample = copySample(join(folder, 'sample'));
  await cost('sample', sample, settings(join(sample, 'sentiment.lora.json'), { num_train_epochs: 4, eval_strategy: 'no', save_strategy: 'no' }));
}
if (!given['no-panel']) await panelAlone();
if (existsSync(bert) && given.only !== 'sample') {
  const workspace = copySample(join(folder, 'large'));
  cpSync(bert, join(workspace, 'bert-base'), { recursive: true });
  // As the rows of the bench have it: what the folder was made with is another bench's affair.
  const config = join(workspace, 'bert-base/config.json');
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 }));
  await cost('BERT-base', workspace, settings(join(workspace, 'sentiment.lora.json'), { max_steps: 25, eval_strategy: 'no', save_strategy: 'no' }, { base_model: 'bert-base' }));
}
process.exit(0);

async function cost(name, workspace, file) {
  const steps = [], saves = [];
  for (let round = 0; round < rounds; round++) {
    const plain = inTerminal(settings(file, { save_strategy: 'no' }));
    const saving = inTerminal(settings(file, { save_strategy: 'steps', save_steps: 5 }));
    steps.push(plain.seconds / plain.steps);
    saves.push((saving.seconds - plain.seconds) / Math.floor(saving.steps / 5));
  }
  const [step, save, forced] = [middle(steps), middle(saves), forcing()];
  console.log(`${name}: a step takes ${milliseconds(step)}; a checkpoint makes training ${milliseconds(save)} longer (${saves.map(milliseconds).join(', ')}), ${(save / step).toFixed(2)} of a step. Forcing ${FORCED} small files to this disk one by one takes ${milliseconds(forced)}, ${(forced / step).toFixed(2)} of a step`);
  if (!given['no-panel']) await inWorkbench(name, workspace, settings(file, { save_strategy: 'no', max_steps: -1, num_train_epochs: 500 }), step);
}

function settings(file, training, rest = {}) {
  const experiment = parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...experiment, ...rest, training: { ...experiment.training, ...training }, engine: { device: 'cpu' } }, null, 2));
  return file;
}

/** The steps in a log, but for a last line that is being written. */
function records(metrics) {
  return readFileSync(metrics, 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line)).filter((record) => record.loss !== undefined);
}

/** Seconds from the first to the last logged step, and the steps between. */
function inTerminal(file) {
  const summary = JSON.parse(execFileSync(process.execPath, [join(root, 'dist/engine/cli.js'), 'train', file], { stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8' }));
  const all = records(join(summary.adapter, '../metrics.jsonl'));
  return { seconds: all.at(-1).time - all[0].time, steps: all.at(-1).step - all[0].step };
}

/** Seconds that small files take to reach the disk, one after the other: the median of ten rounds. */
function forcing() {
  const place = mkdtempSync(join(folder, 'forced-'));
  const round = (n) => {
    const begun = performance.now();
    for (let i = 0; i < FORCED; i++) {
      const fd = openSync(join(place, `${n}-${i}`), 'wx');
      writeSync(fd, Buffer.alloc(1 << 14));
      fsyncSync(fd);
      closeSync(fd);
    }
    return (performance.now() - begun) / 1000;
  };
  return middle(Array.from({ length: 10 }, (_, n) => round(n)));
}

/** As `median` of arithmetic.ts, which this script, not being built, cannot import. */
function middle(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** The panel outside VS Code, at 100 steps a second: what it costs must not grow with a run's length. */
async function panelAlone() {
  for (const steps of [300, 30_000]) {
    const { script, layout, drawing } = await aLongRun(steps, 8);
    console.log(`The panel alone after ${steps} steps, 100 more a second: script ${share(script)}, layout and paint ${share(layout)}, composing and drawing ${share(drawing)}`);
  }
}

async function inWorkbench(name, workspace, file, step) {
  const workbench = await startWorkbench({ env: { LORA_LAB_OPEN: file } });
  const browser = await launchBrowser();
  try {
    const page = await openPage(browser, workbench.address(workspace));
    const panel = await panelFrame(page, undefined, 60_000);
    await sleep(20_000);
    const idle = await usageInRounds();
    const beside = await besideTerminal(name, file);
    await panel.locator('[data-action="start"]').click();
    const metrics = join(workspace, 'runs/sentiment/metrics.jsonl');
    await underWay(metrics);
    const before = records(metrics).at(-1);
    const busy = await usageInRounds();
    const after = records(metrics).at(-1);
    const traced = await tracePanel(browser, page, seconds);
    change(workbench, { 'remote.autoForwardPortsSource': 'process' });
    // The first searches come in quick succession, and compile what they run.
    await sleep(10_000);
    const searching = await usageInRounds();
    await page.screenshot({ path: join(root, 'test/output', `overheads-${name}.png`) }).catch(() => {});
    await panel.locator('[data-action="stop"]').click();
    const watched = (after.time - before.time) / (after.step - before.step);
    const of = (usages, kind) => middle(usages.map((usage) => usage[kind]));
    const rounds = (usages, kind) => `${share(of(usages, kind))} (${usages.map((usage) => share(usage[kind]).replace(' %', '')).join(', ')})`;
    const above = (kind) => Math.max(0, of(busy, kind) - of(idle, kind));
    const [reporting, log] = [of(busy, 'reporting'), logging(1 / watched)];
    const telemetry = traced.script + traced.layout + reporting + log;
    console.log([
      `${name} in the workbench, ${(1 / watched).toFixed(1)} steps a second, of one core, the middle of ${busy.length} rounds of ${seconds} s:`,
      `  extension host        ${rounds(busy, 'host')}; with the panel open and no run ${rounds(idle, 'host')}, while the same trains in a terminal instead ${rounds(beside, 'host')}`,
      `  looking for ports too ${rounds(searching, 'host')}, as VS Code does where the folder is on another machine that runs Linux`,
      `  telemetry, charting   ${share(telemetry)} of a step: panel's script ${share(traced.script)}, its layout and paint ${share(traced.layout)}, engine's messages and samples ${share(reporting)}, log ${share(log)}`,
      `  and with it           ${share(telemetry + traced.drawing + above('watcher'))}: composing and drawing the canvases without a GPU ${share(traced.drawing)}, VS Code's watcher of files ${share(above('watcher'))}`,
      `  page's processes      ${rounds(busy, 'page')}, ${share(above('page'))} above idle, drawing in software included; main thread ${share(traced.main)}`,
      `  engine                ${share(of(busy, 'engine'))}`,
      `  a step takes ${(100 * (watched / step - 1)).toFixed(1)} % longer than in a terminal`,
    ].join('\n'));
  } finally {
    await browser.close();
    await workbench.stop();
    await sleep(500);
  }
}

/** What the workbench with its panel takes without a run of its own while the same experiment trains in a terminal: busy cores and cold caches, but no messages. */
async function besideTerminal(name, file) {
  const other = file.replace('sentiment.lora.json', 'terminal.lora.json');
  const out = join(folder, `${name}-terminal`);
  cpSync(file, other);
  const child = start(process.execPath, [join(root, 'dist/engine/cli.js'), 'train', settings(other, {}, { output_dir: out })], { guarded: true, stdio: ['ignore', 'ignore', 'ignore'] });
  try {
    await underWay(join(out, 'metrics.jsonl'));
    return await usageInRounds();
  } finally {
    await stop(child);
    rmSync(other);
    await sleep(2000);
  }
}

/** Changes settings of a running workbench, which follows the file. */
function change(workbench, wanted) {
  const file = join(workbench.data, 'data/Machine/settings.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...wanted }));
}

/** Waits until a run is past its first steps. */
async function underWay(metrics) {
  for (const until = Date.now() + 120_000; !existsSync(metrics) || records(metrics).length < 10;) {
    if (Date.now() > until) throw new Error(`no run wrote ten steps to ${metrics} within two minutes`);
    await sleep(500);
  }
  await sleep(5000);
}

/** Seconds a second that the log takes at so many lines a second: as `metricsLog.ts` does, each is made a text, and every half second those there are are written. */
function logging(lines) {
  const fd = openSync(join(folder, `log-${Math.random()}`), 'a');
  const record = { step: 1234, epoch: 1.234567, loss: 0.123456789, grad_norm: 1.23456789, learning_rate: 1e-3, tokens: 123456, tokens_per_second: 12345.678, time: 123.456 };
  const writes = Math.min(2, lines), together = Math.round(lines / writes);
  const begun = performance.now();
  for (let i = 0; i < 200; i++) writeSync(fd, Buffer.from(Array.from({ length: together }, () => `${JSON.stringify(record, (_, part) => part)}\n`).join('')));
  const each = (performance.now() - begun) / 200 / 1000;
  closeSync(fd);
  return writes * each;
}

async function usageInRounds() {
  const usages = [];
  for (let round = 0; round < rounds; round++) usages.push(await usageDuring(seconds));
  return usages;
}

/** Processor seconds a second, by what a process is. `reporting`: the engine's main thread, which passes messages on and takes samples. */
async function usageDuring(duration) {
  const begin = usage();
  await sleep(1000 * duration);
  const end = usage();
  return Object.fromEntries(Object.keys(begin).filter((kind) => kind !== 'time').map((kind) => [kind, (end[kind] - begin[kind]) / (end.time - begin.time)]));
}

function usage() {
  const sums = { time: performance.now() / 1000, host: 0, page: 0, engine: 0, reporting: 0, watcher: 0 };
  for (const line of execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8', maxBuffer: 1 << 24 }).trim().split('\n')) {
    const [, pid, args] = /^\s*(\d+) (.*)$/.exec(line);
    const engine = args.includes(join('dist', 'engine', 'main.js'));
    const kind = args.includes('--type=extensionHost') ? 'host' : args.includes('--type=fileWatcher') ? 'watcher' : /--type=(renderer|gpu-process)/.test(args) ? 'page' : engine ? 'engine' : null;
    if (kind) sums[kind] += processorSeconds(`/proc/${pid}/stat`);
    if (engine) sums.reporting += processorSeconds(`/proc/${pid}/task/${pid}/stat`);
  }
  return sums;
}

function processorSeconds(file) {
  try {
    const fields = readFileSync(file, 'utf8').replace(/^.*\) /, '').split(' ');
    return TICK * (Number(fields[11]) + Number(fields[12]));
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0;
    throw error;
  }
}

function milliseconds(value) {
  return `${(1000 * value).toFixed(1)} ms`;
}

function share(value) {
  return `${(100 * value).toFixed(2)} %`;
}
