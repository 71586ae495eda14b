/** What the axes of the charts say, read from what the built panel draws in a browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
import type { TrainRecord } from '../../src/protocol/metrics';
import { metrics, run } from './support/fixtures';
import { inPanel, notify } from './support/panelPage';

/** Keeps what each chart says, and answers the number at the right end of each: the last step that its x axis has. */
async function axisEnds(page: Page): Promise<() => Promise<number[]>> {
  await page.evaluate(() => {
    const texts: Record<string, { text: string; x: number }[]> = {};
    const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
    const card = (context: CanvasRenderingContext2D): string => context.canvas.closest('.chart')!.id;
    CanvasRenderingContext2D.prototype.clearRect = function (...box) { texts[card(this)] = []; clearRect.apply(this, box); };
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...most) {
      texts[card(this)]?.push({ text, x: this.getTransform().transformPoint({ x, y }).x });
      fillText.call(this, text, x, y, ...most);
    };
    Object.assign(window, { texts });
  });
  return () => page.evaluate(() => ['chart-loss', 'chart-learning-rate', 'chart-grad-norm', 'chart-speed'].map(id =>
    Number((window as unknown as { texts: Record<string, { text: string; x: number }[]> }).texts[id].filter(({ text }) => /\d/.test(text)).reduce((right, one) => (one.x > right.x ? one : right)).text.replace(/,/g, ''))));
}

test('the charts of another run get axes of their own, though its points would fit into those of the run before', () => inPanel({ state: 'ready' }, async page => {
  const ends = await axisEnds(page);
  const show = async (steps: number): Promise<void> => {
    const records = metrics(steps);
    await notify(page, 'metrics', { records, samples: [], reset: true });
    await page.waitForSelector(`#panel[data-metrics="${records.length}"]`);
    await page.waitForFunction(text => document.getElementById('now-speed')!.textContent === text, `${Math.round((records.filter(record => 'loss' in record).at(-1) as TrainRecord).tokens_per_second).toLocaleString('en-US')} tokens/s`);
  };
  await notify(page, 'run', { run: run() });
  await show(400);
  const long = await ends();
  await show(40);
  const short = await ends();
  assert.ok(long.every(end => end >= 400 && end <= 440) && short.every(end => end >= 30 && end <= 45), JSON.stringify([long, short]));
}));

test('while a run is young, and when it ends, the x axes of all charts have the same end in every frame', () => inPanel({ state: 'ready', width: 420 }, async page => {
  // All charts below each other, as wide as each other, and in sight.
  await page.setViewportSize({ width: 420, height: 4000 });
  const ends = await axisEnds(page);
  await notify(page, 'run', { run: run() });
  await notify(page, 'metrics', { records: metrics(2), samples: [], reset: true });
  await page.waitForSelector('#panel[data-metrics="2"]');
  await page.waitForFunction(() => document.getElementById('now-speed')!.textContent !== '');
  const seen: number[][] = [];
  const look = async (): Promise<void> => { seen.push(await ends()); };
  // As the host sends them: some steps at a time, two messages a second. An evaluation comes at a step that is not logged.
  const records = metrics(64);
  for (let step = 3; step <= 64; step += 7) {
    await notify(page, 'metrics', { records: records.slice(step - 1, step + 6), samples: [], reset: false });
    for (let i = 0; i < 10; i++) {
      await look();
      await page.waitForTimeout(50);
    }
  }
  await notify(page, 'metrics', { records: [{ step: 97, epoch: 0.5, eval_loss: 0.4, eval_runtime: 1, time: 9 }], samples: [], reset: false });
  for (let i = 0; i < 10; i++) await page.waitForTimeout(50).then(look);
  await notify(page, 'run', { run: run({ status: 'stopped' }) });
  for (let i = 0; i < 4; i++) await page.waitForTimeout(50).then(look);
  const differ = seen.filter(each => new Set(each).size > 1);
  assert.deepEqual(differ, [], `of ${seen.length} looks`);
  assert.ok(new Set(seen.map(([end]) => end)).size >= 5, `the axes grow: ${[...new Set(seen.map(([end]) => end))].join()}`);
}));
