/**
 * Pictures of the extension in the real workbench, for design work and the README.
 *
 *   npm run screenshot -- --run --copy ~/lora-lab-sample --height 1180 --out media/screenshot.png      trains the sample, then takes the picture of the README
 *   npm run screenshot -- --out FILE [--theme "Default Light Modern"] [--width 1400] [--height 900]
 *     [--folder media/sample] [--panel] [--run [--step N] [--copy FOLDER]] [--command "LoRA Lab: Show log"]… [--open FILE]
 *     [--wait-for CSS] [--click CSS]… [--wait SECONDS] [--keep] [--no-build]
 *
 * `--panel` opens the panel of the folder's experiment, `--run` trains it as well, in a copy of the folder, whose path the picture shows: a
 * temporary one, or `--copy`, a new one that is removed again. The picture is taken at step N or at the end. `--command` takes a title of the palette. `--wait-for` and `--click` look into webviews too.
 * `--keep` leaves the workbench running and prints its address. The bundles in dist/ are built first.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root, sample } from './paths.mjs';
import { followRun } from './runReport.mjs';
import { installPackages } from './setup.mjs';

const text = (value) => ({ type: 'string', default: value });
const flag = { type: 'boolean', default: false };
const { values: options } = parseArgs({
  options: {
    out: text('test/output/screenshot.png'), theme: text('Default Dark Modern'), width: text('1400'), height: text('900'), folder: text(sample),
    panel: flag, run: flag, step: { type: 'string' }, copy: { type: 'string' }, command: { type: 'string', multiple: true, default: [] }, open: { type: 'string' },
    'wait-for': { type: 'string' }, click: { type: 'string', multiple: true, default: [] }, wait: text('1'), keep: flag, 'no-build': flag, verbose: flag,
  },
});

await installPackages();
if (!options['no-build']) await (await import('./build.mjs')).build();
const { startWorkbench, openPage, panelFrame, runCommand, webviewFrame } = await import('./workbench.mjs');
const { launchBrowser } = await import('./browser.mjs');

const scratch = mkdtempSync(join(tmpdir(), 'lora-lab-picture-'));
process.once('exit', () => rmSync(scratch, { recursive: true, force: true, maxRetries: 5 }));
const folder = options.run ? copy(resolve(options.folder)) : resolve(options.folder);
const env = {};
if (options.panel || options.run) env.LORA_LAB_OPEN = join(folder, readdirSync(folder).find((name) => name.endsWith('.lora.json')));
if (options.run) env.LORA_LAB_RUN = join(scratch, 'run.json');

const workbench = await startWorkbench({ settings: { 'workbench.colorTheme': options.theme }, env, verbose: options.verbose });
const browser = await launchBrowser();
try {
  const file = options.open && resolve(options.open);
  const page = await openPage(browser, workbench.address(folder, { file }), { width: Number(options.width), height: Number(options.height) });
  if (options.verbose) page.on('console', (message) => console.error(`page: ${message.text()}`));
  if (options.panel || options.run) await panelFrame(page);
  if (options.run) await reached(Number(options.step ?? Infinity));
  if (options.run && !options.step) await panelFrame(page, 'finished');
  for (const command of options.command) await runCommand(page, command);
  const inPageOrWebview = async (selector) => ((await page.locator(selector).count()) ? page : webviewFrame(page, selector));
  if (options['wait-for']) await inPageOrWebview(options['wait-for']);
  for (const selector of options.click) await (await inPageOrWebview(selector)).locator(selector).first().click();
  await sleep(Number(options.wait) * 1000);
  const out = resolve(root, options.out);
  mkdirSync(dirname(out), { recursive: true });
  await page.screenshot({ path: out });
  console.log(out);
  if (options.keep) {
    console.log(`${workbench.address(folder)}\nCtrl-C ends it.`);
    await new Promise(() => {});
  }
} finally {
  await browser.close();
  await workbench.stop();
}
process.exit(0);

/** A copy without runs, so that the picture is of a first one. */
function copy(from) {
  const to = options.copy ? resolve(options.copy) : join(scratch, basename(from));
  if (existsSync(to)) throw new Error(`--copy ${to}: there is such a folder already; name a new one`);
  process.once('exit', () => rmSync(to, { recursive: true, force: true, maxRetries: 5 }));
  cpSync(from, to, { recursive: true, filter: (path) => path !== join(from, 'runs') && path !== join(from, '.lora') });
  return to;
}

/** Waits until the run has made a step, or has ended. */
async function reached(step) {
  const enough = new Error('far enough');
  const onProgress = (state) => {
    if (state.step >= step && !state.ended) throw enough;
  };
  await followRun(env.LORA_LAB_RUN, { onProgress }).catch((error) => {
    if (error !== enough) throw error;
  });
}
