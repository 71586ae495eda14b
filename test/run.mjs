/**
 * npm test: sets the machine up, builds, checks types, and runs every test.
 *
 *   node test/run.mjs [unit|engine|webview|extension|workbench …] [--grep TEXT]      (npm test -- …)
 *
 * Without arguments everything runs, two jobs at a time: test/extension inside VS Code's extension host and then test/workbench,
 * which acts as a person in the real workbench, beside unit, engine and webview tests under node:test. Failures are printed
 * again at the end, and the last line is `N passed, N failed`.
 */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../src/tools/paths.mjs';
import { run, start, stop } from '../src/tools/processes.mjs';
import { installPackages, installWorkbench } from '../src/tools/setup.mjs';

const MINUTE = 60_000;
// Whatever GPU this machine has, tests without a device of their own are to give the same numbers everywhere.
process.env.LORA_LAB_AUTO ??= 'cpu';
process.env.LORA_LAB_CACHE ??= join(root, 'test/output/cache');
// Tests that call ONNX Runtime themselves: src/engine/executors/usageData.ts.
process.env.ORT_DISABLE_TELEMETRY = '1';
const parts = process.argv.slice(2).filter((word, index, all) => !word.startsWith('--') && all[index - 1] !== '--grep');
const grep = process.argv.includes('--grep') ? process.argv[process.argv.indexOf('--grep') + 1] : undefined;
const PARTS = ['unit', 'engine', 'webview', 'extension', 'workbench'];
/** Files of twenty seconds and more alone on two cores: begun first, the longest before all, so that no worker is left with one at the end. */
const LONG = [
  'engine/gpuHangs', 'engine/gpuLost', 'engine/webgpu', 'engine/resident', 'webview/page', 'engine/gpuBench', 'engine/webgpuRuns', 'engine/savings', 'engine/gpuMemory',
];
/** How many of the other files one process of node:test runs, one after the other. */
const TOGETHER = 10;
const foreign = parts.find((part) => !PARTS.includes(part));
if (foreign !== undefined) {
  // npm keeps options for itself unless "--" stands before them.
  console.error(`"${foreign}" is no part of the tests; there are ${PARTS.join(', ')}. With npm: npm test -- unit --grep TEXT`);
  process.exit(2);
}
const wanted = (part) => parts.length === 0 || parts.includes(part);

const total = { passed: 0, failed: 0, skipped: 0 };
const failures = [];

function record({ type, title, ms = 0, error, reason }) {
  const time = ms >= 1000 ? ` (${(ms / 1000).toFixed(1)} s)` : '';
  if (type === 'pass') {
    total.passed += 1;
    console.log(`  ✔ ${title}${time}`);
  } else if (type === 'skip') {
    total.skipped += 1;
    console.log(`  - ${title}: skipped${reason ? `, ${reason}` : ''}`);
  } else {
    total.failed += 1;
    failures.push(`✘ ${title}\n${indent(error ?? 'no reason given')}`);
    console.log(`  ✘ ${title}${time}\n${indent(error ?? '')}`);
  }
}

const indent = (text) => text.trimEnd().split('\n').map((line) => `      ${line}`).join('\n');

/** Runs one part of the whole; if it throws, that is one failed test and the others still run. */
async function part(title, work) {
  const begun = Date.now();
  try {
    return await work();
  } catch (error) {
    record({ type: 'fail', title, error: error?.stack ?? String(error) });
    return undefined;
  } finally {
    console.log(`${title}: ${((Date.now() - begun) / 1000).toFixed(1)} s`);
  }
}

/** Runs files under node:test, one after the other; `each` limits a test and a file, `limit` all of them, in milliseconds. */
async function nodeTests(files, { each, limit, env = process.env }) {
  const child = start(process.execPath, [
    '--test', '--test-concurrency=1', `--test-timeout=${each}`, ...(grep ? [`--test-name-pattern=${grep}`] : []),
    '--test-reporter', join(root, 'test/support/reporter.mjs'), '--test-reporter-destination', 'stdout', ...files,
  ], { guarded: true, cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] });
  let late = false;
  const timer = setTimeout(() => { late = true; void stop(child); }, limit);
  const ended = new Promise((done) => child.once('exit', (code, signal) => done(signal ?? code)));
  let heard = 0, failed = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const entry = parse(line);
    if (entry === undefined) console.log(line);
    else if (entry.type === 'output') process.stdout.write(entry.text);
    else {
      heard += 1;
      if (entry.type === 'fail') failed += 1;
      record({ ...entry, title: entry.file === entry.title || !entry.file ? entry.title : `${nameOf(entry.file)}: ${entry.title}` });
    }
  }
  const code = await ended;
  clearTimeout(timer);
  await stop(child);
  if (late) throw new Error(`ended after its time limit of ${limit / 1000} s`);
  if (code !== 0 && failed === 0) throw new Error(`node --test ended with ${code}`);
  if (heard === 0 && !grep) throw new Error('no test ran');
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** `engine/run` of dist/test/engine/run.test.js, `workbench/tree` of test/workbench/tree.test.mjs. */
const nameOf = (file) => relative(root, file).replaceAll('\\', '/').replace(/^(dist\/)?test\//, '').replace(/\.test\.m?[jt]s$/, '');

function builtTests(kind) {
  const folder = join(root, 'dist/test', kind);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith('.test.js')).sort().map((name) => join(folder, name));
}

