/** Choosing what is adapted, with the mouse, before anything is trained. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCommand, webviewFrame } from '../../src/tools/workbench.mjs';
import { startLab, until } from './support.mjs';

let lab;
before(async () => {
  lab = await startLab();
  await lab.panel('none');
  await lab.row('layer 0, ').waitFor();
});
after(() => lab?.stop());

/** Waits for a row that holds others, and until VS Code has asked for those again: a click on one that it has not is lost. */
async function drawn(label) {
  await lab.row(label).waitFor();
  await sleep(1000);
}

const ratio = async () => (await (await lab.panel()).locator('#trainable-ratio').innerText()).replace(/\s/g, ' ');

test('hovering over a layer shows A, B and what they cost', async () => {
  await lab.row('self.query').hover();
  const text = await lab.hover(/2,048 parameters/);
  assert.match(text, /bert\.encoder\.layer\.0\.attention\.self\.query/);
  assert.match(text, /A\s+\[8, 128\]\s+B\s+\[128, 8\]/);
  await lab.picture('tree-hover');
  await lab.page.mouse.move(700, 450);
});

test('ticking modules changes file and trainable ratio at once', async () => {
  assert.equal(await ratio(), '1.67 %');
  await lab.row('self.key').locator('[role="checkbox"]').click();
  await until('the ratio has risen', async () => await ratio() === '1.87 %');
  await until('the file says so', () => lab.read('sentiment.lora.json').includes('"target_modules": ["query", "0.attention.self.key", "value"]'));
  assert.equal(await lab.row('self.key').locator('[role="checkbox"]').getAttribute('aria-checked'), 'true');
  await drawn('layer 0, 3/6');
  await lab.row('self.key').locator('[role="checkbox"]').click();
  await until('the ratio has fallen', async () => await ratio() === '1.67 %');
  await drawn('layer 0, 2/6');
});

test('ticking a parent ticks what is inside of it, seen or not', async () => {
  await lab.row('layer 1, 2/6').locator('[role="checkbox"]').click();
  await lab.row('layer 1, 6/6').waitFor();
  await drawn('model, 12/25');
  await lab.row('layer 1, 6/6').locator('[role="checkbox"]').click();
  await lab.row('layer 1, 0/6').waitFor();
  await runCommand(lab.page, 'LoRA Lab: Adapt query and value');
  await lab.row('layer 1, 2/6').waitFor();
});

test('moving the rank in the panel moves the ratio and the tree', async () => {
  const panel = await lab.panel();
  const before = await ratio();
  const field = panel.locator('[data-key="lora.r"]').first();
  await field.focus();
  await lab.page.keyboard.press('ArrowRight');
  await until('the ratio moved', async () => await ratio() !== before);
  // The editor may be writing the file: what is read then is empty or a part of it.
  let r;
  await until('the file has another rank', () => {
    r = /"r": (\d+),/.exec(lab.read('sentiment.lora.json'))?.[1];
    return r !== undefined && r !== '8';
  });
  await lab.row(`self.query, 128 × 128 · r ${r}`).waitFor();
});

test('data that are chosen in the panel are written into the file, relative to it', async () => {
  const panel = await lab.panel();
  await panel.getByRole('button', { name: 'Training data: Browse…' }).click();
  await lab.answerFileDialog(lab.path('eval.jsonl'));
  await until('the panel shows them', async () => await panel.locator('[id="path-dataset.train"]').innerText() === 'eval.jsonl');
  await until('the file names them', () => lab.read('sentiment.lora.json').includes('"train": "eval.jsonl"'));
});

test('hovering over target_modules in the file shows shapes and count', async () => {
  await runCommand(lab.page, 'LoRA Lab: Open experiment file');
  const line = lab.page.locator('.view-line', { hasText: 'target_modules' });
  await line.waitFor();
  await line.locator('span', { hasText: 'target_modules' }).last().hover();
  const text = await lab.hover(/8 modules/);
  assert.match(text, /A \[r, in\]\s+B \[out, r\]/);
  assert.match(text, /trainable%/);
  await lab.picture('file-hover');
});

