/** The built panel in a browser, with a stand-in for VS Code around it: what a person does, and what the host is asked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingsOf } from '../../src/protocol/memory';
import { estimateMemory } from '../../src/protocol/memoryEstimate';
import type { SweepView } from '../../src/protocol/panel';
import { silentReport } from '../../src/protocol/silentGpu';
import type { Page } from 'playwright-core';
import type { SweepMember, TrainRecord } from '../../src/protocol/metrics';
import { axisStart } from '../../webview/axis';
import { formatNumber } from '../../webview/format';
import { rankStops } from '../../webview/ranges';
import { bertModel, experiment, memory, metrics, run, SWEEP, telemetry, values, VIEWS } from './support/fixtures';
import { asked, askedTimes, eventually, inPanel, notify, text } from './support/panelPage';

test('every state fits a narrow and a wide editor and shows no error', async () => {
  for (const state of Object.keys(VIEWS)) {
    await inPanel({ state, width: 1400 }, async page => {
      await page.evaluate(() => document.querySelectorAll('details').forEach(details => { details.open = true; }));
      for (const width of [1400, 760, 360, 280]) {
        await page.setViewportSize({ width, height: 900 });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(wide <= 0, `${state} is ${wide} px too wide for ${width}`);
      }
    });
  }
});

test('in a narrow panel nothing runs out of its card, and what is set can be read', () => inPanel({ width: 280 }, async page => {
  const model = bertModel();
  const modules = model.modules.map(module => (module.type === 'Embedding' ? { ...module, adaptable: true } : module));
  await notify(page, 'experiment', { experiment: experiment({ model: { ...model, modules } }) });
  await page.waitForSelector('[data-key="target:bert.embeddings.token_type_embeddings"]');
  await page.evaluate(() => document.querySelectorAll('details').forEach(details => { details.open = true; }));
  const out = await page.evaluate(() => Array.from(document.querySelectorAll('.card')).flatMap(card => Array.from(card.querySelectorAll('*'))
    .filter(element => element.checkVisibility() && element.getBoundingClientRect().right > card.getBoundingClientRect().right).map(element => element.outerHTML)));
  assert.deepEqual(out, []);
  const room = await page.locator('vscode-dropdown').evaluateAll(lists => lists.filter(list => list.checkVisibility()).map(list => list.shadowRoot!.querySelector('.selected-value')!).filter(text => text.scrollWidth > text.clientWidth).map(text => text.textContent));
  assert.deepEqual(room, [], 'choices that are cut');
  const sliders = await page.locator('input[type=range]').evaluateAll(ranges => ranges.map(range => range.clientWidth));
  assert.ok(Math.min(...sliders) >= 80, sliders.join());
  const preview = page.locator('[data-action="previewData"]');
  assert.ok((await preview.boundingBox())!.width < 120, 'a link is as wide as its text');
}));

test('ratio, size and memory follow the slider at once, and the file is edited once', () => inPanel({}, async page => {
  assert.equal(await text(page, '#trainable-ratio'), '1.67 %');
  assert.equal(await text(page, '#adapter-size'), '66.6 kB');
  const slider = page.locator('input[type=range][data-key="lora.r"]');
  // A movement over four stops, within one task of the page however busy the machine is.
  await slider.evaluate((input: HTMLInputElement) => {
    for (let i = 0; i < 4; i++) {
      input.stepUp();
      input.dispatchEvent(new Event('input', { bubbles: true }));
    }
  });
  await eventually(page, '#trainable-ratio', '3.26 %');
  assert.equal(await slider.getAttribute('aria-valuetext'), '16');
  assert.equal(await text(page, '#trainable-line'), 'trainable params: 33,026 || all params: 1,013,380 || trainable%: 3.2590');
  assert.equal(await text(page, '#now-trainable-ratio'), '3.26 % at rank 16');
  assert.deepEqual(await askedTimes(page, 'edit', 1), [{ changes: [{ path: ['lora', 'r'], value: 16 }] }]);
  assert.equal(await page.locator('vscode-text-field[data-key="lora.r"]').evaluate((field: HTMLInputElement) => field.value), '16');
}));

test('ticking a kind of module moves the ratio and writes target_modules', () => inPanel({}, async page => {
  await page.click('vscode-checkbox[data-key="target:attention.self.key"]');
  await eventually(page, '#trainable-ratio', '2.47 %');
  assert.deepEqual(await askedTimes(page, 'edit', 1), [{ changes: [{ path: ['lora', 'target_modules'], value: ['query', 'key', 'value'] }] }]);
  assert.equal(await text(page, '#target-summary'), 'query, key, value · 12 of 25 linear layers');
}));

test('one click that changes several keys is one edit of the file, and removes keys instead of writing null', () => inPanel({}, async page => {
  await notify(page, 'experiment', { experiment: experiment({ values: values({ layers_to_transform: [0, 1], exclude_modules: ['key'] }) }) });
  await page.locator('#target-summary', { hasText: '4 of 25' }).waitFor();
  await page.click('vscode-checkbox[data-key="target:attention.self.key"]');
  assert.deepEqual(await askedTimes(page, 'edit', 1), [{
    changes: [{ path: ['lora', 'target_modules'], value: ['0.attention.self.query', 'key', '0.attention.self.value', '1.attention.self.query', '1.attention.self.value'] }, { path: ['lora', 'exclude_modules'] }, { path: ['lora', 'layers_to_transform'] }, { path: ['lora', 'layers_pattern'] }],
  }]);
}));

test('what is set and pressed says which experiment it is for', () => inPanel({}, async page => {
  const files = (method: string) => page.evaluate(name => (window as unknown as { mock: { asked: { method: string; params: { experiment?: string } }[] } }).mock.asked.filter(entry => entry.method === name).map(({ params }) => params.experiment), method);
  const { file } = VIEWS.ready.experiment!;
  await page.locator('input[type=range][data-key="lora.r"]').press('ArrowRight');
  const other = { ...experiment(), file: '/home/ada/other.lora.json', name: 'other' };
  await notify(page, 'experiment', { experiment: other });
  await askedTimes(page, 'edit', 1);
  assert.deepEqual(await files('edit'), [file]);
  // The stand-in for the host answers an edit with the experiment that it has.
  await eventually(page, '#experiment-name', 'sentiment');
  await notify(page, 'experiment', { experiment: other });
  await eventually(page, '#experiment-name', 'other');
  await page.click('.toolbar [data-action="start"]');
  await askedTimes(page, 'act', 1);
  assert.deepEqual(await files('act'), ['/home/ada/other.lora.json']);
}));

test('a number that cannot be used is said beside its field and not written', () => inPanel({}, async page => {
  const field = page.locator('vscode-text-field[data-key="training.learning_rate"]');
  await field.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('-1');
  await eventually(page, '#message-training\\.learning_rate', 'give a number above 0');
  await page.waitForTimeout(300);
  assert.deepEqual(await asked(page, 'edit'), []);
}));

test('a number that is half deleted goes back to what it was, and holds Start and Measure until it can be used', () => inPanel({}, async page => {
  const field = page.locator('vscode-text-field[data-key="training.per_device_train_batch_size"]');
  await field.click();
  await page.keyboard.press('End');
  await page.keyboard.press('Backspace');
  assert.deepEqual((await askedTimes(page, 'edit', 1)).at(-1), { changes: [{ path: ['training', 'per_device_train_batch_size'], value: 1 }] });
  await page.keyboard.press('Backspace');
  await eventually(page, '#message-training\\.per_device_train_batch_size', 'give a number');
  assert.deepEqual((await askedTimes(page, 'edit', 2)).at(-1), { changes: [{ path: ['training', 'per_device_train_batch_size'], value: 16 }] }, 'nobody has asked for batches of 1');
  for (const press of ['.toolbar [data-action="start"]', '#measure-memory']) {
    await page.click(press);
    assert.match(await page.locator('#failures [role="alert"]').innerText(), /Nothing was started.*Batch size is blank\..*Give a number\./s);
  }
  assert.deepEqual([await asked(page, 'act'), await asked(page, 'measure')], [[], []]);
  assert.equal(await page.evaluate(() => (document.activeElement as HTMLElement).dataset.key), 'training.per_device_train_batch_size', 'the cursor is where it can be mended');
  await page.keyboard.type('4');
  await page.click('.toolbar [data-action="start"]');
  assert.deepEqual(await askedTimes(page, 'act', 1), [{ action: 'start' }]);
  assert.deepEqual((await asked(page, 'edit')).at(-1), { changes: [{ path: ['training', 'per_device_train_batch_size'], value: 4 }] });
  assert.equal(await page.locator('#failures [role="alert"]').count(), 0);
}));

test('what cannot be used in a field is gone with the experiment that it was typed for, and when settings become fixed', () => inPanel({}, async page => {
  const field = page.locator('vscode-text-field[data-key="lora.r"]');
  const shows = (expected: string) => page.waitForFunction(what => document.querySelector<HTMLInputElement>('vscode-text-field[data-key="lora.r"]')!.value === what, expected);
  const wrong = async (): Promise<void> => {
    await field.click();
    await page.keyboard.press('Control+A');
    await page.keyboard.type('eight');
    await eventually(page, '#message-lora\\.r', 'give a number');
  };
  await wrong();
  await notify(page, 'experiment', { experiment: { ...experiment(), file: '/home/ada/experiments/reviews/other.lora.json' } });
  await shows('8');
  await eventually(page, '#message-lora\\.r', '');
  await wrong();
  await notify(page, 'run', { run: run() });
  await shows('8');
}));

test('the scaling beside alpha is the one that is trained with', () => inPanel({}, async page => {
  const note = '#message-lora\\.lora_alpha';
  await eventually(page, note, 'Scaling lora_alpha / r = 2');
  await notify(page, 'experiment', { experiment: experiment({ values: values({ r: 16, lora_alpha: 16, use_rslora: true }) }) });
  await eventually(page, note, 'Scaling lora_alpha / √r = 4');
}));

test('a rank is held against the matrices that get it, as the engine does, also one of rank_pattern', () => inPanel({}, async page => {
  const model = bertModel();
  // As where several heads share their keys and values.
  const grouped = { ...model, modules: model.modules.map(module => (/self\.(key|value)$/.test(module.name) ? { ...module, shape: [32, 128] } : module)) };
  const shown = (lora: Parameters<typeof values>[0]) => notify(page, 'experiment', { experiment: experiment({ model: grouped, values: values(lora) }) });
  const message = '#message-lora\\.r';
  await shown({ r: 100 });
  await eventually(page, message, 'is 100: give at most 32, the smallest dimension of the matrices that get this rank');
  await shown({ r: 100, rank_pattern: { value: 32 } });
  await eventually(page, message, '');
  assert.equal(await page.locator('input[type=range][data-key="lora.r"]').evaluate((slider: HTMLInputElement) => slider.max), String(rankStops(128).length - 1), 'the slider reaches what queries can have');
  await shown({ r: 8, rank_pattern: { value: 33 } });
  await eventually(page, message, 'rank_pattern gives bert.encoder.layer.0.attention.self.value 33: give at most 32, the smaller dimension of its matrix');
  await shown({ r: 100, init_adapter: 'runs/earlier/adapter' });
  await eventually(page, message, '');
}));

test('evaluations that are chosen without data for them are said to be wrong beside the choice, which can be taken back', () => inPanel({}, async page => {
  const without = (eval_strategy: string) => { const all = values(); return { ...all, dataset: { ...all.dataset, eval: null }, training: { ...all.training, eval_strategy } } as typeof all; };
  const message = page.locator('#message-training\\.eval_strategy');
  await notify(page, 'experiment', { experiment: experiment({ values: without('no') }) });
  await eventually(page, '#message-training\\.eval_strategy', 'There is no evaluation data (dataset.eval)');
  assert.equal(await message.isVisible(), false, 'among settings that few people need');
  const problem = { path: ['training', 'eval_strategy'], cause: 'is "epoch", and there is no evaluation data', action: 'give dataset.eval, or set it to "no"' };
  await notify(page, 'experiment', { experiment: experiment({ values: without('epoch'), problems: [problem] }) });
  await message.filter({ hasText: 'is "epoch", and there is no evaluation data: give dataset.eval, or set it to "no"' }).waitFor();
  assert.ok(await message.isVisible(), 'the place that the list of problems speaks of can be seen');
  await page.click('vscode-dropdown[data-key="training.eval_strategy"]');
  await page.click('vscode-dropdown[data-key="training.eval_strategy"] vscode-option[value="no"]');
  assert.deepEqual(await askedTimes(page, 'edit', 1), [{ changes: [{ path: ['training', 'eval_strategy'], value: 'no' }] }]);
}));

/** Chooses an entry of a drop-down as a person does. */
async function choose(page: Page, key: string, value: string): Promise<void> {
  await page.click(`vscode-dropdown[data-key="${key}"]`);
  await page.click(`vscode-dropdown[data-key="${key}"] vscode-option[value="${value}"]`);
}
const fieldOf = (page: Page, key: string) => page.locator(`vscode-text-field[data-key="${key}"]`);
/** Waits until these are the last changes that the host was asked for, in however many edits they came. */
const written = (page: Page, ...changes: object[]): Promise<unknown> => page.waitForFunction(expected =>
  JSON.stringify((window as unknown as { mock: { asked: { method: string; params: { changes: object[] } }[] } }).mock.asked.filter(({ method }) => method === 'edit').flatMap(({ params }) => params.changes).slice(-expected.length)) === JSON.stringify(expected), changes);

