/** What people need who see little, or use the keyboard alone: colours that can be read, and a place in the page that is never lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
import { experiment, memory, metrics, run, values, VIEWS } from './support/fixtures';
import { asked, askedTimes, inPanel, notify } from './support/panelPage';
import { THEMES } from './support/themes';

/** Contrast (WCAG 2.2, 1.4.3) of every text outside of the toolkit's own controls with what lies behind it; disabled controls are exempt. */
const contrasts = (page: Page): Promise<{ text: string; ratio: number }[]> => page.evaluate(() => {
  const parse = (colour: string): number[] => {
    const numbers = colour.match(/[\d.]+(e-?\d+)?/g)!.map(Number);
    const [r, g, b, a = 1] = colour.startsWith('color(') ? [...numbers.slice(0, 3).map(value => 255 * value), ...numbers.slice(3)] : numbers;
    return [r, g, b, a];
  };
  const over = ([r, g, b, a]: number[], under: number[]): number[] => [...[r, g, b].map((value, i) => a * value + (1 - a) * under[i]), 1];
  const luminance = (colour: number[]): number => {
    const [r, g, b] = colour.map(value => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element: Element): number[] => {
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 1 || !element.parentElement ? own : over(own, behind(element.parentElement));
  };
  const found: { text: string; ratio: number }[] = [];
  for (const element of Array.from<Element>(document.querySelectorAll('#panel *'))) {
    const text = Array.from<ChildNode, string>(element.childNodes, node => (node.nodeType === Node.TEXT_NODE ? node.textContent!.trim() : '')).join('');
    if (!text || element.localName.startsWith('vscode-') || element.matches(':disabled, option, .visually-hidden') || !element.checkVisibility()) continue;
    const ground = behind(element);
    const [light, dark] = [luminance(over(parse(getComputedStyle(element).color), ground)), luminance(ground)].sort((a, b) => b - a);
    found.push({ text, ratio: (light + 0.05) / (dark + 0.05) });
  }
  return found;
});

for (const state of ['problems', 'tooLarge', 'failed', 'full', 'running', 'finished', 'compare']) {
  test(`every text can be read in every theme: ${state}`, () => inPanel({ state, width: 1400 }, async page => {
    await page.evaluate(() => document.querySelectorAll('details').forEach(details => { details.open = true; }));
    for (const theme of Object.keys(THEMES)) {
      await page.evaluate(name => (window as unknown as { mock: { useTheme(name: string): void } }).mock.useTheme(name), theme);
      const found = await contrasts(page);
      if (state === 'problems') assert.ok(found.some(({ text }) => text.includes('did you mean “value”')), JSON.stringify(found));
      assert.deepEqual(found.filter(({ ratio }) => ratio < 4.5), [], theme);
    }
  }));
}

/** Pixels of the loss chart, within its axes, whose contrast with the ground is at least this (WCAG 2.2, 1.4.11 asks for 3) and which are not of the smoothed line's colour, nor the eval line's, nor the grid's: grey ones. */
const greyPixels = (page: Page, least: number): Promise<number> => page.evaluate(ratio => {
  const canvas = document.querySelector<HTMLCanvasElement>('.chart-loss canvas')!;
  const [left, bottom] = [60, 40].map(pixels => pixels * devicePixelRatio);
  const { data } = canvas.getContext('2d')!.getImageData(left, 0, canvas.width - left, canvas.height - bottom);
  const channel = (value: number): number => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const ground = /light/.test(document.body.className) ? 255 : 0;
  let found = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = [0, 1, 2].map(k => ground + (data[i + k] - ground) * data[i + 3] / 255);
    const [light, dark] = [channel((r + g + b) / 3), channel(ground)].sort((a, c) => c - a);
    if (Math.max(r, g, b) - Math.min(r, g, b) < 12 && (light + 0.05) / (dark + 0.05) >= ratio) found++;
  }
  return found;
}, least);

for (const theme of ['contrast', 'contrastLight']) {
  test(`the loss of single steps can be seen beside the smoothed line in the ${theme} theme`, () => inPanel({ state: 'running', theme, width: 1400 }, async page => {
    await page.waitForFunction(() => document.querySelector('.chart-loss canvas:not(.blank)'));
    const seen = await greyPixels(page, 3);
    assert.ok(seen > 300, `${seen} pixels`);
  }));
}

