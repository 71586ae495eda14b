/** A GPU that is lost or hangs in mid-run, as a person meets it in the panel: SwiftShader, with the layer of test/support/lostGpu.c. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { root } from '../../src/tools/paths.mjs';
import { startLab, until } from './support.mjs';

const { buildLostGpu, swiftShader } = createRequire(import.meta.url)('../../dist/test/support/lostGpu.js');

/** More than are made between the eighth and the loss of the GPU. */
const STEPS = 24;
const folder = mkdtempSync(join(tmpdir(), 'lora-lab-gpu-'));
const driver = swiftShader();
let lab, gpu, reason;
before(async () => {
  const built = driver ? buildLostGpu(folder) : { reason: "there is no SwiftShader (Debian's chromium package has it)" };
  reason = built.reason;
  if (reason) return;
  gpu = built;
  lab = await startLab({
    env: { VK_ICD_FILENAMES: driver, LORA_LAB_GPU_PATIENCE: '3', ...gpu.env },
    from: join(root, 'test/fixtures/references/linear'), file: 'case.lora.json',
    replace: [['"device": "cpu"', '"device": "webgpu"'], ['"max_steps": 20', `"max_steps": ${STEPS}`], ['"eval_strategy": "steps"', '"eval_strategy": "no"'], ['"save_strategy": "no"', '"save_strategy": "steps", "save_steps": 4']],
  });
});
after(async () => {
  await lab?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const press = async (action, panel) => panel.locator(`[data-action="${action}"]:visible`).first().click();
const metrics = async (panel) => Number(await panel.locator('main#panel').getAttribute('data-metrics'));
const logged = () => (existsSync(lab.path('run/metrics.jsonl')) ? lab.read('run/metrics.jsonl').trim().split('\n') : []);
const card = (panel) => panel.locator('.notice[data-code="device.silent"]');

/** The panel with a finished run: of the tests before, or, where these were left out, of one that is made now. */
async function finished() {
  const panel = await lab.panel();
  if (await panel.locator('main#panel').getAttribute('data-status') !== 'finished') await press('start', panel);
  return lab.panel('finished');
}

/** Starts a run whose GPU fails in this way once eight steps are made. */
async function failing(at) {
  await press('start', await lab.panel());
  const panel = await lab.panel('running');
  await until('steps are made', () => logged().length > 8 && logged().length < STEPS);
  gpu.lose(at);
  return panel;
}

/** The button of the message that goes on from the checkpoint which it names; whatever starts now has a GPU. */
async function continues(panel) {
  const notice = panel.locator('.notice.error');
  const checkpoint = Number(await until('the message names a checkpoint', async () => /Last good checkpoint\s+\S*checkpoint-(\d+)/.exec(await notice.innerText())?.[1]));
  assert.ok(checkpoint >= 8 && checkpoint < STEPS, `checkpoint ${checkpoint}`);
  gpu.wake();
  return notice.locator('[data-action="continueRun"]');
}

test('a GPU that is lost: the panel says so, and one click goes on from the last checkpoint, with every step once in the curve', async (t) => {
  if (reason) return t.skip(reason);
  await failing('submit');
  const panel = await lab.panel('failed');
  assert.match(await panel.locator('.notice.error').innerText(), /Training failed\s+Webgpu stopped working: the GPU was lost, as when its driver is reset/);
  await lab.picture('gpu-lost');
  await (await continues(panel)).click();
  const ended = await lab.panel('finished');
  assert.equal(await metrics(ended), STEPS);
  const steps = logged().map((line) => JSON.parse(line).step);
  assert.deepEqual(steps, Array.from({ length: STEPS }, (_, i) => i + 1));
});

test('a GPU that hangs while a text is tried is told of, and the next try works', async (t) => {
  if (reason) return t.skip(reason);
  const panel = await finished();
  await panel.locator('#try-text').fill('A fine film.');
  // The first answer is that of a model that is loaded for it, which is given longer.
  await panel.locator('#try-button').click();
  await panel.locator('.side.adapter').first().waitFor();
  gpu.lose('wait-hangs');
  await panel.locator('#try-button').click();
  const told = panel.locator('#try-results [role="alert"]');
  await told.waitFor();
  assert.match(await told.innerText(), /The GPU did not answer from \d\d:\d\d:\d\d on, and the engine was ended\.\s+Try again; /);
  gpu.wake();
  await panel.locator('#try-button').click();
  await panel.locator('.side.adapter').first().waitFor();
});

test('a GPU that hangs while memory is measured is told of beside the button, and Cancel ends the measurement', async (t) => {
  if (reason) return t.skip(reason);
  const panel = await lab.panel();
  gpu.lose('wait-hangs');
  await panel.locator('#measure-memory').click();
  const fit = panel.locator('#memory-fit');
  const told = await until('it is told of', async () => /The GPU has not.*/.exec(await fit.innerText())?.[0]);
  assert.match(told, /^The GPU has not answered since \d\d:\d\d:\d\d\. If it is only slow, wait: the measurement goes on by itself\. If it hangs, cancel it\.$/);
  await lab.picture('gpu-hangs-measuring');
  await panel.locator('#cancel-measure').click();
  await panel.locator('#measure-memory').waitFor();
  assert.doesNotMatch(await fit.innerText(), /not answered/);
  await until('its engine has ended', () => lab.engines().length === 0);
  gpu.wake();
});

test('a GPU that hangs: the panel says since when, Stop ends the engine, and the last checkpoint can be gone on from', async (t) => {
  if (reason) return t.skip(reason);
  const panel = await failing('wait-hangs');
  await card(panel).waitFor();
  assert.match(await card(panel).innerText(), /The GPU does not answer\s+The GPU has not answered since \d\d:\d\d:\d\d\.\s+If it is only slow, wait: .*Stop ends the engine/);
  await lab.picture('gpu-hangs');
  const pressed = Date.now();
  await card(panel).locator('[data-action="stop"]').click();
  const failed = await lab.panel('failed');
  assert.ok(Date.now() - pressed < 8000, `Stop took ${Date.now() - pressed} ms`);
  assert.match(await failed.locator('.notice.error').innerText(), /The GPU did not answer from \d\d:\d\d:\d\d on, and the engine was ended/);
  await until('its engine has ended', () => lab.engines().length === 0);
  await (await continues(failed)).waitFor();
});

test('Stop before the panel knows that the GPU hangs waits for its answer, and can be pressed again', async (t) => {
  if (reason) return t.skip(reason);
  const panel = await failing('submit-hangs');
  await press('stop', panel);
  const stopping = await lab.panel('stopping');
  await card(stopping).locator('[data-action="stop"]').click();
  await lab.panel('failed');
  await until('its engine has ended', () => lab.engines().length === 0);
  gpu.wake();
  assert.deepEqual(lab.complaints, []);
});