test('rows of Runs are compared from their menu, also in a window that was reloaded, and a click in the table shows one of them', async () => {
  for (const [name, r] of [['narrow', 4], ['wide', 16]]) {
    mkdirSync(lab.path('runs', name), { recursive: true });
    const write = (file, ...values) => writeFileSync(lab.path('runs', name, file), values.map((value) => `${JSON.stringify(value)}\n`).join(''));
    write('experiment.json', { base_model: 'model', dataset: { train: 'train.jsonl' }, lora: { r }, training: {} });
    write('metrics.jsonl', ...Array.from({ length: 40 * r }, (_, i) => ({ step: i + 1, epoch: i / 40, loss: 0.1 + r / (i + r), grad_norm: 1, learning_rate: 1e-3, tokens: i, tokens_per_second: 100, time: i / 10 })),
      { step: 40 * r, epoch: r, eval_loss: 0.2, eval_accuracy: 0.8 + r / 100, eval_runtime: 1, time: 4 * r });
    write('summary.json', {
      state: 'finished', steps: 40 * r, epochs: r, trainable_parameters: 1000 * r, all_parameters: 1e6, train_loss: 0.2, eval_before: null, eval: { loss: 0.2, accuracy: 0.8 + r / 100 },
      device: 'CPU', seconds: 4 * r, peak_memory_bytes: 4e8, adapter: lab.path('runs', name, 'adapter'),
    });
  }
  await runCommand(lab.page, 'LoRA Lab: Refresh runs');
  await lab.row('run narrow').click();
  await lab.row('run wide').click({ modifiers: ['Control'] });
  await lab.row('run wide').click({ button: 'right' });
  const item = lab.page.locator('.monaco-menu .action-label', { hasText: 'Compare runs…' });
  // A menu does not take the mouse in the first moment.
  await until('the menu has taken the click', async () => {
    await item.click({ timeout: 1000 }).catch(() => undefined);
    return !await item.isVisible();
  });
  const compared = () => webviewFrame(lab.page, 'main#panel[aria-busy="false"] .compare');
  await compared();
  // VS Code leaves an orderly window with the pages that are open; a browser's own reload may come before it has saved them.
  const loaded = lab.page.waitForEvent('load');
  await runCommand(lab.page, 'Developer: Reload Window');
  await loaded;
  // The window of this test shows the experiment's panel when it begins.
  await lab.panel();
  await lab.page.getByRole('tab', { name: 'LoRA: compare runs' }).click();
  const page = await compared();
  assert.equal(await page.locator('.about').innerText(), 'Their settings differ in r.');
  assert.match(await page.locator('#runs tbody').innerText(), /narrow.*\s4\s+4,000\s.*84\.0 %[^]*wide.*\s16\s+16,000\s.*96\.0 %/);
  await lab.picture('compare');
  await page.locator('#runs tbody tr', { hasText: 'narrow' }).click();
  const panel = await lab.panel('finished');
  await until('its metrics are shown', async () => await panel.locator('main#panel').getAttribute('data-metrics') === '161');
});

test('a new experiment gets the name that the dialog offers', async () => {
  await runCommand(lab.page, 'LoRA Lab: New experiment…');
  for (const name of ['model', 'train.jsonl', 'experiment.lora.json']) await lab.answerFileDialog(lab.path(name));
  await until('an experiment is written', () => readdirSync(lab.workspace).some((name) => name.startsWith('experiment') && name.endsWith('.lora.json')));
  assert.deepEqual(readdirSync(lab.workspace).filter((name) => name.startsWith('experiment')), ['experiment.lora.json']);
  assert.equal(JSON.parse(lab.read('experiment.lora.json')).output_dir, 'runs/experiment');
});

test('nothing offended against the Content Security Policy', () => assert.deepEqual(lab.complaints, []));
