/** The main job as a person does it: train from the palette, watch, and merge by one more command. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { runCommand } from '../../src/tools/workbench.mjs';
import { startLab, until } from './support.mjs';

let lab;
before(async () => { lab = await startLab({ panel: false, replace: [['"num_train_epochs": 3', '"max_steps": 600'], ['"warmup_steps": 20', '"logging_steps": 1']] }); });
after(() => lab?.stop());

/** The panel with a finished run: of the tests before, or, where these were left out, of one that is started now. */
async function finished() {
  if (!existsSync(lab.path('runs/sentiment'))) await runCommand(lab.page, 'LoRA Lab: Start LoRA fine-tune');
  return lab.panel('finished');
}

const toast = (text) => lab.page.locator('.notification-toast', { hasText: text });
/** The selected row of the explorer, if it is a folder of that name. */
const selected = (name) => lab.page.locator('.explorer-folders-view .monaco-list-row.selected', { hasText: new RegExp(`(^|\\W)${name}$`) });

test('Start LoRA fine-tune opens the panel, where loss and trainable ratio move', async () => {
  await runCommand(lab.page, 'LoRA Lab: Start LoRA fine-tune');
  const panel = await lab.panel('running');
  const number = async (id) => parseFloat((await panel.locator(`#${id}`).innerText()).replace('train ', ''));
  const losses = new Set();
  await until('a loss is shown', async () => await panel.locator('#now-loss').innerText() !== '');
  await until('ten different losses were shown', async () => losses.add(await number('now-loss')).size >= 10);
  assert.ok([...losses].every((loss) => loss > 0 && loss < 3), [...losses].join());
  assert.match(await panel.locator('#trainable-ratio').innerText(), /^1\.67\s%$/);
  assert.ok(Number(await panel.locator('main#panel').getAttribute('data-metrics')) >= 10);
  const item = lab.page.locator('.statusbar-item', { hasText: /step \d+\/600 · loss \d\.\d\d/ });
  await item.waitFor();
  await lab.picture('training');
});

test('it ends with an adapter and says what came of it', async () => {
  const panel = await finished();
  const card = await panel.locator('.notice.done').innerText();
  assert.match(card, /Run finished/);
  assert.match(card, /trainable params: 16,642 \|\| all params: 996,996 \|\| trainable%: 1\.6692/);
  const summary = JSON.parse(lab.read('runs/sentiment/summary.json'));
  assert.equal(summary.steps, 600);
  assert.deepEqual(readdirSync(lab.path('runs/sentiment/adapter')).filter((name) => name.startsWith('adapter')), ['adapter_config.json', 'adapter_model.safetensors']);
  assert.equal(lab.read('runs/sentiment/metrics.jsonl').trim().split('\n').filter((line) => 'loss' in JSON.parse(line)).length, 600);
  await lab.picture('finished');
});

test('Merge adapter asks for a place and writes a checkpoint there', async () => {
  await finished();
  await runCommand(lab.page, 'LoRA Lab: Merge adapter into base model…');
  await lab.answerFileDialog(lab.path('merged'));
  await until('the merged checkpoint is there', () => existsSync(lab.path('merged/config.json')) && existsSync(lab.path('merged/model.safetensors')));
  await toast('Merged 8 modules').locator('.monaco-button', { hasText: 'Show folder' }).click();
  await selected('merged').waitFor();
});

test('the run folder is shown in the explorer; what lies outside of the workspace can be opened in a window of its own', async () => {
  const panel = await finished();
  await panel.locator('[data-action="openRunFolder"]').click();
  await selected('sentiment').waitFor();
  await runCommand(lab.page, 'LoRA Lab: Merge adapter into base model…');
  const outside = lab.path('../outside');
  await lab.answerFileDialog(outside);
  await toast('Merged 8 modules').locator('.monaco-button', { hasText: 'Show folder' }).click();
  const opened = lab.page.waitForEvent('popup');
  await toast(`${outside} lies outside of this workspace`).locator('.monaco-button', { hasText: 'Open in new window' }).click();
  const page = await opened;
  assert.equal(new URL(page.url()).searchParams.get('folder'), outside);
  await page.close();
});

test('the panel of a reloaded window shows the run as before', async () => {
  const panel = await finished();
  const seen = await panel.locator('main#panel').getAttribute('data-metrics');
  await lab.page.reload();
  const again = await lab.panel('finished');
  await until('all metrics are back', async () => await again.locator('main#panel').getAttribute('data-metrics') === seen);
});

test('a click on a run shows it in the panel, and several that are chosen are deleted with the Delete key', async () => {
  await finished();
  for (const name of ['earlier', 'other']) cpSync(lab.path('runs/sentiment'), lab.path('runs', name), { recursive: true });
  writeFileSync(lab.path('runs/earlier/metrics.jsonl'), lab.read('runs/sentiment/metrics.jsonl').split('\n').slice(0, 50).join('\n'));
  await lab.page.getByRole('tab', { name: 'LoRA Lab' }).first().click();
  await lab.row('run earlier').click();
  const panel = await lab.panel('finished');
  await until('its steps are shown', async () => await panel.locator('main#panel').getAttribute('data-metrics') === '50');
  await lab.row('run other').click({ modifiers: ['ControlOrMeta'] });
  await lab.page.keyboard.press('Delete');
  const question = lab.page.locator('.monaco-dialog-box', { hasText: 'Delete the 2 runs that are selected' });
  await question.waitFor();
  await lab.picture('delete-runs');
  await question.locator('.monaco-button', { hasText: 'Delete' }).click();
  await until('both are deleted', () => !existsSync(lab.path('runs/earlier')) && !existsSync(lab.path('runs/other')));
  await lab.row('run earlier').waitFor({ state: 'detached' });
  assert.ok(existsSync(lab.path('runs/sentiment/metrics.jsonl')));
});

test('no engine is left, and nothing offended against the Content Security Policy', async () => {
  await until('no engine is left', () => lab.engines().length === 0);
  assert.deepEqual(lab.complaints, []);
});
