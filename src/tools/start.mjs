/**
 * npm start: opens the extension on the sample workspace, in desktop VS Code where `code` is on the PATH, else in VS Code's
 * server, whose address it prints.
 *
 *   npm start              the sample experiment's panel is open; one click trains it
 *   npm start -- --run     trains it without a click, in a headless browser where there is no desktop, and says what came out
 *
 * Does all set-up itself. Runs go to media/sample/runs, which git ignores.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { findDesktop, openDesktop } from './desktop.mjs';
import { root, sample } from './paths.mjs';
import { unlessEnding } from './processes.mjs';
import { ProgressBar } from './progressBar.mjs';
import { followRun } from './runReport.mjs';
import { installPackages } from './setup.mjs';

const { values: options } = parseArgs({ options: { run: { type: 'boolean', default: false } } });
const experiment = join(sample, 'sentiment.lora.json');
const picture = join(sample, 'runs/panel.png');

await installPackages();
console.error('set-up: building the extension');
await (await import('./build.mjs')).build();
const desktop = findDesktop();
try {
  if (options.run) await trainNow();
  else await openOnly();
} catch (error) {
  await unlessEnding();
  console.error(`\n${error.message}`);
  process.exit(1);
}

async function openOnly() {
  if (desktop) {
    await openDesktop(desktop, sample, { LORA_LAB_OPEN: experiment });
    console.log('\nA VS Code window opens on the sample workspace.\n\n  Click  Start  in the panel "LoRA: sentiment".\n');
    return;
  }
  const { startWorkbench } = await import('./workbench.mjs');
  const workbench = await startWorkbench({ env: { LORA_LAB_OPEN: experiment } });
  const address = await shortAddress(workbench.address(sample));
  const tunnels = [new URL(address).port, workbench.port].map((port) => `-L ${port}:127.0.0.1:${port}`).join(' ');
  const throughSsh = process.env.SSH_CONNECTION ? `\n\nFrom the machine where your browser is both ports are reached with  ssh ${tunnels} …` : '';
  console.log(`\nVS Code is served here, with the extension on the sample workspace.\n\n  1. Open   ${address}\n  2. Click  Start  in the panel "LoRA: sentiment".${throughSsh}\n\nCtrl-C ends it.`);
  await new Promise((done) => workbench.server.once('exit', done));
  throw new Error(`VS Code's server ended:\n${workbench.log()}`);
}

/** The workbench's own address names the extension, the folder and a secret, which is more than a line. */
async function shortAddress(target) {
  const path = `/${randomBytes(6).toString('hex')}`;
  const server = createServer((request, response) => {
    if (request.url === path) response.writeHead(302, { Location: target }).end();
    else response.writeHead(404).end();
  });
  await new Promise((done, fail) => server.once('error', fail).listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${server.address().port}${path}`;
}

async function trainNow() {
  const folder = mkdtempSync(join(tmpdir(), 'lora-lab-start-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const env = { LORA_LAB_OPEN: experiment, LORA_LAB_RUN: join(folder, 'run.json') };
  const bar = new ProgressBar();
  const follow = (alive) => followRun(env.LORA_LAB_RUN, { alive, onProgress: (state) => bar.update(...progressOf(state)) }).finally(() => bar.end());
  if (desktop) {
    await openDesktop(desktop, sample, env);
    report(await follow(), 'it is in the VS Code window');
    return;
  }
  const { startWorkbench, openPage, panelFrame } = await import('./workbench.mjs');
  const { launchBrowser } = await import('./browser.mjs');
  const workbench = await startWorkbench({ env, settings: { 'workbench.colorTheme': 'Default Dark Modern' } });
  const browser = await launchBrowser();
  try {
    const page = await openPage(browser, workbench.address(sample));
    const state = await follow(() => workbench.server.exitCode === null && browser.isConnected());
    await panelFrame(page, 'finished');
    await page.screenshot({ path: picture });
    report(state, relative(process.cwd(), picture));
  } finally {
    await browser.close();
    await workbench.stop();
  }
  process.exit(0);
}

function progressOf({ status, step, total_steps, loss, message }) {
  if (!total_steps || step === 0) return [null, message ?? status];
  return [step / total_steps, `step ${step}/${total_steps}${loss === null ? '' : `  loss ${loss.toFixed(3)}`}${status === 'running' ? '' : `  ${status}`}`];
}

function report({ summary, adapter }, where) {
  const percent = (value, digits) => `${(100 * value).toFixed(digits)} %`;
  const accuracy = summary.eval && summary.eval_before ? `${percent(summary.eval_before.accuracy, 1)} before, ${percent(summary.eval.accuracy, 1)} after` : 'not measured';
  console.log([
    '', `Trained ${summary.steps} steps in ${summary.seconds.toFixed(0)} s on ${summary.device}.`, '',
    `  accuracy    ${accuracy}`,
    `  trainable   ${summary.trainable_parameters.toLocaleString('en')} of ${summary.all_parameters.toLocaleString('en')} parameters, ${percent(summary.trainable_parameters / summary.all_parameters, 2)}`,
    `  adapter     ${relative(process.cwd(), adapter)}`,
    `  panel       ${where}`, '',
  ].join('\n'));
}
