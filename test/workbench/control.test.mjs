/** Steering a run with the panel's buttons, and what a closed window leaves. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startLab, until } from './support.mjs';

let lab;
before(async () => {
  lab = await startLab({ replace: [['"num_train_epochs": 3', '"max_steps": 100000'], ['"eval_strategy": "epoch"', '"eval_strategy": "no"'], ['"save_strategy": "epoch"', '"save_strategy": "no"'], ['"device": "auto"', '"device": "auto", "threads": 1']] });
});
after(() => lab?.stop());

const press = async (action, panel) => panel.locator(`[data-action="${action}"]`).click();
/** Starts a run, whatever came before it, and returns the panel once steps are shown. */
async function started() {
  await press('start', await lab.panel());
  const panel = await lab.panel('running');
  await until('steps are shown', async () => await metrics(panel) > 5);
  return panel;
}
const metrics = async (panel) => Number(await panel.locator('main#panel').getAttribute('data-metrics'));

test('Start, Pause, Resume and Stop', async () => {
  await lab.panel('none');
  let panel = await started();
  assert.equal(lab.engines().length, 1);
  await press('pause', panel);
  panel = await lab.panel('paused');
  await lab.page.locator('.statusbar-item', { hasText: 'paused · step' }).waitFor();
  const held = await metrics(panel);
  const box = lab.row('self.key').locator('[role="checkbox"]');
  await box.click();
  await lab.page.locator('.notification-toast', { hasText: 'settings are fixed while a run is active' }).waitFor();
  await until('the box is as it was', async () => await box.getAttribute('aria-checked') === 'false');
  await press('resume', panel);
  panel = await lab.panel('running');
  await until('steps go on', async () => await metrics(panel) > held + 5);
  await press('stop', panel);
  panel = await lab.panel('stopped');
  assert.match(await panel.locator('.notice.done').innerText(), /Run stopped/);
  assert.ok(existsSync(lab.path('runs/sentiment/adapter/adapter_model.safetensors')));
  assert.ok(readdirSync(lab.path('runs/sentiment')).some((name) => /^checkpoint-\d+$/.test(name)));
  await until('the engine has ended', () => lab.engines().length === 0);
});

/** Counts the messages with metrics that come from the extension host, until `stop`. */
async function countMetrics() {
  const devtools = await lab.page.context().newCDPSession(lab.page);
  let count = 0;
  devtools.on('Network.webSocketFrameReceived', ({ response: { payloadData } }) => {
    count += Buffer.from(payloadData, 'base64').toString('latin1').split(/method\W{1,5}metrics\W/).length - 1;
  });
  await devtools.send('Network.enable');
  const since = async (ms) => {
    const before = count;
    await sleep(ms);
    return count - before;
  };
  return { since, stop: () => devtools.detach() };
}

test('metrics come a few times a second, none to a panel out of sight, and it shows every step when it is back', async () => {
  const panel = await started();
  const messages = await countMetrics();
  const logged = () => lab.read('runs/sentiment/metrics.jsonl').split('\n').length - 1;
  const [stepsBefore, seen] = [logged(), await messages.since(3000)];
  assert.ok(seen >= 2 && seen <= 9, `${seen} messages in three seconds, while ${logged() - stepsBefore} steps were made`);
  await lab.page.keyboard.press('F1');
  await lab.page.locator('.quick-input-widget input[type="text"]').first().fill('eval.jsonl');
  await lab.page.locator('.quick-input-list .monaco-list-row', { hasText: 'eval.jsonl' }).first().click();
  await lab.page.locator('.tab.active', { hasText: 'eval.jsonl' }).waitFor();
  await sleep(1500);
  assert.equal(await messages.since(3000), 0, 'messages to a panel that nobody sees');
  const made = logged();
  await lab.page.locator('.tab', { hasText: 'LoRA: sentiment' }).click();
  const back = await lab.panel('running');
  await until('all steps are shown', async () => await metrics(back) >= made);
  const shown = await metrics(back);
  await until('steps go on', async () => await metrics(back) > shown);
  await messages.stop();
  await press('stop', back);
  const ended = await lab.panel('stopped');
  await until('the last step is shown', async () => await metrics(ended) === logged());
  await until('the engine has ended', () => lab.engines().length === 0);
});

test('a run is told of and led to while the panel shows another experiment', async () => {
  writeFileSync(lab.path('other.lora.json'), readFileSync(lab.experiment, 'utf8').replace('runs/sentiment', 'runs/other'));
  await started();
  await lab.page.locator('.action-label[aria-label^="Explorer"]').first().click();
  await lab.page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'other.lora.json' }).dblclick();
  const showOther = async () => {
    await lab.page.locator('.tab', { hasText: 'LoRA: other' }).click();
    return lab.panel('none');
  };
  await showOther();
  await lab.page.locator('.statusbar-item', { hasText: /step \d+/ }).click();
  await lab.panel('running');
  await lab.page.locator('.tab', { hasText: 'other.lora.json' }).click();
  await showOther();
  process.kill(lab.engines()[0], 'SIGKILL');
  const toast = lab.page.locator('.notification-toast', { hasText: 'LoRA run of sentiment failed' });
  await toast.waitFor();
  await toast.locator('.monaco-button', { hasText: 'Open panel' }).click();
  await lab.panel('failed');
});

test('an engine that is killed fails the run, says why, and the next Start works', async () => {
  await started();
  const [pid] = lab.engines();
  process.kill(pid, 'SIGKILL');
  const panel = await lab.panel('failed');
  assert.match(await panel.locator('.notice.error').innerText(), /SIGKILL/);
  await lab.picture('failed');
  await started();
});

test('closing the window in the middle of a run leaves no process', async () => {
  if (await (await lab.panel()).locator('main#panel').getAttribute('data-status') !== 'running') await started();
  assert.equal(lab.engines().length, 1);
  await lab.page.close({ runBeforeUnload: true });
  await until('no engine is left', () => lab.engines().length === 0);
  assert.deepEqual(lab.complaints, []);
});