test('steps between evaluations, and between checkpoints, can be given where they are counted in steps, and only there', () => inPanel({}, async page => {
  await page.click('#more-settings summary');
  for (const key of ['training.eval_steps', 'training.save_steps']) assert.equal(await fieldOf(page, key).isVisible(), false, key);
  await choose(page, 'training.eval_strategy', 'steps');
  await written(page, { path: ['training', 'eval_strategy'], value: 'steps' });
  await fieldOf(page, 'training.eval_steps').waitFor();
  await eventually(page, '#message-training\\.eval_steps', 'As logging steps: 1');
  await fieldOf(page, 'training.eval_steps').click();
  await page.keyboard.type('50');
  await eventually(page, '#message-training\\.eval_steps', '');
  await written(page, { path: ['training', 'eval_steps'], value: 50 });
  await page.keyboard.press('Control+A');
  await page.keyboard.press('Delete');
  // A blank field removes the key.
  await written(page, { path: ['training', 'eval_steps'] });
  await page.keyboard.type('0');
  await eventually(page, '#message-training\\.eval_steps', 'give at least 1');
  await page.click('.toolbar [data-action="start"]');
  assert.match(await page.locator('#failures [role="alert"]').innerText(), /Evaluation steps cannot be “0”/);
  await choose(page, 'training.eval_strategy', 'epoch');
  await fieldOf(page, 'training.eval_steps').waitFor({ state: 'hidden' });
  await choose(page, 'training.save_strategy', 'steps');
  await fieldOf(page, 'training.save_steps').waitFor();
  assert.equal(await fieldOf(page, 'training.save_steps').evaluate((input: HTMLInputElement) => input.value), '500');
  await page.click('.toolbar [data-action="start"]');
  assert.deepEqual(await askedTimes(page, 'act', 1), [{ action: 'start' }], 'what was typed into a field that is gone holds nothing');
}));

