/**
 * The served workbench: VS Code's own server with our extension in it, and pages of it in a headless browser.
 * Everything it writes goes to a temporary folder that is removed when it stops.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from './paths.mjs';
import { onEnd, start, stop } from './processes.mjs';
import { installWorkbench } from './setup.mjs';

/** Settings that keep a first start quiet: no welcome page, no tips, no questions. */
const QUIET = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.enableExperiments': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'chat.disableAIFeatures': true,
  'extensions.ignoreRecommendations': true,
  'git.enabled': false,
  'npm.autoDetect': 'off',
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  // Otherwise the extension host looks through all of /proc every few seconds for ports to forward, of which a workbench on this machine needs none;
  // `remote.autoForwardPorts` alone does not end that where VS Code's server brings a provider of tunnels.
  'remote.autoForwardPortsSource': 'output',
};

/** How long is waited for what a person would see, in milliseconds: many times what it takes, as other work may go on on the machine. */
export const PATIENCE_MS = 150_000;

/** A port of the loopback interface that is free now. */
async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((done, fail) => probe.once('listening', done).once('error', fail));
  const { port } = probe.address();
  await new Promise((done) => probe.close(done));
  return port;
}

/**
 * Starts the server and waits until it answers.
 * @param {{ settings?: object, env?: NodeJS.ProcessEnv, tests?: boolean, verbose?: boolean }} options `env`: added to what the
 *   extension host sees; `tests`: it can run a test module, and shows no notifications and dialogs then
 * @returns {Promise<Workbench>}
 */
export async function startWorkbench({ settings = {}, env = {}, tests = false, verbose = false } = {}) {
  const place = await installWorkbench();
  const port = await freePort();
  const data = mkdtempSync(join(tmpdir(), 'lora-lab-workbench-'));
  mkdirSync(join(data, 'data/Machine'), { recursive: true });
  writeFileSync(join(data, 'data/Machine/settings.json'), JSON.stringify({ ...QUIET, ...settings }, null, 2));
  if (!tests) install(join(data, 'extensions'));
  // Whoever reaches the workbench can run programs as us: other people of this machine must not get in by its port.
  const token = randomBytes(16).toString('hex');
  writeFileSync(join(data, 'token'), token, { mode: 0o600 });
  const server = start(place.node, [
    place.server, '--host', '127.0.0.1', '--port', String(port), '--connection-token-file', join(data, 'token'), '--accept-server-license-terms',
    ...(tests ? ['--enable-smoke-test-driver'] : []), '--disable-workspace-trust', '--telemetry-level', 'off', '--server-data-dir', data,
  ], { guarded: true, cwd: root, env: { ...cleanEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const workbench = new Workbench({ port, token, server, data, tests });
  let log = '';
  for (const stream of [server.stdout, server.stderr]) {
    stream.on('data', (chunk) => {
      log = (log + chunk).slice(-20_000);
      if (verbose) process.stderr.write(chunk);
    });
  }
  workbench.log = () => log;
  for (const until = Date.now() + PATIENCE_MS; ;) {
    if (server.exitCode !== null) throw new Error(`VS Code's server ended with exit code ${server.exitCode}:\n${log}`);
    if (await answers(port)) return workbench;
    if (Date.now() > until) {
      await workbench.stop();
      throw new Error(`VS Code's server did not answer within ${PATIENCE_MS / 1000} s:\n${log}`);
    }
    await sleep(100);
  }
}

/** Extensions under development are loaded by the test driver only; a person gets ours as an installed one. */
function install(extensions) {
  const { publisher, name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  mkdirSync(extensions);
  symlinkSync(root, join(extensions, `${publisher}.${name}-${version}`), 'junction');
}

/** Variables of an editor's own terminal would make the server believe that it runs inside that editor. */
function cleanEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VSCODE_|ELECTRON_|NODE_OPTIONS$|npm_)/.test(name)));
}

async function answers(port) {
  try {
    return (await fetch(`http://127.0.0.1:${port}/version`, { signal: AbortSignal.timeout(2000) })).ok;
  } catch {
    return false;
  }
}