test('what is wrong with a setting, and what is to be known of it, is said with its control, and told when it arises', () => inPanel({ state: 'problems' }, async page => {
  const devtools = await page.context().newCDPSession(page);
  const said = async (role: string, name: string): Promise<string | undefined> => {
    const { nodes } = await devtools.send('Accessibility.getFullAXTree');
    return nodes.find(node => node.role?.value === role && node.name?.value === name)?.description?.value as string | undefined;
  };
  const rate = await page.locator('#message-training\\.learning_rate').innerText();
  assert.ok(rate);
  for (const role of ['textbox', 'slider']) assert.ok((await said(role, 'Learning rate'))?.includes(rate), role);
  assert.match(await said('textbox', 'Alpha') ?? '', /^Scaling lora_alpha/);
  const message = page.locator('#message-lora\\.r');
  assert.deepEqual([await message.getAttribute('role'), await message.getAttribute('aria-live')], ['status', 'off']);
  await page.locator('vscode-text-field[data-key="lora.r"] input').fill('eight');
  await page.waitForFunction(() => document.getElementById('message-lora.r')!.getAttribute('aria-live') === 'polite');
  assert.equal(await said('textbox', 'Rank'), 'give a number');
  const given = values();
  await notify(page, 'experiment', { experiment: experiment({ values: { ...given, dataset: { ...given.dataset, eval: null } } }) });
  await page.click('#more-settings summary');
  await page.locator('#message-training\\.eval_strategy', { hasText: 'There is no evaluation data' }).waitFor();
  assert.match(await said('combobox', 'Evaluate') ?? '', /There is no evaluation data/);
  assert.match(await said('checkbox', 'Gradient checkpointing') ?? '', /^Saves about [\d.]+ MB/);
}));

const focused = (page: Page): Promise<string> => page.evaluate(() => {
  const { dataset, id, className } = document.activeElement as HTMLElement;
  return dataset.action ?? (id || className);
});
const focusMoves = (page: Page, to: string): Promise<unknown> => page.waitForFunction(place => {
  const { dataset, id, className } = document.activeElement as HTMLElement;
  return (dataset.action ?? (id || className)) === place;
}, to);

test('a button that is pressed with a key and goes away leaves the keyboard its place', () => inPanel({ width: 1400 }, async page => {
  await page.focus('[data-action="start"]');
  await page.keyboard.press('Enter');
  await notify(page, 'run', { run: run({ status: 'preparing', started: null }) });
  await focusMoves(page, 'toolbar');
  await notify(page, 'run', { run: run() });
  // The toolkit draws a button enabled a moment after it was told to.
  await page.waitForFunction(() => document.querySelector('[data-action="pause"]')!.shadowRoot!.querySelector('button')!.disabled === false);
  await page.keyboard.press('Tab');
  assert.equal(await focused(page), 'pause');
  await notify(page, 'run', { run: run({ status: 'paused' }) });
  await focusMoves(page, 'resume');

  await notify(page, 'run', { run: VIEWS.ready.run });
  await page.waitForSelector('#panel[data-status="none"]');
  await page.waitForSelector('#measure-memory', { state: 'visible' });
  await page.focus('#measure-memory');
  await notify(page, 'experiment', { experiment: experiment({ memory: memory(8e9, { measuring: 'asked' }) }) });
  await focusMoves(page, 'cancel-measure');
  await notify(page, 'experiment', { experiment: experiment() });
  await focusMoves(page, 'measure-memory');
}));

