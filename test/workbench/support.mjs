/** The real workbench on a copy of the sample, and what a person sees and does in it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { launchBrowser } from '../../src/tools/browser.mjs';
import { root } from '../../src/tools/paths.mjs';
import { copySample } from '../../src/tools/sample.mjs';
import { openPage, panelFrame, PATIENCE_MS, startWorkbench } from '../../src/tools/workbench.mjs';

const output = join(root, 'test/output');

/** Waits until `read` gives a value that is not false, null or undefined, and returns it. */
export async function until(what, read, timeout = PATIENCE_MS) {
  for (const end = Date.now() + timeout; ; await sleep(50)) {
    const value = await read();
    if (value) return value;
    assert.ok(Date.now() < end, `not within ${timeout / 1000} s: ${what}`);
  }
}

/**
 * A workbench on a copy of the sample. `replace` are pairs of texts in its experiment file.
 * @param {{ replace?: [string, string][], panel?: boolean, from?: string, file?: string, env?: NodeJS.ProcessEnv }} options `panel`: opens the experiment panel, as `npm start` does; `from` and `file`: another folder than the sample's, and its experiment; `env`: added to what the extension host sees
 */
export async function startLab({ replace = [], panel = true, from, file = 'sentiment.lora.json', env = {} } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-lab-person-'));
  const workspace = from ? join(folder, 'workspace') : copySample(join(folder, 'sample'));
  if (from) cpSync(from, workspace, { recursive: true });
  const experiment = join(workspace, file);
  for (const [from, to] of replace) {
    const text = readFileSync(experiment, 'utf8');
    assert.ok(text.includes(from), `${from} is not in the sample's experiment`);
    writeFileSync(experiment, text.replace(from, to));
  }
  const workbench = await startWorkbench({ env: { ...env, ...(panel ? { LORA_LAB_OPEN: experiment } : {}) }, settings: { 'workbench.colorTheme': 'Default Dark Modern' } });
  const browser = await launchBrowser();
  const lab = new Lab(workbench, browser, workspace, experiment);
  lab.stop = async () => {
    await browser.close();
    await workbench.stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  await lab.open();
  return lab;
}

class Lab {
  /** Errors that our webview wrote to the console, and violations of any page's Content Security Policy. */
  complaints = [];

  constructor(workbench, browser, workspace, experiment) {
    Object.assign(this, { workbench, browser, workspace, experiment });
  }

  async open() {
    this.page = await openPage(this.browser, this.workbench.address(this.workspace));
    this.page.on('console', (message) => {
      const ofWebview = /\/webview\/|vscode-resource/.test(message.location().url);
      if (/Content Security Policy/.test(message.text()) || (message.type() === 'error' && ofWebview)) this.complaints.push(message.text());
    });
    this.page.on('pageerror', (error) => this.complaints.push(error.stack ?? error.message));
  }

  /** The panel, once it has the given status. */
  panel(status, timeout) {
    return panelFrame(this.page, status, timeout);
  }

  path(...names) {
    return join(this.workspace, ...names);
  }

  read(...names) {
    return readFileSync(this.path(...names), 'utf8');
  }

  /** A row of a tree of the side bar, by the beginning of its label. */
  row(label, index = 0) {
    return this.page.locator(`.pane-body .monaco-list-row[aria-label^="${label}"]`).nth(index);
  }

  /** What the hover that is shown says, once it says anything that matches. */
  async hover(pattern) {
    const shown = this.page.locator('.monaco-hover:visible');
    return until(`a hover shows ${pattern}`, async () => (await shown.allInnerTexts()).find((text) => pattern.test(text)));
  }

  /** Types a path into the file dialog of the web workbench, which another one may follow. */
  async answerFileDialog(path) {
    const input = this.page.locator('.quick-input-widget input[type="text"]').first();
    await input.waitFor({ state: 'visible' });
    await until('the dialog is ready', async () => (await input.inputValue()).startsWith('/'));
    const asked = await this.dialogTitle();
    const answered = async () => !await input.isVisible() || await this.dialogTitle() !== asked;
    // The dialog completes what is typed by looking into folders meanwhile, and swallows an Enter that comes in between.
    await until('the dialog takes the path', async () => {
      if (await answered()) return true;
      if (await input.inputValue() !== path) await input.fill(path);
      await sleep(300);
      // What it has completed meanwhile must not be what Enter takes.
      if (await input.inputValue() !== path) return false;
      await this.page.keyboard.press('Enter');
      return until('it closes', answered, 2000).catch(() => false);
    });
  }

  async dialogTitle() {
    return (await this.page.locator('.quick-input-widget .quick-input-title').allInnerTexts()).join();
  }

  async picture(name) {
    mkdirSync(output, { recursive: true });
    await this.page.screenshot({ path: join(output, `${name}.png`) });
  }

  /** Process ids of engines that this workbench's extension host started. */
  engines() {
    const rows = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8', maxBuffer: 1 << 24 }).trim().split('\n')
      .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)).filter(Boolean).map(([, pid, parent, args]) => ({ pid: Number(pid), parent: Number(parent), args }));
    const parentOf = new Map(rows.map(({ pid, parent }) => [pid, parent]));
    const isOurs = (pid) => pid === this.workbench.server.pid || (parentOf.has(pid) && isOurs(parentOf.get(pid)));
    return rows.filter(({ pid, args }) => args.includes(join('dist', 'engine', 'main.js')) && isOurs(pid)).map(({ pid }) => pid);
  }
}