/** A running server. */
export class Workbench {
  #takeBack = onEnd(() => this.stop());
  /** Whichever way this process ends, nothing of the server's may stay. */
  #remove = () => rmSync(this.data, { recursive: true, force: true, maxRetries: 5 });

  constructor(parts) {
    Object.assign(this, parts);
    process.once('exit', this.#remove);
  }

  /** The address of a file or folder of this machine as the workbench knows it. */
  #uri(path) {
    const absolute = resolve(path).split(sep).join('/');
    return `vscode-remote://127.0.0.1:${this.port}${absolute.startsWith('/') ? '' : '/'}${encodeURI(absolute)}`;
  }

  /**
   * Address of the workbench on a folder.
   * @param {string} folder workspace
   * @param {{ module?: string, file?: string }} options `module`: its `run` function is called in the extension host; `file`: opened in an editor
   */
  address(folder, { module, file } = {}) {
    const payload = [];
    if (this.tests) payload.push(['extensionDevelopmentPath', this.#uri(root)]);
    if (module) payload.push(['extensionTestsPath', this.#uri(module)]);
    if (file) payload.push(['openFile', this.#uri(file)]);
    const path = resolve(folder).split(sep).join('/');
    const query = [`folder=${encodeURIComponent(path)}`, ...(payload.length ? [`payload=${encodeURIComponent(JSON.stringify(payload))}`] : []), `tkn=${this.token}`];
    return `http://127.0.0.1:${this.port}/?${query.join('&')}`;
  }

  /** Ends the server with everything it started, and removes what it wrote. */
  async stop() {
    this.#takeBack();
    await stop(this.server);
    this.#remove();
    process.off('exit', this.#remove);
  }
}

/**
 * Opens the workbench in a page and waits until it can be used.
 * @param {import('playwright-core').Browser} browser
 * @param {{ width?: number, height?: number, timeout?: number }} options size in CSS pixels, timeout in milliseconds
 */
export async function openPage(browser, address, { width = 1400, height = 900, timeout = PATIENCE_MS } = {}) {
  const context = await browser.newContext({ viewport: { width, height } });
  context.setDefaultTimeout(timeout);
  const page = await context.newPage();
  await page.goto(address, { timeout });
  await page.waitForSelector('.monaco-workbench .part.statusbar', { timeout });
  return page;
}

/** Runs a command of the palette by its title, as a person does. */
export async function runCommand(page, title, timeout = PATIENCE_MS) {
  const input = page.locator('.quick-input-widget input[type="text"]').first();
  const row = page.locator(`.quick-input-list .monaco-list-row:is([aria-label="${title}"], [aria-label^="${title}, "])`).first();
  for (let until = Date.now() + timeout, patience = 2000; ; patience *= 2) {
    await page.keyboard.press('F1');
    await input.waitFor({ state: 'visible' });
    await input.fill(`>${title}`);
    // The list is made when it opens; an extension that is still starting has no commands in it.
    if (await row.waitFor({ state: 'visible', timeout: patience }).then(() => true, () => false)) break;
    await page.keyboard.press('Escape');
    if (Date.now() > until) throw new Error(`the palette did not offer "${title}" within ${timeout / 1000} s`);
  }
  await row.click();
}

/**
 * The frame inside a webview that holds the given selector. Webviews are two frames deep.
 * @param {number} timeout milliseconds
 */
export async function webviewFrame(page, selector, timeout = PATIENCE_MS) {
  for (const until = Date.now() + timeout; ;) {
    for (const frame of page.frames()) {
      if (frame === page.mainFrame()) continue;
      if (await frame.locator(selector).count().catch(() => 0)) return frame;
    }
    if (Date.now() > until) throw new Error(`no webview showed ${selector} within ${timeout / 1000} s`);
    await sleep(200);
  }
}

/** The frame of the experiment panel once it shows the given status (of `RunStatus`) and has drawn it. */
export async function panelFrame(page, status, timeout) {
  const frame = await webviewFrame(page, `main#panel[data-status${status ? `="${status}"` : ''}]`, timeout);
  await frame.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  return frame;
}
