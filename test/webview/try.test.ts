/** Trying texts in the panel: what is shown of base and adapter. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tried, VIEWS } from './support/fixtures';
import { asked, eventually, inPanel, notify, text } from './support/panelPage';

test('Try shows base and adapter side by side', () => inPanel({ state: 'finished' }, async page => {
  assert.equal(await page.locator('#try vscode-progress-ring').isVisible(), false, 'nothing goes on');
  assert.ok((await text(page, '#summary')).includes('trainable params: 16,642 || all params: 1,000,450 || trainable%: 1.6635'));
  await page.fill('#try-text', 'A fine film.\n\nNot for me.');
  await page.press('#try-text', 'Control+Enter');
  await page.waitForSelector('.tried');
  assert.deepEqual((await asked(page, 'predict')).map(({ texts }) => texts), [['A fine film.', 'Not for me.']]);
  assert.deepEqual(await page.locator('.tried .side').evaluateAll(sides => sides.map(side => (side as HTMLElement).dataset.label)), ['positive', 'positive', 'positive', 'negative']);
}));

test('Try names the adapter that was chosen in the Runs tree, has it in the place of the run\'s own, and drops what another has answered', () => inPanel({ state: 'finished' }, async page => {
  const show = (folder: string | null) => notify(page, 'run', { run: { ...VIEWS.finished.run, chosen: folder === null ? null : { folder, task: null } } });
  const adapter = page.locator('#try-adapter');
  assert.equal(await adapter.isVisible(), false, 'the run that is shown is the one that is tried');
  await show('/home/ada/runs/earlier/adapter');
  await eventually(page, '#try-adapter', 'With /home/ada/runs/earlier/adapter, not with the adapter of the run that is shown.');
  await page.fill('#try-text', 'A fine film.');
  await page.press('#try-text', 'Control+Enter');
  await page.waitForSelector('.tried');
  await show(null);
  await page.waitForSelector('.tried', { state: 'detached' });
  assert.equal(await adapter.isVisible(), false);
}));

test('pairs of texts are tried as pairs, the texts of each line together', () => inPanel({ state: 'pairs' }, async page => {
  const disabled = () => page.locator('#try-button').evaluate((button: HTMLButtonElement) => button.disabled);
  assert.deepEqual(await page.locator('.try-texts .label').allInnerTexts(), ['sentence1', 'sentence2']);
  await page.fill('#try-text', 'He left.\nIt rained.');
  assert.ok(await disabled(), 'one text of a pair is nothing to classify');
  assert.equal(await page.locator('#try-problem').isVisible(), false);
  await page.fill('#try-pair', 'He went away.');
  assert.equal(await text(page, '#try-problem'), 'Line 2 has no sentence2.');
  assert.ok(await disabled());
  await page.fill('#try-pair', 'He went away.\nThe sun shone.');
  await page.press('#try-pair', 'Control+Enter');
  await page.waitForSelector('.tried');
  assert.deepEqual((await asked(page, 'predict')).map(({ texts, pairs }) => ({ texts, pairs })), [{ texts: ['He left.', 'It rained.'], pairs: ['He went away.', 'The sun shone.'] }]);
  assert.deepEqual(await page.locator('.tried-text .quoted').allInnerTexts(), ['He left.', 'He went away.', 'It rained.', 'The sun shone.']);
  await notify(page, 'run', { run: { ...VIEWS.pairs.run, chosen: { folder: '/tmp/adapter', task: 'SEQ_CLS', pair: null } } });
  await page.waitForSelector('#try-pair', { state: 'hidden' });
}));

test('what a text gave goes when another experiment or run is shown, and an answer that comes late is not shown under it', () => inPanel({ state: 'finished' }, async page => {
  const other = { ...VIEWS.finished.experiment, file: '/home/ada/experiments/reviews/other.lora.json', name: 'other' };
  const tryText = async (): Promise<Record<string, unknown>> => {
    await page.fill('#try-text', 'A fine film.');
    await page.press('#try-text', 'Control+Enter');
    await page.waitForSelector('.tried');
    return (await asked(page, 'predict')).at(-1)!;
  };
  const { of } = await tryText();
  await notify(page, 'experiment', { experiment: other });
  await page.waitForSelector('.tried', { state: 'detached' });
  await notify(page, 'tried', { of, texts: ['A fine film.'], classes: tried(['A fine film.']), written: null, error: null, busy: false });
  await page.waitForTimeout(50);
  assert.equal(await page.locator('.tried').count(), 0, 'an answer of the other experiment');
  for (const run of [{ ...VIEWS.finished.run, attempt: 1 }, { ...VIEWS.finished.run, folder: '/home/ada/experiments/reviews/runs/earlier' }]) {
    await tryText();
    await notify(page, 'run', { run });
    await page.waitForSelector('.tried', { state: 'detached' });
  }
}));

test('a text that is written for what is no longer shown is stopped', () => inPanel({ state: 'language' }, async page => {
  await page.fill('#try-text', 'Once');
  await page.press('#try-text', 'Control+Enter');
  await page.waitForSelector('#try-stop:not([hidden])');
  await notify(page, 'experiment', { experiment: { ...VIEWS.language.experiment, file: '/home/ada/experiments/reviews/other.lora.json' } });
  await page.waitForSelector('#try-stop', { state: 'hidden' });
  assert.equal((await asked(page, 'stopWriting')).length, 1);
  assert.equal(await text(page, '#try-results'), '');
}));

test('a panel that was hidden has what was typed, opened and written when it is back, and goes on with what is still written', () => inPanel({ state: 'language' }, async page => {
  await page.locator('[data-key="write.mode"]').click();
  await page.locator('[data-key="write.mode"] vscode-option', { hasText: 'Sampled' }).click();
  await page.locator('[data-key="write.top_k"] input').fill('7');
  await page.click('#more-settings summary');
  await page.fill('#try-text', 'Once upon\na time');
  await page.press('#try-text', 'Control+Enter');
  await page.waitForFunction(() => (document.querySelector('.side.adapter .written')?.textContent?.length ?? 0) > 3);
  await page.reload();
  await page.waitForSelector('.side.adapter .written');
  assert.ok((await text(page, '.side.adapter .written')).length > 3);
  assert.equal(await page.inputValue('#try-text'), 'Once upon\na time');
  assert.equal(await page.locator('[data-key="write.mode"]').evaluate((list: HTMLSelectElement) => list.value), 'Sampled');
  assert.equal(await page.locator('[data-key="write.top_k"] input').inputValue(), '7');
  assert.ok(await page.isVisible('#more-settings .rows'));
  assert.ok(await page.isVisible('#try-stop'), 'it can be stopped');
  const { of, texts } = await page.evaluate(() => JSON.parse(sessionStorage.getItem('tried')!) as Record<string, unknown>);
  await notify(page, 'tried', { of, texts, classes: null, error: null, busy: false, written: { adapter: { text: 'there was', stopped: 'end' }, base: { text: 'the', stopped: 'end' } } });
  await eventually(page, '.side.adapter .written', 'there was');
  assert.ok(!await page.isVisible('#try-stop'));
}));

test('what was typed for one experiment is not put into the box of another', () => inPanel({ state: 'finished' }, async page => {
  await page.fill('#try-text', 'A fine film.');
  await page.evaluate(() => sessionStorage.setItem('state', sessionStorage.getItem('state')!.replace('sentiment.lora.json', 'other.lora.json')));
  await page.reload();
  await page.waitForSelector('#panel[aria-busy="false"]');
  assert.equal(await page.inputValue('#try-text'), '');
}));

test('an adapter that was chosen in the Runs tree can be tried where no run has written one', () => inPanel({ state: 'ready' }, async page => {
  const disabled = () => page.locator('#try-button').evaluate((button: HTMLButtonElement) => button.disabled);
  await page.fill('#try-text', 'A fine film.');
  assert.equal(await disabled(), true);
  await notify(page, 'run', { run: { ...VIEWS.ready.run, chosen: { folder: '/tmp/adapter', task: 'CAUSAL_LM' } } });
  await page.waitForSelector('[data-key="write.mode"]');
  assert.equal(await disabled(), false, 'its own task counts');
}));

test('Try of token classification shows every word, and the tag of those that have one', () => inPanel({ state: 'finished' }, async page => {
  await page.evaluate(() => { (window as unknown as { mock: { view: { experiment: { values: { task: string } } } } }).mock.view.experiment.values.task = 'TOKEN_CLS'; });
  await page.fill('#try-text', 'Ada met Charles');
  await page.press('#try-text', 'Control+Enter');
  await page.waitForSelector('.tagged-words');
  assert.deepEqual(await page.locator('.side.adapter .tagged').allTextContents(), ['AdaB-PER', 'CharlesB-PER']);
  assert.equal(await page.locator('.side.base .tagged').count(), 0);
  assert.equal(await page.locator('.side.base .word').count(), 3);
  assert.equal(await page.locator('.side.adapter .tagged').first().getAttribute('title'), 'B-PER 75.0 %');
}));

test('Try writes with a language model: greedy or sampled, live, side by side', () => inPanel({ state: 'language' }, async page => {
  assert.match(await text(page, '#try-hint'), /continue the prompt/);
  await page.fill('#try-text', 'Line one.\nLine two.');
  assert.ok(!await page.isVisible('[data-key="write.temperature"]'));
  await page.press('#try-text', 'Control+Enter');
  await page.waitForFunction(() => (document.querySelector('.side.adapter .written')?.textContent?.length ?? 0) > 10);
  assert.equal(await page.getAttribute('.side.base', 'data-stopped'), '');
  assert.ok(await page.isVisible('#try-stop'));
  await page.waitForSelector('.side.base[data-stopped="length"]');
  assert.deepEqual(await page.locator('.side .written-state').allInnerTexts(), ['token limit reached', 'ended']);
  assert.match(await text(page, '#try-status'), /^With adapter: ended\. Base: token limit reached\.$/);
  assert.ok(!await page.isVisible('#try-stop'));
  await page.locator('[data-key="write.mode"]').click();
  await page.locator('[data-key="write.mode"] vscode-option', { hasText: 'Sampled' }).click();
  const field = (key: string) => page.locator(`[data-key="write.${key}"] input`);
  await field('top_p').fill('1.5');
  assert.equal(await text(page, '#write-problem'), 'Top p: give a number above 0 and at most 1');
  assert.ok(await page.locator('#try-button').evaluate((button: HTMLButtonElement) => button.disabled));
  await field('top_p').fill('0.9');
  await field('temperature').fill('1,000');
  assert.equal(await text(page, '#write-problem'), 'Temperature: give 1000 or 1.000, without a comma');
  await field('temperature').fill('1');
  await field('top_k').fill('1,000');
  await field('max_new_tokens').fill('12');
  await page.locator('#try-button').click();
  await page.waitForFunction(() => (window as unknown as { mock: { asked: { method: string }[] } }).mock.asked.filter(entry => entry.method === 'write').length === 2);
  assert.deepEqual((await asked(page, 'write')).map(({ texts, settings }) => ({ texts, settings })), [
    { texts: ['Line one.\nLine two.'], settings: { max_new_tokens: 64 } },
    { texts: ['Line one.\nLine two.'], settings: { max_new_tokens: 12, temperature: 1, top_p: 0.9, top_k: 1000, seed: 42 } },
  ]);
}));

test('Escape in the box stops what is written', () => inPanel({ state: 'language' }, async page => {
  await page.fill('#try-text', 'Once');
  await page.press('#try-text', 'Control+Enter');
  await page.waitForFunction(() => (document.querySelector('.side.adapter .written')?.textContent?.length ?? 0) > 3);
  await page.press('#try-text', 'Escape');
  await page.waitForSelector('.side.base[data-stopped="stopped"]');
  assert.deepEqual(await page.locator('.side .written-state').allInnerTexts(), ['not written', 'stopped']);
  assert.equal((await asked(page, 'stopWriting')).length, 1);
  await page.press('#try-text', 'Control+Enter');
  await page.waitForFunction(() => (document.querySelector('.side.adapter .written')?.textContent?.length ?? 0) > 3);
  await page.press('#try-stop', 'Enter');
  await page.waitForSelector('.side.base[data-stopped="stopped"]');
  await page.waitForFunction(() => document.activeElement?.id === 'try-button');
}));
