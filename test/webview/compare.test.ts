/** The page that compares runs, as a person sees it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
import { MOST_COMPARED } from '../../src/protocol/comparison';
import { stylesOf } from '../../webview/manyLines';
import { COMPARISONS } from './support/fixtures';
import { askedTimes, eventually, inPanel, notify, text } from './support/panelPage';
import { THEMES } from './support/themes';

const rows = (page: Page): Promise<string[][]> => page.locator('#runs tbody tr').evaluateAll(found => found.map(row => Array.from(row.children, cell => cell.textContent!)));
const heads = (page: Page): Promise<string[]> => page.locator('#runs thead th').allTextContents();

test('as many runs as may be compared have lines that differ in colour or dash', () => {
  const drawn = stylesOf(Array.from({ length: MOST_COMPARED }, (_, i) => `run ${i}`)).map(({ colour, dash }) => JSON.stringify([colour, dash]));
  assert.equal(new Set(drawn).size, MOST_COMPARED);
});

test('runs stand beside each other with what differs, and the best of them is marked', () => inPanel({ state: 'compare' }, async page => {
  assert.equal(await text(page, 'h1'), '4 runs compared');
  assert.equal(await text(page, '.about'), 'Their settings differ in r, target_modules and learning_rate. What is still trained is followed: wide.');
  assert.deepEqual(await heads(page), ['Run', 'Experiment', 'State', 'Steps', 'r', 'target_modules', 'learning_rate', 'Parameters', 'Train loss', 'Accuracy ↑', 'Best ↑', 'Time', 'Peak memory']);
  const [first, , third, fourth] = await rows(page);
  assert.deepEqual(first.slice(0, 8), ['sentiment', 'sentiment', 'finished', '564', '8', 'query, value', '0.003', '16,642']);
  assert.deepEqual(first.slice(-2), ['46 s', '412 MB']);
  assert.deepEqual([third[2], third[3], third[12]], ['running', '1,400', '–']);
  assert.deepEqual(fourth, ['broken', 'broken', 'failed', '40', '–', '–', '–', '–', 'NaN', '–', '–', '3.2 s', '–']);
  assert.deepEqual(await page.locator('#runs td.best').allTextContents(), ['93.6 % (the best)', '93.6 % at 564 (the best)']);
  assert.equal(await text(page, '#now-evaluated'), 'best: 93.6 %, sentiment');
  assert.equal(await text(page, '#evaluated h2'), 'Accuracy');
  assert.deepEqual(await page.locator('.line-key li').allTextContents(), ['sentiment', 'sentiment.1', 'wide', 'broken']);
  assert.equal(await page.locator('.line-key').count(), 1, 'one legend for both charts');
}));

test('a click on a row, or the Enter key on its name, shows that run', () => inPanel({ state: 'compare' }, async page => {
  await page.click('#runs tbody tr:nth-child(2) td:nth-child(4)');
  await page.focus('#runs tbody tr:nth-child(3) button');
  await page.keyboard.press('Enter');
  assert.deepEqual((await askedTimes(page, 'openRun', 2)).map(({ folder }) => folder), [1, 2].map(i => COMPARISONS.compare.runs[i].folder));
}));

test('a run that is trained is followed, and the keyboard stays at its row', () => inPanel({ state: 'compare' }, async page => {
  await page.focus('#runs tbody tr:nth-child(3) button');
  const [first, second, third, ...others] = COMPARISONS.compare.runs;
  await notify(page, 'comparison', { ...COMPARISONS.compare, runs: [first, { ...second, state: 'deleted' }, { ...third, state: 'finished', steps: 1500 }, ...others] });
  await eventually(page, '.about', 'Their settings differ in r, target_modules and learning_rate. No longer there, and shown as last seen: sentiment.1.');
  assert.deepEqual((await rows(page))[2].slice(2, 4), ['finished', '1,500']);
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'wide');
}));

test('curves are drawn over steps, epochs or time, and a page that was hidden still knows', () => inPanel({ state: 'compare' }, async page => {
  const drawn = (): Promise<string> => page.locator('#losses canvas').evaluate(canvas => (canvas as HTMLCanvasElement).toDataURL());
  const steps = await drawn();
  await page.locator('vscode-dropdown').evaluate(list => Object.assign(list, { value: 'Time' }).dispatchEvent(new Event('change')));
  const time = await drawn();
  assert.notEqual(time, steps);
  await page.reload();
  await page.waitForSelector('#panel[aria-busy="false"]');
  assert.equal(await page.locator('vscode-dropdown').evaluate(list => (list as HTMLInputElement).value), 'Time');
  assert.equal(await drawn(), time);
}));

test('runs without evaluations have the training loss alone, and one that has logged nothing is named', () => inPanel({ state: 'compareLoss' }, async page => {
  assert.equal(await text(page, '.about'), 'Their settings are the same. None of them was evaluated. No step was logged by empty.');
  assert.equal(await page.isVisible('#evaluated'), false);
  assert.deepEqual(await heads(page), ['Run', 'Experiment', 'State', 'Steps', 'Parameters', 'Train loss', 'Time', 'Peak memory']);
}));

test('a comparison fits a narrow and a wide editor in every theme, the names of the runs always in sight', async () => {
  for (const state of Object.keys(COMPARISONS)) {
    await inPanel({ state }, async page => {
      for (const theme of Object.keys(THEMES)) {
        await page.evaluate(name => (window as unknown as { mock: { useTheme(name: string): void } }).mock.useTheme(name), theme);
        for (const width of [1400, 760, 420]) {
          await page.setViewportSize({ width, height: 900 });
          assert.ok(await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth) <= 0, `${state} at ${width}`);
        }
      }
      await page.locator('#runs .table').evaluate(table => { table.scrollLeft = table.scrollWidth; });
      const [name, table] = await Promise.all(['#runs tbody th', '#runs .table'].map(at => page.locator(at).first().boundingBox()));
      assert.ok(Math.abs(name!.x - table!.x) < 1);
    });
  }
});