test('steps that are wrong in the file can be seen and mended also where they are not counted', () => inPanel({}, async page => {
  const problem = { path: ['training', 'save_steps'], cause: 'is 0', action: 'give a whole number at least 1' };
  await notify(page, 'experiment', { experiment: experiment({ problems: [problem] }) });
  await page.locator('#message-training\\.save_steps', { hasText: 'is 0: give a whole number at least 1' }).waitFor();
  assert.ok(await fieldOf(page, 'training.save_steps').isVisible());
}));

test('kind and start of the adapter are set in the panel, and cost and scaling follow', () => inPanel({}, async page => {
  await page.click('#more-adapter summary');
  await page.click('vscode-checkbox[data-key="lora.use_rslora"]');
  await eventually(page, '#message-lora\\.lora_alpha', 'Scaling lora_alpha / √r = 5.657');
  await page.click('vscode-checkbox[data-key="lora.use_dora"]');
  await eventually(page, '#trainable-ratio', '1.77 %');
  await choose(page, 'lora.init_lora_weights', 'false');
  await choose(page, 'lora.bias', 'lora_only');
  await written(page, { path: ['lora', 'use_rslora'], value: true }, { path: ['lora', 'use_dora'], value: true }, { path: ['lora', 'init_lora_weights'], value: false }, { path: ['lora', 'bias'], value: 'lora_only' });
}));

test('a start that the list lacks is shown as the file has it', () => inPanel({}, async page => {
  await notify(page, 'experiment', { experiment: experiment({ values: values({ init_lora_weights: 'pissa_niter_7' }) }) });
  await page.click('#more-adapter summary');
  const list = page.locator('vscode-dropdown[data-key="lora.init_lora_weights"]');
  await page.waitForFunction(() => document.querySelector<HTMLElement & { displayValue: string }>('vscode-dropdown[data-key="lora.init_lora_weights"]')!.displayValue === 'pissa_niter_7');
  assert.deepEqual(await list.locator('vscode-option').allTextContents(), ['true', 'false', 'gaussian', 'pissa', 'olora', 'pissa_niter_4', 'pissa_niter_7']);
}));

test('settings of which each is right but that do not go together are marked', () => inPanel({}, async page => {
  const shown = (lora: Parameters<typeof values>[0], precision = 'fp32') => { const all = values(lora); return notify(page, 'experiment', { experiment: experiment({ values: { ...all, engine: { ...all.engine, precision } } as typeof all }) }); };
  const message = '#message-lora\\.init_lora_weights';
  await shown({ init_lora_weights: 'pissa', use_dora: true });
  await page.locator(message, { hasText: 'cannot be used with DoRA: take true, or turn DoRA off' }).waitFor();
  assert.ok(await page.isVisible(message), 'what is marked can be seen');
  await shown({ init_lora_weights: 'pissa', r: 65 });
  await eventually(page, message, 'is saved with twice the rank: give a rank of at most 64, or take true');
  await shown({ use_dora: true }, 'int4');
  await eventually(page, message, '');
  await eventually(page, '#message-lora\\.use_dora', 'cannot be used with base weights in int4, as it needs their exact rows: turn it off, or take fp32');
  await eventually(page, '#message-engine\\.precision', 'cannot be used with DoRA, which needs the exact rows: take fp32, or turn DoRA off');
}));

test('base model and data are chosen in a dialog, and what is wrong with them is said beside them', () => inPanel({}, async page => {
  const browse = (name: string) => page.getByRole('button', { name: `${name}: Browse…` });
  assert.deepEqual(await page.locator('.path').allTextContents(), ['model', 'train.jsonl', 'eval.jsonl']);
  for (const name of ['Base model', 'Training data', 'Evaluation data']) await browse(name).click();
  assert.deepEqual(await askedTimes(page, 'browse', 3), [{ path: ['base_model'] }, { path: ['dataset', 'train'] }, { path: ['dataset', 'eval'] }]);
  const all = values();
  await notify(page, 'experiment', { experiment: experiment({ values: { ...all, dataset: { ...all.dataset, eval: null } }, problems: VIEWS.problems.experiment!.problems }) });
  await page.locator('#message-dataset\\.train', { hasText: 'is missing' }).waitFor();
  assert.equal(await text(page, '#path-dataset\\.eval'), 'none');
  await notify(page, 'run', { run: run() });
  await page.waitForSelector('#panel[data-status="running"]');
  assert.ok(await browse('Base model').isDisabled(), 'fixed as the others are');
  await page.getByRole('button', { name: 'Preview data' }).click();
  assert.deepEqual(await askedTimes(page, 'act', 1), [{ action: 'previewData' }], 'data can be looked at while it is trained on');
}));

test('only a language model packs its examples', async () => {
  const box = 'vscode-checkbox[data-key="training.packing"]';
  await inPanel({}, async page => {
    await page.click('#more-settings summary');
    assert.equal(await page.isVisible(box), false);
    const all = values();
    await notify(page, 'experiment', { experiment: experiment({ values: { ...all, training: { ...all.training, packing: true } } }) });
    await eventually(page, '#message-training\\.packing', 'is not used by SEQ_CLS: turn it off');
    await page.click(box);
    await written(page, { path: ['training', 'packing'], value: false });
  });
  await inPanel({ state: 'language' }, async page => {
    await page.click('#more-settings summary');
    await page.click(box);
    await written(page, { path: ['training', 'packing'], value: true });
  });
});

