/** A run that a terminal trains, as a person sees it who has its experiment open. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { root } from '../../src/tools/paths.mjs';
import { startLab, until } from './support.mjs';

/** A process of its own reads packages and data before it makes a step, beside a browser and VS Code's server. */
const START_MS = 90_000;

const terminals = [];
let lab;
before(async () => {
  lab = await startLab({ replace: [['"num_train_epochs": 3', '"max_steps": 100000'], ['"eval_strategy": "epoch"', '"eval_strategy": "steps", "eval_steps": 40'], ['"device": "auto"', '"device": "auto", "threads": 1']] });
});
after(async () => {
  for (const terminal of terminals) terminal.kill('SIGKILL');
  await lab?.stop();
});

/** Trains the experiment as a person does in a terminal. */
function train(...options) {
  const command = [process.execPath, join(root, 'dist/engine/cli.js'), 'train', lab.experiment, ...options];
  // What shows the run comes first, on few cores too.
  const [program, ...args] = process.platform === 'win32' ? command : ['nice', '-n', '10', ...command];
  const terminal = spawn(program, args, { stdio: 'ignore' });
  terminals.push(terminal);
  return terminal;
}
const metrics = async (panel) => Number(await panel.locator('main#panel').getAttribute('data-metrics'));
const pressable = (panel) => panel.locator('.toolbar [data-action]:visible:not([disabled])').evaluateAll((buttons) => buttons.map(({ dataset }) => dataset.action));
async function grows(panel) {
  const seen = await metrics(panel);
  await until('steps are shown as they are made', async () => await metrics(panel) > seen);
}

test('a run of a terminal is followed, has no buttons that cannot reach it, and ends in the panel as in the terminal', async () => {
  const before = await lab.panel('none');
  assert.ok((await pressable(before)).includes('start'));
  const terminal = train();
  const panel = await lab.panel('elsewhere', START_MS);
  await grows(panel);
  await lab.row('run sentiment, running elsewhere').waitFor();
  assert.deepEqual((await pressable(panel)).sort(), ['copyMetrics', 'openRunFolder', 'showLog']);
  assert.match(await panel.locator('#start-reason').innerText(), new RegExp(`process ${terminal.pid}\\b`));
  await until('an evaluation is shown', () => panel.locator('#evaluations tbody tr').count());
  assert.match(await panel.locator('#progress-text').innerText(), /^Step [\d,]+ of 100,000 · epoch .* tokens\/s/);
  await lab.picture('elsewhere');

  // A reloaded window has all of it, and goes on following.
  const made = await metrics(panel);
  await lab.page.reload();
  const again = await lab.panel('elsewhere', START_MS);
  await until('all steps are back', async () => await metrics(again) >= made);
  await grows(again);

  terminal.kill('SIGTERM');
  const ended = await lab.panel('stopped');
  assert.match(await ended.locator('.notice.done').innerText(), /Run stopped/);
  await until('the last line is shown', async () => await metrics(ended) === lab.read('runs/sentiment/metrics.jsonl').split('\n').length - 1);
  assert.ok((await pressable(ended)).includes('continueRun'));
});

test('a run of a terminal that goes on and is killed has ended without a summary', async () => {
  const terminal = train('--resume');
  await grows(await lab.panel('elsewhere', START_MS));
  terminal.kill('SIGKILL');
  const panel = await lab.panel('failed');
  assert.match(await panel.locator('.notice.error').innerText(), /without a summary/);
  await lab.picture('elsewhere-killed');
  await panel.locator('.notice.error [data-action="continueRun"]').waitFor();
  assert.deepEqual(lab.complaints, []);
});
