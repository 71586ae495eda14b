/** What the axes of the charts say, read from what the built panel draws in a browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TrainRecord } from '../../src/protocol/metrics';
import { metrics, run } from './support/fixtures';
import { inPanel, notify } from './support/panelPage';

test('the charts of another run get axes of their own, though its points would fit into those of the run before', () => inPanel({ state: 'ready' }, async page => {
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
  /** The number at the right end of each chart: the last step that its x axis has. */
  const ends = (): Promise<number[]> => page.evaluate(() => ['chart-loss', 'chart-learning-rate', 'chart-grad-norm', 'chart-speed'].map(id =>
    Number((window as unknown as { texts: Record<string, { text: string; x: number }[]> }).texts[id].filter(({ text }) => /\d/.test(text)).reduce((right, one) => (one.x > right.x ? one : right)).text.replace(/,/g, ''))));
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