test('gradient checkpointing says what it saves, and memory falls by that', () => inPanel({ state: 'tooLarge' }, async page => {
  await page.click('#more-settings summary');
  await eventually(page, '#memory-estimate', '≈ 1.5 GB');
  const note = await text(page, '#message-training\\.gradient_checkpointing');
  assert.match(note, /^Saves about \d+ MB, takes a third more time$/);
  const saved = 1e6 * Number(note.match(/\d+/)![0]);
  await page.click('vscode-checkbox[data-key="training.gradient_checkpointing"]');
  await written(page, { path: ['training', 'gradient_checkpointing'], value: true });
  const { training, ...rest } = VIEWS.tooLarge.experiment!.values;
  const [without, with_] = [false, true].map(gradient_checkpointing => estimateMemory(VIEWS.tooLarge.experiment!.model!, { ...rest, training: { ...training, gradient_checkpointing } }).total);
  assert.ok(Math.abs(without - with_ - saved) < 1e6, `${without - with_} and ${saved}`);
  await page.waitForFunction(before => document.getElementById('memory-estimate')!.textContent !== before, '≈ 1.5 GB');
  assert.equal(await text(page, '#message-training\\.gradient_checkpointing'), note);
}));

test('while a run is active, and where there is no adapter, what is folded away cannot be changed either', async () => {
  await inPanel({ state: 'running' }, async page => {
    await page.evaluate(() => document.querySelectorAll('details').forEach(details => { details.open = true; }));
    const open = await page.locator('details :is(vscode-checkbox, vscode-dropdown, vscode-text-field)').evaluateAll(found => found.filter(control => control.checkVisibility() && !(control as HTMLInputElement).disabled).map(control => (control as HTMLElement).dataset.key));
    assert.deepEqual(open, []);
  });
  await inPanel({ state: 'wholeModel' }, async page => assert.equal(await page.isVisible('#more-adapter'), false));
});

test('a notification does not overwrite what a person is typing', () => inPanel({}, async page => {
  const field = page.locator('vscode-text-field[data-key="lora.r"]');
  await field.click();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('3');
  await notify(page, 'experiment', { experiment: experiment() });
  await page.waitForTimeout(50);
  await page.keyboard.type('2');
  await page.waitForFunction(() => (window as unknown as { mock: { asked: { params?: { changes?: { value: unknown }[] } }[] } }).mock.asked.some(entry => entry.params?.changes?.some(({ value }) => value === 32)));
  assert.equal(await field.evaluate((element: HTMLInputElement) => element.value), '32');
  await notify(page, 'experiment', { experiment: experiment({ values: values({ r: 4 }) }) });
  await eventually(page, '#now-trainable-ratio', '0.85 % at rank 4');
  assert.equal(await field.evaluate((element: HTMLInputElement) => element.value), '4', 'an undo in the editor shows');
}));