/** Unit, engine and webview tests as jobs, in the order in which they are to begin. */
function quickJobs() {
  const files = ['engine', 'webview', 'unit'].filter(wanted).flatMap(builtTests);
  const long = LONG.flatMap((name) => files.filter((file) => nameOf(file) === name));
  const others = files.filter((file) => !long.includes(file));
  const groups = long.map((file) => [file]);
  while (others.length) groups.push(others.splice(0, TOGETHER));
  const env = { ...process.env, NODE_OPTIONS: '--enable-source-maps' };
  return groups.map((group) => [
    group.length > 1 ? `${nameOf(group[0])} to ${nameOf(group.at(-1))}` : nameOf(group[0]), () => nodeTests(group, { each: 15 * MINUTE, limit: 20 * MINUTE, env }),
  ]);
}

/** Workbench tests as jobs, each to begin once the workbench is `ready`. */
function workbenchJobs(ready) {
  const folder = join(root, 'test/workbench');
  if (!wanted('workbench') || !existsSync(folder)) return [];
  // A GPU in software takes all cores: that test comes when those of the engine with one are over.
  const isLast = (name) => Number(name === 'gpu.test.mjs');
  const names = readdirSync(folder).filter((name) => name.endsWith('.test.mjs')).sort((a, b) => isLast(a) - isLast(b) || a.localeCompare(b));
  return names.map((name) => join(folder, name)).map((file) => [nameOf(file), async () => {
    await ready;
    await nodeTests([file], { each: 20 * MINUTE, limit: 20 * MINUTE });
  }]);
}

/** Runs test/extension inside the extension host of the desktop editor, or of the served workbench. */
async function extensionTests(desktop) {
  const { copySample } = await import('../src/tools/sample.mjs');
  const folder = mkdtempSync(join(tmpdir(), 'lora-lab-extension-'));
  const report = join(folder, 'report.jsonl');
  const workspace = copySample(join(folder, 'workspace'));
  const env = { LORA_LAB_TEST_REPORT: report, LORA_LAB_TEST_WORKSPACE: workspace, ...(grep ? { LORA_LAB_TEST_GREP: grep } : {}) };
  const index = join(root, 'dist/test/extension/index.js');
  try {
    if (desktop) await desktop.runTests({ index, workspace, env, watch: () => followReport(report, 20 * MINUTE) });
    else await servedTests({ index, workspace, env, report });
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function servedTests({ index, workspace, env, report }) {
  const { startWorkbench, openPage } = await import('../src/tools/workbench.mjs');
  const { launchBrowser } = await import('../src/tools/browser.mjs');
  const workbench = await startWorkbench({ env, tests: true });
  try {
    const browser = await launchBrowser();
    try {
      const page = await openPage(browser, workbench.address(workspace, { module: index }));
      await followReport(report, 20 * MINUTE).catch(async (error) => {
        await page.screenshot({ path: join(root, 'test/output/extension-tests.png') }).catch(() => {});
        throw new Error(`${error.message}\n${workbench.log()}`);
      });
    } finally {
      await browser.close();
    }
  } finally {
    await workbench.stop();
  }
}

/** Prints the results that the extension host writes, until it says that it has ended. */
async function followReport(file, limit) {
  let read = 0;
  for (const until = Date.now() + limit; Date.now() < until; await sleep(200)) {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    for (const entry of lines.slice(read).map((line) => JSON.parse(line))) {
      if (entry.type !== 'end') record({ ...entry, title: `extension: ${entry.title}` });
      else if (entry.error) throw new Error(entry.error);
      else return;
    }
    read = lines.length;
  }
  throw new Error(`the extension host did not finish its tests within ${limit / MINUTE} minutes`);
}

async function main() {
  const begun = Date.now();
  await part('Set-up', installPackages);
  const { findDesktopForTests } = await import('../src/tools/desktop.mjs');
  const desktop = wanted('extension') ? await findDesktopForTests() : undefined;
  // Before the tests, so that no test's time limit counts an installation.
  const ready = wanted('workbench') || (wanted('extension') && !desktop) ? installWorkbench() : Promise.resolve();
  // Who waits for it is told.
  ready.catch(() => {});
  const builds = await part('Build', async () => {
    await run(process.execPath, [join(root, 'src/tools/build.mjs'), '--tests'], { cwd: root, timeout: 10 * MINUTE });
    return true;
  });
  const jobs = [], ofWorkbench = [];
  if (parts.length === 0) {
    jobs.push(['Types', async () => {
      await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', root], { cwd: root, quiet: true, timeout: 10 * MINUTE });
      record({ type: 'pass', title: 'the sources have no type errors' });
    }]);
  }
  if (builds) {
    if (['webview', 'extension', 'workbench'].some(wanted)) await part('Browser', async () => (await import('../src/tools/browser.mjs')).ensureBrowser());
    if (wanted('extension') && builtTests('extension').length) {
      ofWorkbench.push([`Extension tests in ${desktop ? `desktop VS Code (${desktop.executable})` : "VS Code's server and a headless browser"}`, async () => {
        if (!desktop) await ready;
        await extensionTests(desktop);
      }]);
    }
    ofWorkbench.push(...workbenchJobs(ready));
    jobs.push(...quickJobs());
  }
  // One workbench at a time: what a person waits for in it has its limits. While it waits, the other worker computes.
  const worker = async (own) => {
    for (let next; (next = own.shift() ?? jobs.shift()); ) await part(...next);
  };
  await Promise.all([worker(ofWorkbench), worker([])]);
  await ready.catch(() => {});
  if (failures.length) console.log(`\nFailures\n\n${failures.join('\n\n')}`);
  if (total.skipped) console.log(`\n${total.skipped} skipped`);
  console.log(`\nTook ${((Date.now() - begun) / 1000).toFixed(0)} s`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);
}

await main();
