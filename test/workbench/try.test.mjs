/** Trying a language model's adapter in the panel: text that appears while it is written, a Stop, and an engine that stays for the next text. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { root } from '../../src/tools/paths.mjs';
import { runCommand } from '../../src/tools/workbench.mjs';
import { startLab, until } from './support.mjs';

let lab;
before(async () => { lab = await startLab({ from: join(root, 'test/fixtures/references/qwen3-messages'), file: 'case.lora.json' }); });
after(() => lab?.stop());

/** The panel of a finished run, trained now if no test before has, with the answers of base and adapter. */
async function answered() {
  if (!existsSync(lab.path('run'))) await (await lab.panel('none')).locator('[data-action="start"]').click();
  const panel = await lab.panel('finished');
  await panel.locator('#try-text').fill('the film was');
  await panel.locator('#try-text').press('Control+Enter');
  for (const side of ['base', 'adapter']) await panel.locator(`.side.${side}[data-stopped="length"], .side.${side}[data-stopped="end"]`).waitFor();
  return panel;
}

test('a conversation is answered by base and adapter', async () => {
  const panel = await answered();
  assert.match(await panel.locator('#try-hint').innerText(), /chat template/);
  assert.match(await panel.locator('#evaluations thead').innerText(), /Perplexity\s+Token accuracy/);
  await panel.locator('#try').scrollIntoViewIfNeeded();
  await lab.picture('try-conversation');
});

test('another tab in the place of the panel does not cost what was tried', async () => {
  let panel = await answered();
  const written = await panel.locator('.side.adapter .written').innerText();
  await panel.locator('#more-settings summary').click();
  await panel.locator('[data-action="openFile"]').click();
  await until('the file is shown', () => lab.page.locator('.monaco-editor .view-lines').first().isVisible());
  await until('the panel has gone', () => panel.isDetached());
  await runCommand(lab.page, 'View: Open Previous Editor');
  panel = await lab.panel('finished');
  assert.equal(await panel.locator('#try-text').inputValue(), 'the film was');
  assert.equal(await panel.locator('.side.adapter .written').innerText(), written);
  assert.ok(await panel.locator('#more-settings .rows').isVisible());
});

test('Stop ends the text and keeps the loaded model; closing the panel frees it', async () => {
  const panel = lab.engines().length ? await lab.panel('finished') : await answered();
  await until('the engine of the run has ended', () => lab.engines().length === 1);
  const [engine] = lab.engines();
  // What is loaded already writes faster than a mouse moves, on a busy machine even faster than a message is passed on.
  const state = panel.locator('.side.base');
  for (let attempt = 0; await state.getAttribute('data-stopped') !== 'stopped'; attempt++) {
    assert.ok(attempt < 20, 'no text was ever stopped');
    await panel.locator('#try').evaluate((box) => ['#try-button', '#try-stop'].forEach((button) => box.querySelector(button).click()));
    await panel.locator('#try-stop').waitFor({ state: 'hidden' });
  }
  assert.deepEqual(lab.engines(), [engine]);
  assert.equal(await panel.locator('#try-results [role="alert"]').count(), 0, 'a stop is no error');
  assert.deepEqual(lab.complaints, []);
  await runCommand(lab.page, 'View: Close All Editors');
  await until('the engine has ended', () => lab.engines().length === 0);
});