test('Start sends what was just set before it starts', () => inPanel({}, async page => {
  await page.locator('input[type=range][data-key="lora.r"]').press('ArrowLeft');
  await page.click('[data-action="start"]');
  await page.waitForFunction(() => (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.some(entry => entry.method === 'act'));
  const order = await page.evaluate(() => (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.map(entry => entry.method));
  assert.deepEqual(order.filter(method => method === 'edit' || method === 'act'), ['edit', 'act']);
  assert.deepEqual(await asked(page, 'act'), [{ action: 'start' }]);
}));

test('a run: settings are fixed with a reason, records move progress, charts and text', () => inPanel({ state: 'ready' }, async page => {
  await notify(page, 'run', { run: run() });
  await page.waitForSelector('#panel[data-status="running"]');
  assert.ok(await page.isVisible('#settings-fixed'));
  assert.ok(await page.isDisabled('input[type=range][data-key="lora.r"]'));
  await notify(page, 'metrics', { records: metrics(94), samples: [], reset: true });
  await page.waitForSelector('#panel[data-metrics="95"]');
  assert.match(await text(page, '#progress-text'), /^Step 94 of 564 · epoch 0\.5 of 3 · [\d,]+ tokens\/s · \d+ s left · CPU/);
  assert.match(await text(page, '#now-loss'), /^train 0\.\d+ · eval 0\.\d+$/);
  assert.equal(await page.getAttribute('#progress', 'aria-valuenow'), '17');
  assert.equal(await page.locator('#evaluations tbody tr').count(), 1);
  await page.click('[data-action="pause"]');
  assert.deepEqual(await asked(page, 'act'), [{ action: 'pause' }]);
}));

test('an error names file, place, cause and action, opens the file there and goes on from the checkpoint', () => inPanel({ state: 'failed' }, async page => {
  const card = await text(page, '#errors');
  for (const part of ['Training failed', 'The loss became NaN at step 212.', 'Lower learning_rate', 'sentiment.lora.json', 'step 212', 'checkpoint-188']) assert.ok(card.includes(part), part);
  await page.click('#errors [data-open]');
  await page.click('#errors [data-action="continueRun"]');
  assert.deepEqual(await asked(page, 'open'), [{ file: '/home/ada/experiments/reviews/sentiment.lora.json', where: 'step 212' }]);
  await page.waitForFunction(() => (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.some(entry => entry.method === 'act'));
  assert.deepEqual(await asked(page, 'act'), [{ action: 'continueRun' }]);
}));

test('a start that fails before anything is trained stands above the earlier run, and is not called training', () => inPanel({ state: 'finished' }, async page => {
  const { run: earlier } = VIEWS.finished;
  await notify(page, 'run', { run: { ...earlier, attempt: 2, status: 'failed', error: { code: 'lora.rank-too-high', where: 'lora.r', cause: 'rank 8 is too high', action: 'give at most 4' } } });
  await eventually(page, '#errors h2', 'The run did not start');
  assert.ok((await text(page, '#summary')).includes('Run finished'));
}));

test('what kept a run from starting is no longer told of once it is mended', () => inPanel({}, async page => {
  const rank = page.locator('vscode-text-field[data-key="lora.r"] input');
  const card = page.locator('#failures [role="alert"]');
  await rank.fill('12');
  await rank.fill('abc');
  await page.click('[data-action="start"]');
  await card.waitFor();
  await askedTimes(page, 'edit', 1);
  await page.waitForTimeout(50);
  assert.match(await card.innerText(), /Rank cannot be “abc”/, 'it holds a start still, whatever the file says');
  await rank.fill('8');
  await card.waitFor({ state: 'detached' });
}));

for (const [what, mend] of [
  ['the file says something else', page => notify(page, 'experiment', { experiment: experiment({ values: values({ r: 4 }) }) })],
  ['the file has other problems', page => notify(page, 'experiment', { experiment: experiment({ problems: [{ path: ['lora', 'r'], cause: 'is 0', action: 'give at least 1' }] }) })],
  ['something else is begun', page => page.click('[data-action="selectTargets"]')],
] as [string, (page: Page) => Promise<unknown>][]) {
  test(`what did not work is no longer told of once ${what}`, () => inPanel({}, async page => {
    await page.evaluate(() => { (window as unknown as { mock: { refused: object } }).mock.refused = { code: 'experiment.read-only', cause: 'the file could not be changed', action: 'check that it is not read-only' }; });
    await page.locator('input[type=range][data-key="lora.r"]').press('ArrowLeft');
    await eventually(page, '#message-lora\\.r', 'not saved: the file could not be changed');
    await page.click('.toolbar [data-action="start"]');
    const card = page.locator('#failures [role="alert"]');
    await card.waitFor();
    await notify(page, 'experiment', { experiment: experiment({ memory: memory(7e9) }) });
    await card.getByText('Show log').click();
    await askedTimes(page, 'act', 1);
    assert.ok(await card.isVisible(), 'as long as all is as it was');
    await mend(page);
    await card.waitFor({ state: 'detached' });
  }));
}

test('a base model that could not be read is read again where the panel says so', () => inPanel({ state: 'modelError' }, async page => {
  await page.focus('#errors [data-action="refreshModel"]');
  await page.keyboard.press('Enter');
  assert.deepEqual(await askedTimes(page, 'act', 1), [{ action: 'refreshModel' }]);
  await notify(page, 'experiment', { experiment: experiment({ model: null }) });
  await page.waitForSelector('#errors .card', { state: 'detached' });
  await page.waitForFunction(() => document.activeElement?.className === 'experiment');
  await notify(page, 'experiment', { experiment: experiment() });
  await eventually(page, '#trainable-ratio', '1.67 %');
  await page.keyboard.press('Tab');
  assert.ok(await page.evaluate(() => document.activeElement!.closest('.header') !== null), 'the keyboard goes on at the top');
}));

test('what there is one of is said so', () => inPanel({ state: 'finished' }, async page => {
  const only = 'bert.encoder.layer.0.attention.self.query';
  await notify(page, 'experiment', { experiment: experiment({ values: values({ target_modules: [only] }) }) });
  await page.waitForFunction(() => document.querySelector('#adapter-size + .detail')!.textContent === '1 adapter');
  await notify(page, 'run', { run: { ...VIEWS.finished.run, summary: { ...VIEWS.finished.run.summary, steps: 188, epochs: 1 } } });
  await page.locator('#summary', { hasText: '188 steps, 1 epoch' }).waitFor();
  assert.doesNotMatch(await text(page, '#summary'), /1 epochs/);
}));

test('Start says what could not be written to the file, and starts when it is pressed again', () => inPanel({}, async page => {
  await page.evaluate(() => { (window as unknown as { mock: { refused: object } }).mock.refused = { code: 'experiment.read-only', cause: 'the file could not be changed', action: 'check that it is not read-only' }; });
  const start = page.locator('.toolbar [data-action="start"]');
  await page.locator('input[type=range][data-key="lora.r"]').press('ArrowLeft');
  await eventually(page, '#message-lora\\.r', 'not saved: the file could not be changed');
  await start.click();
  const card = page.locator('#failures [role="alert"]');
  assert.match(await card.innerText(), /Nothing was started.*The file could not be changed\..*not read-only; or start with the settings as they are shown/s);
  assert.deepEqual(await asked(page, 'act'), []);
  await start.click();
  await card.waitFor({ state: 'detached' });
  await page.waitForFunction(() => (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.some(entry => entry.method === 'act'));
  assert.deepEqual(await asked(page, 'act'), [{ action: 'start' }]);
}));

test('a language model is measured by perplexity and token accuracy, and its loss does not fall below zero', () => inPanel({ state: 'language' }, async page => {
  assert.deepEqual(await page.locator('#evaluations th').allInnerTexts(), ['Step', 'Epoch', 'Loss', 'Perplexity', 'Token accuracy', 'Time']);
  const summary = await text(page, '#summary');
  assert.ok(summary.includes('Perplexity1.02150 before training') && summary.includes('Token accuracy94.3 %'), summary);
  assert.equal(axisStart([[{ x: 0, y: 0.9 }, { x: 1, y: NaN }], [{ x: 1, y: 0.01 }]]), 0);
  assert.equal(axisStart([[{ x: 0, y: 2.4 }, { x: 1, y: 2.1 }]]), undefined);
}));

test('without an experiment there is a way to make or open one', () => inPanel({ state: 'none' }, async page => {
  await page.click('[data-action="newExperiment"]');
  await page.click('[data-action="pickExperiment"]');
  await page.waitForFunction(() => (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.filter(entry => entry.method === 'act').length === 2);
  assert.deepEqual(await asked(page, 'act'), [{ action: 'newExperiment' }, { action: 'pickExperiment' }]);
}));

test('charts leave no hole beside them before the first record, at any width', () => inPanel({ state: 'ready' }, async page => {
  for (const width of [1400, 1100, 760, 420]) {
    await page.setViewportSize({ width, height: 900 });
    const [all, ends] = await page.evaluate(() => {
      const right = (element: Element): number => Math.round(element.getBoundingClientRect().right);
      const rows = new Map<number, number>();
      for (const card of Array.from(document.querySelectorAll('.charts > .card'))) if ((card as HTMLElement).checkVisibility()) { const top = Math.round(card.getBoundingClientRect().top); rows.set(top, Math.max(rows.get(top) ?? 0, right(card))); }
      return [right(document.querySelector('.charts')!), [...rows.values()]] as const;
    });
    assert.ok(ends.length > 0 && ends.every(end => Math.abs(end - all) <= 1), `${width}: ${ends.join()} of ${all}`);
  }
}));

test('charts take the colours of a new theme', () => inPanel({ state: 'running', theme: 'dark' }, async page => {
  const colours = (): Promise<string> => page.locator('#chart-learning-rate canvas').evaluate((canvas: HTMLCanvasElement) => {
    const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
    const counts = new Map<string, number>();
    for (let i = 0; i < data.length; i += 4) {
      const colour = data[i + 3] === 255 ? `${data[i]},${data[i + 1]},${data[i + 2]}` : '';
      if (colour) counts.set(colour, (counts.get(colour) ?? 0) + 1);
    }
    return [...counts.keys()].join(' ');
  });
  assert.ok((await colours()).includes('137,209,133'), 'the line in the dark theme');
  await page.evaluate(() => (window as unknown as { mock: { useTheme(name: string): void } }).mock.useTheme('light'));
  await page.waitForTimeout(200);
  assert.ok((await colours()).includes('56,138,52'), 'the line in the light theme');
}));

test('the strip tells what the run takes of the machine, follows it, and goes when the run has ended', () => inPanel({ state: 'running' }, async page => {
  const cell = (id: string): Promise<string> => page.evaluate(name => Array.from(document.querySelectorAll(`[data-cell=${name}] span`)).map(part => part.textContent).join('|'), id);
  assert.match(await cell('memory'), /^Memory\|4\d\d MB of 16 GB\|peak 520 MB$/, 'the peak of the whole run, not of the minutes that are shown');
  assert.match(await cell('cpu'), /^Processor\|3\.\d of 8 cores\|peak 4\.0 cores$/);
  assert.match(await cell('gpu'), /^GPU\|\d\d(\.\d)? %\|peak/);
  assert.match(await cell('gpu-memory'), /^GPU memory\|3\.1 GB of 8 GB\|peak 3\.1 GB, whole card$/);
  assert.match(await cell('speed'), /^Speed\|5,\d{3} tokens\/s\|$/);
  assert.equal(await page.evaluate(() => document.querySelector('[data-cell=cpu] polyline')!.getAttribute('points')!.split(' ').length), 90);
  await notify(page, 'metrics', { records: [], samples: [{ ...telemetry(1)[0], cpu_cores: 7.5 }], reset: false });
  await eventually(page, '[data-cell=cpu] .value', '7.5 of 8 cores');
  assert.equal(await page.isVisible('[data-cell=gpu]'), false);
  await notify(page, 'run', { run: run({ status: 'finished' }) });
  await page.waitForSelector('#telemetry', { state: 'hidden' });
}));

test('a run that waits for room on the disk says how much, and can be tried again or stopped', () => inPanel({ state: 'full' }, async page => {
  assert.match(await text(page, '[data-code="disk.full"]'), /Paused until there is room.*about 1\.3 MB are needed for checkpoint-282, 0\.2 MB are free.*checkpoint-188/s);
  await page.click('#errors [data-action=resume]');
  await page.click('#errors [data-action=stop]');
  assert.deepEqual((await asked(page, 'act')).map(({ action }) => action), ['resume', 'stop']);
  await notify(page, 'run', { run: run({ blocked: null }) });
  await page.waitForSelector('[data-code="disk.full"]', { state: 'detached' });
}));

test('a GPU that does not answer is told of while the run goes on, and can be ended also while it stops', () => inPanel({ state: 'silent' }, async page => {
  assert.match(await text(page, '[data-code="device.silent"]'), /The GPU does not answer.*has not answered since \d\d:\d\d:\d\d.*If it is only slow, wait.*Stop ends the engine/s);
  const { silent } = VIEWS.silent.run;
  await notify(page, 'run', { run: run({ status: 'stopping', silent }) });
  await page.click('#errors [data-action=stop]');
  await page.click('.toolbar [data-action=stop]');
  assert.deepEqual((await asked(page, 'act')).map(({ action }) => action), ['stop', 'stop']);
  await notify(page, 'run', { run: run({ status: 'stopping' }) });
  await page.waitForSelector('[data-code="device.silent"]', { state: 'detached' });
}));

test('a device that needs something offers to install it', () => inPanel({ state: 'failed' }, async page => {
  await notify(page, 'run', { run: run({ status: 'failed', error: { code: 'device.missing', where: 'engine.device', cause: 'cuda cannot be used', action: 'install it' } }) });
  await page.click('#errors [data-action=installRuntime]');
  assert.deepEqual((await asked(page, 'act')).map(({ action }) => action), ['installRuntime']);
}));

test('the keyboard reaches every control in a sensible order', () => inPanel({ width: 1400 }, async page => {
  const order: string[] = [];
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press('Tab');
    order.push(await page.evaluate(() => {
      const { dataset, id, tagName } = document.activeElement as HTMLElement;
      return dataset.action ?? dataset.key ?? (id || tagName);
    }));
  }
  assert.deepEqual(order.slice(0, 16), ['openFile', 'start', 'showLog', 'base_model', 'dataset.train', 'dataset.eval', 'previewData', 'lora.r', 'lora.r', 'lora.lora_alpha', 'lora.lora_alpha', 'lora.lora_dropout', 'lora.lora_dropout', 'SUMMARY', 'measure-memory', 'selectTargets']);
  assert.equal(order[16], 'target:attention.self.query');
}));

test('a run that does not fit says so, and one click sets what makes it fit', () => inPanel({ state: 'tooLarge' }, async page => {
  assert.match(await text(page, '#memory-fit'), /^Needs about 1\.50 GB, and 1\.38 GB are free\. It fits with one of these:$/);
  await page.click('#memory-changes vscode-button:has-text("Recompute activations")');
  await eventually(page, '#memory-fit', '');
  assert.deepEqual(await askedTimes(page, 'edit', 1), [{ changes: [{ path: ['training', 'gradient_checkpointing'], value: true }] }]);
}));

test('a run that was held says what it needs at the top, with what makes it fit, and starts anyway if told to', () => inPanel({ state: 'held' }, async page => {
  assert.match(await text(page, '#held'), /^Not started: it would not fit in memory.*It needs 1\.62 GB, measured in one step with the longest examples; 1\.38 GB were free\.It fits with one of these/s);
  assert.equal(await page.getAttribute('#held', 'role'), 'alert');
  assert.equal(await page.isVisible('#memory-changes'), false, 'not said twice');
  await page.click('#start-anyway');
  assert.equal((await asked(page, 'startAnyway')).length, 1);
  await page.click('#held-changes vscode-button:has-text("Recompute activations")');
  await page.waitForFunction(() => (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.some(entry => entry.method === 'edit'));
  await notify(page, 'experiment', { experiment: experiment({ memory: memory(1.38e9) }) });
  await page.waitForSelector('#held', { state: 'hidden' });
}));

test('what the figure of memory is of, and where it is from', () => inPanel({ state: 'gpu' }, async page => {
  const figure = (): Promise<string[]> => page.evaluate(() => Array.from(document.querySelector('#memory-estimate')!.parentElement!.children, part => part.textContent!));
  assert.deepEqual((await figure()).filter((_, i) => i !== 1), ['GPU memory', 'computed only']);
  const result = { peak_memory_bytes: 412e6, device: 'cpu (onnxruntime)', longest: 60, gpu_memory_bytes: null, device_memory_bytes: null };
  await notify(page, 'experiment', { experiment: experiment({ memory: memory(8e9, { measured: [{ settings: settingsOf(values()), result, of: 'run' }] }) }) });
  await eventually(page, '#memory-estimate', '412 MB');
  assert.deepEqual(await figure(), ['Memory', '412 MB', 'measured']);
}));

test('memory is measured on request, and the measurement can be cancelled', () => inPanel({}, async page => {
  await page.click('#measure-memory');
  assert.equal((await asked(page, 'measure')).length, 1);
  await notify(page, 'experiment', { experiment: experiment({ memory: memory(8e9, { measuring: 'asked' }) }) });
  await eventually(page, '#memory-fit', 'Measuring: one step with the longest examples…');
  const silent = silentReport(new Date(2026, 0, 2, 3, 4, 5).getTime(), 'cancel it', 'the measurement');
  await notify(page, 'experiment', { experiment: experiment({ memory: memory(8e9, { measuring: 'asked', silent }) }) });
  await eventually(page, '#memory-fit', 'The GPU has not answered since 03:04:05. If it is only slow, wait: the measurement goes on by itself. If it hangs, cancel it.');
  await notify(page, 'experiment', { experiment: experiment({ memory: memory(8e9, { measuring: 'asked' }) }) });
  await eventually(page, '#memory-fit', 'Measuring: one step with the longest examples…');
  await page.click('#cancel-measure');
  assert.equal((await asked(page, 'cancelMeasure')).length, 1);
  const result = { peak_memory_bytes: 412e6, device: 'cpu (onnxruntime)', longest: 60, gpu_memory_bytes: null, device_memory_bytes: null };
  await notify(page, 'experiment', { experiment: experiment({ memory: memory(8e9, { measured: [{ settings: settingsOf(values()), result, of: 'step' }] }) }) });
  const { beside } = estimateMemory(bertModel(), values());
  await eventually(page, '#memory-estimate', `${Math.round((412e6 + beside) / 1e6)} MB`);
}));

test('one chart of a sweep follows the theme, however many there were before', () => inPanel({ state: 'sweep' }, async page => {
  await page.evaluate(() => {
    const following = new Set<MutationObserver>();
    const { observe, disconnect } = MutationObserver.prototype;
    MutationObserver.prototype.observe = function (target, options) {
      if (target === document.body) following.add(this);
      observe.call(this, target, options);
    };
    MutationObserver.prototype.disconnect = function () {
      following.delete(this);
      disconnect.call(this);
    };
    Object.assign(window, { following });
  });
  for (const round of ['first', 'second', 'third']) {
    const members = SWEEP.members.map(member => ({ ...member, name: `${round} ${member.name}`, changes: { 'lora.r': round } }));
    await notify(page, 'run', { run: run({ sweep: { ...SWEEP, members } }) });
    await eventually(page, '#now-sweep', `best: r ${round}`);
  }
  assert.equal(await page.evaluate(() => (window as unknown as { following: Set<unknown> }).following.size), 1);
}));

test('a sweep says which member trains and how far it is, and draws what that has logged', () => inPanel({ state: 'sweep', width: 1400 }, async page => {
  const members = SWEEP.members.map((member): SweepMember => ({ ...member, state: 'waiting', value: null, steps: 0, train_loss: null }));
  const sweep: SweepView = { members: [{ ...members[2], state: 'running' }, ...members.slice(0, 2), members[3]], shown: members[2].name, curves: {} };
  const cells = (row: number): Promise<string[]> => page.locator('#sweep tbody tr').nth(row).locator('td').allTextContents();
  await notify(page, 'metrics', { records: [], samples: [], reset: true });
  await notify(page, 'run', { run: run({ sweep }) });
  await page.locator('#sweep .chart-empty', { hasText: 'Nothing logged yet' }).waitFor();
  assert.equal(await page.locator('#sweep canvas').isVisible(), false, 'no grid around nothing');
  assert.deepEqual(await cells(0), ['r 4, learning_rate 0.0003', 'running', '0', '4,000', '–', '–']);
  const records = metrics(116);
  await notify(page, 'metrics', { records, samples: [], reset: false });
  await page.locator('#sweep canvas').waitFor();
  await page.waitForFunction(() => document.querySelector('#sweep tbody tr td:nth-child(3)')!.textContent === '116');
  const { loss } = records.filter(record => 'loss' in record).at(-1) as TrainRecord;
  assert.deepEqual(await cells(0), ['r 4, learning_rate 0.0003', 'running', '116', '4,000', formatNumber(loss), '–']);
  assert.deepEqual((await cells(1)).slice(1, 3), ['waiting', '0']);
  assert.match(await text(page, '#progress-text'), /^Member 1 of 4 · Step 116 of 564 · /);
  const next = { ...sweep, shown: members[3].name };
  await notify(page, 'run', { run: run({ status: 'evaluating', sweep: next, progress: { message: `Member 2 of 4: ${next.shown}`, fraction: null } }) });
  await page.waitForFunction(() => document.getElementById('progress-text')!.textContent!.startsWith('Member 2 of 4: 02-r-4-learning_rate-0.001 · Step'));
}));

test('the losses of a sweep begin at zero, below which none lies', () => inPanel({ state: 'ready', width: 1400 }, async page => {
  const noisy = Array.from({ length: 60 }, (_, i): [number, number] => [i + 1, i % 3 ? 0.01 : 0.81]);
  const sweep = { ...SWEEP, curves: Object.fromEntries(SWEEP.members.map(({ name }) => [name, noisy])) };
  await notify(page, 'run', { run: run({ status: 'finished', sweep }) });
  await page.locator('#sweep canvas').waitFor();
  // Of a line near zero the lowest points lie at the lower end of the axis.
  const share = await page.locator('#sweep canvas').evaluate((canvas: HTMLCanvasElement) => {
    const { data, width, height } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
    let lowest = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 128 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 40) lowest = Math.max(lowest, Math.floor(i / 4 / width));
    return lowest / height;
  });
  assert.ok(share > 0.82, `lines end at ${share} of the height`);
}));

test('a sweep shows its members, the best first, and follows their ranking', () => inPanel({ state: 'sweep' }, async page => {
  const rows = (): Promise<string[]> => page.locator('#sweep tbody tr').evaluateAll(found => found.map(row => Array.from(row.children, cell => cell.textContent).join(' | ')));
  assert.deepEqual(await rows(), [
    'r 8, learning_rate 0.0003 | finished | 300 | 8,000 | 0.214 | 0.214', `r 8, learning_rate 0.001 | running | 300 | 8,000 | ${formatNumber((metrics(300).at(-1) as TrainRecord).loss)} | 0.26`,
    'r 4, learning_rate 0.0003 | halved | 300 | 4,000 | 0.41 | 0.41', 'r 4, learning_rate 0.001 | failed | 300 | 4,000 | – | –',
  ]);
  assert.deepEqual(await page.locator('#sweep .line-key li').allTextContents(), ['r 4, learning_rate 0.0003', 'r 4, learning_rate 0.001', 'r 8, learning_rate 0.0003', 'r 8, learning_rate 0.001']);
  assert.equal(await text(page, '#now-sweep'), 'best: r 8, learning_rate 0.0003');
  await page.setViewportSize({ width: 420, height: 900 });
  assert.equal(await page.locator('#sweep .table').evaluate(table => table.scrollWidth - table.clientWidth), 0, 'the metric stands in a narrow editor without scrolling');
  assert.equal(await page.locator('#sweep tr[aria-current] td').first().textContent(), 'r 8, learning_rate 0.001');
  const [first, second, ...others] = SWEEP.members;
  await notify(page, 'run', { run: run({ sweep: { ...SWEEP, members: [{ ...second, state: 'finished', value: 0.2 }, first, ...others] } }) });
  await eventually(page, '#now-sweep', 'best: r 8, learning_rate 0.001');
  assert.match((await rows())[0], /^r 8, learning_rate 0.001 \| finished/);
  await notify(page, 'run', { run: run() });
  await page.waitForSelector('#sweep', { state: 'hidden' });
}));

test('the metrics of a classifier stand in a narrow editor without scrolling', () => inPanel({ state: 'running', width: 420 }, async page => {
  const evaluation = { step: 564, epoch: 3, eval_loss: 0.02777, eval_accuracy: 0.9933, eval_f1: 0.9933, eval_matthews_correlation: 0.9867, eval_runtime: 0.4, time: 11 };
  await notify(page, 'metrics', { records: [...metrics(20), evaluation], samples: [], reset: true });
  const row = page.locator('#evaluations tbody tr').first();
  await eventually(page, '#evaluations tbody td', '564');
  assert.deepEqual((await row.innerText()).split(/\s*\t\s*/), ['564', '3', '0.02777', '99.3 %', '0.993', '0.987']);
  const right = (at: string): Promise<number> => page.locator(at).last().evaluate(element => element.getBoundingClientRect().right);
  assert.ok(Math.abs(await right('#evaluations .table') - await right('#evaluations tbody td:visible')) < 1, 'the last column ends where the table does');
  await page.setViewportSize({ width: 760, height: 900 });
  assert.match(await row.innerText(), /0\.4 s$/);
}));

test('evaluations are those of the run that is shown, also where another had as many at the same steps', () => inPanel({ state: 'finished' }, async page => {
  const evaluated = (eval_accuracy: number) => notify(page, 'metrics', { records: [{ step: 564, epoch: 3, eval_loss: 0.2, eval_accuracy, eval_runtime: 1, time: 40 }], samples: [], reset: true });
  for (const [accuracy, shown] of [[0.9, '90.0 %'], [0.5, '50.0 %']] as const) {
    await evaluated(accuracy);
    await eventually(page, '#evaluations tbody tr:only-child td:nth-child(4)', shown);
  }
}));

test('a model that is trained whole has a size of its own and no chart over ranks', () => inPanel({ state: 'wholeModel' }, async page => {
  assert.equal(await text(page, '#trainable-ratio'), '100.0 %');
  assert.match(await text(page, '#cost'), /Model size.*in float32.*The whole model is trained980,354Frozen base0/);
  assert.equal(await page.locator('.chart-trainable-ratio').isVisible(), false);
  assert.equal(await page.getByText('the whole model is trained, without an adapter').count(), 2, 'said once for the adapter and once for the targets');
}));

test('the cells of the telemetry strip leave no hole', () => inPanel({ state: 'running', width: 420 }, async page => {
  const [strip, last] = await page.evaluate(() => ['#telemetry', '#telemetry .cell:last-child'].map(at => document.querySelector(at)!.getBoundingClientRect().right));
  assert.ok(strip - last < 3, `${strip - last} px`);
}));

/** Counts how often each canvas is drawn anew from here on. */
const countDrawings = (page: Page): Promise<void> => page.evaluate(() => {
  const counts: Record<string, number> = {};
  const clear = CanvasRenderingContext2D.prototype.clearRect;
  CanvasRenderingContext2D.prototype.clearRect = function (...box) {
    const card = this.canvas.closest('.chart')!.id;
    counts[card] = (counts[card] ?? 0) + 1;
    clear.apply(this, box);
  };
  Object.assign(window, { drawings: counts });
});
const drawings = (page: Page): Promise<Record<string, number>> => page.evaluate(() => (window as unknown as { drawings: Record<string, number> }).drawings);

test('however often records come, the loss is drawn about twice a second and other charts more seldom, and in the end all show the last step', () => inPanel({ state: 'ready' }, async page => {
  // Steps between which the axes end at 2,000: where they get another end all charts are drawn.
  await notify(page, 'run', { run: run({ started: { ...run().started!, total_steps: 10_000 } }) });
  const before = metrics(1600);
  await notify(page, 'metrics', { records: before, samples: [], reset: true });
  await page.waitForSelector(`#panel[data-metrics="${before.length}"]`);
  await countDrawings(page);
  const begun = Date.now();
  const records = metrics(1900).filter(record => 'loss' in record);
  for (let step = 1600; step < 1900; step += 3) {
    await notify(page, 'metrics', { records: records.slice(step, step + 3), samples: [], reset: false });
    await page.waitForTimeout(15);
  }
  const seconds = (Date.now() - begun) / 1000;
  const last = records[1899] as { loss: number; learning_rate: number };
  await page.waitForFunction(text => document.getElementById('now-learning-rate')!.textContent === text, formatNumber(last.learning_rate));
  await page.waitForFunction(text => document.getElementById('now-loss')!.textContent!.startsWith(`train ${text}`), formatNumber(last.loss));
  const counts = await drawings(page);
  assert.ok(counts['chart-loss'] >= 2, `the loss chart lives: ${JSON.stringify(counts)}`);
  // The first one, and what is left when the records end.
  for (const [card, times] of Object.entries(counts)) assert.ok(times <= seconds / (card === 'chart-loss' ? 0.4 : 1.6) + 2, `${card} drawn ${times} times in ${seconds} s`);
  assert.ok(counts['chart-learning-rate'] >= 1);
}));

test('the panel says where a run computes, and why the automatic choice fell on it', () => inPanel({ state: 'ready' }, async page => {
  const device = 'webgpu on NVIDIA L4 (onnxruntime 1.30.0); auto: a probe step ran on it';
  await notify(page, 'run', { run: run({ started: { ...run().started!, device } }) });
  await page.waitForFunction(text => document.getElementById('progress-text')!.textContent!.includes(text), device);
  // Afterwards that is no news: a figure's note is to stay a note.
  await notify(page, 'run', { run: run({ status: 'finished', summary: { ...VIEWS.finished.run.summary!, device } }) });
  await page.waitForSelector('#summary .notice');
  const notes = await page.locator('#summary dd.detail').allTextContents();
  assert.ok(notes.includes('webgpu on NVIDIA L4 (onnxruntime 1.30.0)'), notes.join());
}));

test('a run of 100,000 steps is redrawn in a few milliseconds of script', () => inPanel({ state: 'ready' }, async page => {
  await notify(page, 'run', { run: run() });
  const record = metrics(1)[0] as TrainRecord;
  const steps = (from: number, count: number): TrainRecord[] => Array.from({ length: count }, (_, i) => ({ ...record, step: from + i, loss: 0.5 + 0.2 * Math.sin((from + i) * 1.3), tokens_per_second: 5000 + 400 * Math.sin(from + i) }));
  for (let from = 1; from < 100_000; from += 25_000) await notify(page, 'metrics', { records: steps(from, 25_000), samples: [], reset: from === 1 });
  await page.waitForSelector('#panel[data-metrics="100000"]', { timeout: 20_000 });
  await page.waitForFunction(() => document.getElementById('now-speed')!.textContent !== '');
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Performance.enable');
  const scripted = async (): Promise<number> => (await devtools.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'ScriptDuration')!.value;
  await countDrawings(page);
  const before = await scripted();
  for (let batch = 0; batch < 8; batch++) {
    await notify(page, 'metrics', { records: steps(100_001 + batch * 20, 20), samples: [], reset: false });
    await page.waitForTimeout(500);
  }
  const spent = 1000 * (await scripted() - before);
  const times = Object.values(await drawings(page)).reduce((sum, count) => sum + count, 0);
  assert.ok(times >= 8, `${times} drawings`);
  assert.ok(spent / times < 15, `${(spent / times).toFixed(1)} ms of script for each of ${times} drawings`);
}));
