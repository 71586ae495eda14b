/**
 * Shows the panel outside VS Code, with made-up runs.
 *
 *   node test/webview/support/preview.mjs                      serves it: http://127.0.0.1:PORT/?state=running&theme=dark
 *   node test/webview/support/preview.mjs --shots FOLDER [STATE …] [--widths 420,1400] [--themes dark,light]   takes pictures
 *
 * States and themes: fixtures.ts and themes.ts; those that begin with "compare" are of the page that compares runs (compare.html). The page has the same content security policy as the real one.
 */
import { build } from 'esbuild';
import { mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from '../../../src/tools/browser.mjs';
import { build as buildDist } from '../../../src/tools/build.mjs';

const root = resolve(fileURLToPath(import.meta.url), '../../../..');
const browserBundle = { absWorkingDir: root, bundle: true, write: false, platform: 'browser', format: 'iife', target: 'es2022', outdir: 'out', mainFields: ['module', 'main'] };

const PAGE = `<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'self' 'nonce-n'; script-src 'nonce-n'">
  <meta property="csp-nonce" content="n">
  <link rel="stylesheet" nonce="n" href="panel.css">
  <link rel="icon" href="data:,">
  <title>LoRA experiment</title>
</head>
<body>
  <script nonce="n" src="mockHost.js"></script>
  <main id="panel" aria-busy="true"></main>
  <script nonce="n" src="main.js"></script>
</body>
</html>`;

const TYPES = { js: 'text/javascript', css: 'text/css', map: 'application/json' };

/** Serves the panel and the stand-in host. Returns its address and a function that stops it. `built`: dist/webview is the panel's newest. */
export async function servePreview({ built = false } = {}) {
  if (!built) await buildDist({ only: 'webview' });
  const { outputFiles: [mockHost] } = await build({ ...browserBundle, entryPoints: ['test/webview/support/mockHost.ts'] });
  const made = new Map([['mockHost.js', mockHost.text], ...['main.js', 'compare.js', 'panel.css'].map((name) => [name, readFileSync(join(root, 'dist/webview', name), 'utf8')])]);
  const server = createServer((request, response) => {
    const name = new URL(request.url, 'http://localhost').pathname.slice(1) || 'index.html';
    const text = name === 'index.html' ? PAGE : name === 'compare.html' ? PAGE.replace('main.js', 'compare.js') : made.get(name);
    response.writeHead(text === undefined ? 404 : 200, { 'content-type': TYPES[name.split('.').pop()] ?? 'text/html', 'cache-control': 'max-age=3600' });
    response.end(text);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { address: `http://127.0.0.1:${server.address().port}/`, stop: () => new Promise((done) => server.close(done)) };
}

/** Opens the panel in one state, in a browser or a context of it. Errors of the page, violated policies included, are collected in `errors`. */
export async function openPanel(browser, address, { state = 'ready', theme = 'dark', width = 1400, height = 900 } = {}) {
  const page = await browser.newPage();
  await page.setViewportSize({ width, height });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  await page.goto(`${address}${state.startsWith('compare') ? 'compare.html' : ''}?state=${state}&theme=${theme}`);
  await page.waitForSelector('#panel[aria-busy="false"]');
  return { page, errors };
}

async function takePictures(folder, states, widths, themes) {
  mkdirSync(folder, { recursive: true });
  const preview = await servePreview();
  const browser = await launchBrowser();
  for (const state of states) for (const theme of themes) for (const width of widths) {
    const { page, errors } = await openPanel(browser, preview.address, { state, theme, width });
    if (state === 'finished') {
      await page.fill('#try-text', 'The plot was not original at all, I know! Even so, the whole row clapped at the end.\nRarely have I enjoyed a memoir less.');
      await page.click('#try-button');
      await page.waitForSelector('.tried');
    }
    await page.waitForTimeout(300);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    const path = join(folder, `${state}-${theme}-${width}.png`);
    await page.screenshot({ path, fullPage: true });
    console.log([path, wide > 0 && `${wide} px too wide`, ...errors].filter(Boolean).join(' | '));
    await page.close();
  }
  await browser.close();
  await preview.stop();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const words = process.argv.slice(2);
  const option = (name, fallback) => (words.includes(name) ? words.splice(words.indexOf(name), 2)[1] : fallback);
  const folder = option('--shots', undefined);
  const widths = option('--widths', '1400').split(',').map(Number);
  const themes = option('--themes', 'dark').split(',');
  const known = [...readFileSync(join(root, 'test/webview/support/fixtures.ts'), 'utf8').split('VIEWS')[1].matchAll(/^ {2}(\w+): \{/gm)].map((match) => match[1]);
  if (folder) await takePictures(folder, words.length ? words : known, widths, themes);
  else console.log((await servePreview()).address);
}
