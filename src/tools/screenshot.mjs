/**
 * Pictures of the extension in the real workbench, for design work and the README.
 *
 *   node src/tools/screenshot.mjs --out panel.png [--theme "Default Light Modern"] [--width 1400] [--height 900]
 *     [--folder media/sample] [--command "LoRA Lab: Open experiment"]… [--open FILE] [--wait-for CSS] [--click CSS]… [--wait SECONDS] [--keep]
 *
 * `--command` (may be repeated) takes a title of the palette. `--wait-for` and `--click` look into webviews as well.
 * `--keep` leaves the workbench running and prints its address. The bundles in dist/ are built first.
 */
import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root, sample } from './paths.mjs';
import { installPackages } from './setup.mjs';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: 'test/output/screenshot.png' },
    theme: { type: 'string', default: 'Default Dark Modern' },
    width: { type: 'string', default: '1400' },
    height: { type: 'string', default: '900' },
    folder: { type: 'string', default: sample },
    command: { type: 'string', multiple: true, default: [] },
    open: { type: 'string' },
    'wait-for': { type: 'string' },
    click: { type: 'string', multiple: true, default: [] },
    wait: { type: 'string', default: '2' },
    keep: { type: 'boolean', default: false },
    'no-build': { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});

await installPackages();
if (!options['no-build']) await (await import('./build.mjs')).build();
const { startWorkbench, openPage, runCommand, webviewFrame } = await import('./workbench.mjs');
const { launchBrowser } = await import('./browser.mjs');

const workbench = await startWorkbench({ settings: { 'workbench.colorTheme': options.theme }, verbose: options.verbose });
const browser = await launchBrowser();
try {
  const file = options.open && resolve(options.open);
  const page = await openPage(browser, workbench.address(options.folder, { file }), { width: Number(options.width), height: Number(options.height) });
  if (options.verbose) page.on('console', (message) => console.error(`page: ${message.text()}`));
  // An empty folder shows no row.
  await page.waitForSelector('.explorer-folders-view .monaco-list-row', { timeout: 5_000 }).catch(() => {});
  const inPageOrWebview = async (selector) => ((await page.locator(selector).count()) ? page : webviewFrame(page, selector));
  for (const command of options.command) await runCommand(page, command);
  if (options['wait-for']) await inPageOrWebview(options['wait-for']);
  for (const selector of options.click) await (await inPageOrWebview(selector)).locator(selector).first().click();
  await sleep(Number(options.wait) * 1000);
  const out = resolve(root, options.out);
  mkdirSync(dirname(out), { recursive: true });
  await page.screenshot({ path: out });
  console.log(out);
  if (options.keep) {
    console.log(`${workbench.address(options.folder)}\nCtrl-C ends it.`);
    await new Promise(() => {});
  }
} finally {
  await browser.close();
  await workbench.stop();
}