test('Save checkpoint keeps the keyboard\'s place while it saves, cannot be pressed twice, and says when it has saved', () => inPanel({ width: 1400 }, async page => {
  await notify(page, 'run', { run: run() });
  await page.waitForFunction(() => document.querySelector('[data-action="saveCheckpoint"]')!.shadowRoot!.querySelector('button')!.disabled === false);
  await page.focus('[data-action="saveCheckpoint"]');
  await page.keyboard.press('Enter');
  await askedTimes(page, 'act', 1);
  for (const state of [{ saving: true }, { saving: true, status: 'saving' }] as const) {
    await notify(page, 'run', { run: run(state) });
    await page.waitForSelector('[data-action="saveCheckpoint"][aria-disabled="true"]');
    // A place that is lost is given to another control with the next frame.
    await page.evaluate(() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    assert.equal(await focused(page), 'saveCheckpoint');
    assert.equal(await page.locator('[data-action="saveCheckpoint"] button').getAttribute('aria-disabled'), 'true', 'as it is told');
    await page.keyboard.press('Enter');
  }
  await notify(page, 'run', { run: run() });
  await page.waitForSelector('[data-action="saveCheckpoint"]:not([aria-disabled])');
  assert.equal(await focused(page), 'saveCheckpoint');
  assert.deepEqual(await asked(page, 'act'), [{ action: 'saveCheckpoint' }]);
  for (let time = 0; time < 2; time++) {
    await page.evaluate(() => { document.getElementById('live')!.textContent = document.getElementById('live')!.textContent; });
    await notify(page, 'saved', { checkpoint: 'checkpoint-188' });
    await page.waitForFunction(() => document.getElementById('live')!.textContent === 'Checkpoint saved: checkpoint-188');
  }
}));

test('Try that is pressed with a key keeps the keyboard\'s place, which goes to Stop and back where something is written', async () => {
  await inPanel({ state: 'finished' }, async page => {
    await page.fill('#try-text', 'A fine film.');
    await page.focus('#try-button');
    await page.keyboard.press('Enter');
    await page.waitForSelector('.tried');
    assert.equal(await focused(page), 'try-button');
  });
  await inPanel({ state: 'language' }, async page => {
    const writing = (): Promise<unknown> => page.waitForFunction(() => (document.querySelector('.side.adapter .written')?.textContent?.length ?? 0) > 3);
    await page.fill('#try-text', 'Once');
    await page.focus('#try-button');
    await page.keyboard.press('Enter');
    await focusMoves(page, 'try-stop');
    await writing();
    await page.keyboard.press('Escape');
    await focusMoves(page, 'try-button');
    assert.equal((await asked(page, 'stopWriting')).length, 1, 'Escape stops wherever the keyboard is');
    await page.keyboard.press('Enter');
    await focusMoves(page, 'try-stop');
    await page.waitForSelector('.side.base[data-stopped="length"]');
    await focusMoves(page, 'try-button');
  });
});

test('what a run does is said once: that it begins, waits, goes on and has ended, not each time that it evaluates or saves', () => inPanel({ width: 1400 }, async page => {
  await page.evaluate(() => {
    const live = document.getElementById('live')!, said: string[] = [];
    new MutationObserver(() => { if (live.textContent) said.push(live.textContent); }).observe(live, { childList: true, characterData: true, subtree: true });
    Object.assign(window, { said });
  });
  const said = (): Promise<string[]> => page.evaluate(() => (window as unknown as { said: string[] }).said.splice(0));
  const be = async (...states: Parameters<typeof run>[0][]): Promise<string[]> => {
    for (const state of states) {
      await notify(page, 'run', { run: run(state) });
      await page.waitForSelector(`#panel[data-status="${state!.status}"]`);
    }
    return said();
  };
  assert.deepEqual(await be({ status: 'preparing', started: null }, { status: 'running' }), ['Preparing', 'Training']);
  await notify(page, 'metrics', { records: metrics(94), samples: [], reset: true });
  await page.waitForSelector('#panel[data-metrics="95"]');
  assert.deepEqual(await be(...(['evaluating', 'saving', 'running', 'evaluating', 'running', 'preparing', 'running'] as const).map(status => ({ status }))), []);
  const [paused, ...more] = await be(...(['paused', 'saving', 'paused', 'running'] as const).map(status => ({ status })));
  assert.match(paused, /^Paused\. Step 94, loss 0\.\d+, .*Evaluation at step 94/);
  assert.deepEqual(more, ['Training goes on']);
  assert.match((await be({ status: 'saving' }, { status: 'finished' })).join(), /^Finished\. Step 94, [^,]*, [^,]*, accuracy [\d.]+ %\.$/);
  // The card of the error is an alert of its own.
  assert.deepEqual(await be({ status: 'preparing', started: null }, { status: 'failed', error: { code: 'x', cause: 'it broke', action: 'mend it' } }), ['Preparing']);
  assert.equal(await page.getAttribute('[data-code="x"]', 'role'), 'alert');

  // A start that was held, or an experiment that is opened, shows an end that was there before.
  assert.deepEqual(await be({ status: 'preparing', attempt: 2 }, { status: 'finished', attempt: 1 }), ['Preparing']);
  assert.deepEqual(await be({ status: 'preparing', attempt: 3, started: null }, { status: 'running', attempt: 3 }), ['Preparing', 'Training']);
  assert.deepEqual(await be({ status: 'finished', attempt: 1 }, { status: 'running', attempt: 3 }, { status: 'stopped', attempt: 0 }), []);

  // So does its card; that it can be continued, which is known a moment later, is no reason to read it once more.
  const failed = { status: 'failed', error: { code: 'x', cause: 'it broke', action: 'mend it' } } as const;
  await be({ ...failed, attempt: 4 });
  const card = await page.waitForSelector('[data-code="x"][role="alert"]');
  await be({ ...failed, attempt: 4, resumable: true });
  await page.waitForSelector('[data-code="x"] [data-action="continueRun"]', { state: 'visible' });
  assert.equal(await card.evaluate(({ isConnected }) => isConnected), true);
  await be({ status: 'preparing', attempt: 5, error: null }, { ...failed, attempt: 4, resumable: true });
  assert.equal(await page.locator('[data-code="x"]').getAttribute('role'), null);
  await be({ status: 'preparing', attempt: 6 }, { ...failed, attempt: 6 });
  assert.equal(await page.locator('[data-code="x"]').getAttribute('role'), 'alert');
  said();

  // Evaluations are told where nothing was said for a while.
  assert.deepEqual(await be({ status: 'running', attempt: 7 }), ['Training']);
  const evaluated = async (step: number): Promise<string[]> => {
    await notify(page, 'metrics', { records: [{ step, epoch: 1, eval_loss: 0.5, eval_accuracy: 0.75, eval_runtime: 1, time: 9 }], samples: [], reset: false });
    await page.waitForSelector(`#panel[data-metrics="${step}"]`);
    return said();
  };
  assert.deepEqual(await evaluated(96), []);
  await page.evaluate(() => { const now = Date.now; Date.now = () => now() + 16_000; });
  assert.match((await evaluated(97)).join(), /^Evaluation at step 97: .*accuracy 75/);
}));
