/** `npm start` and `npm run lab`, as they are typed. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { launchBrowser } from '../../src/tools/browser.mjs';
import { root, sample } from '../../src/tools/paths.mjs';
import { panelFrame } from '../../src/tools/workbench.mjs';
import { until } from './support.mjs';

const lab = (...args) => spawnSync(process.execPath, [join(root, 'src/tools/lab.mjs'), ...args], { encoding: 'utf8' });

test('lab puts nothing but JSON on standard output', () => {
  const { status, stdout } = lab('inspect', join(sample, 'sentiment.lora.json'));
  assert.equal(status, 0);
  assert.equal(JSON.parse(stdout).trainable_parameters, 16642);
});

test('lab answers wrong input with exit code 2 and one message', () => {
  const { status, stdout, stderr } = lab('train', 'nowhere.lora.json');
  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /^error: .*nowhere\.lora\.json: there is no such file/);
});

test('npm start serves the sample with its panel open, and Ctrl-C leaves nothing', async () => {
  const temporary = mkdtempSync(join(tmpdir(), 'lora-lab-commands-'));
  // Desktop VS Code would open a window in the face of whoever runs the tests.
  const env = { ...process.env, SSH_CONNECTION: '192.0.2.1 50000 192.0.2.2 22', TMPDIR: temporary, PATH: process.env.PATH.split(delimiter).filter((folder) => !existsSync(join(folder, 'code'))).join(delimiter) };
  const start = spawn(process.execPath, [join(root, 'src/tools/start.mjs')], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((done) => start.once('exit', done));
  const browser = await launchBrowser();
  try {
    let output = '';
    for (const stream of [start.stdout, start.stderr]) stream.on('data', (data) => { output += data; });
    const [, address] = await until('it says what to open', () => /1\. Open\s+(http:\/\/127\.0\.0\.1:\S+)/.exec(output));
    assert.match(output, /2\. Click\s+Start\s+in the panel "LoRA: sentiment"/);
    const tunnels = [...output.matchAll(/-L (\d+):127\.0\.0\.1:\1(?= )/g)].map(([, port]) => port);
    const page = await browser.newPage();
    await page.goto(address);
    assert.deepEqual(tunnels, [new URL(address).port, new URL(page.url()).port], 'through ssh a browser needs both ports');
    const panel = await panelFrame(page);
    assert.equal(await panel.locator('#experiment-name').innerText(), 'sentiment');
    assert.equal((await fetch(new URL('/', page.url()))).status, 403, 'without the secret nobody gets in');
    start.kill('SIGINT');
    assert.equal(await ended, 130);
    await assert.rejects(fetch(page.url()), 'the server has ended');
    assert.deepEqual(readdirSync(temporary).filter((name) => name.startsWith('lora-lab')), []);
  } finally {
    start.kill('SIGKILL');
    await browser.close();
    rmSync(temporary, { recursive: true, force: true });
  }
});
