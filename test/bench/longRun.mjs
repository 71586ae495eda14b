/** The panel alone in a browser, with a run that has gone on for long and goes on at 100 steps a second. */
import { setTimeout as sleep } from 'node:timers/promises';
import { launchBrowser } from '../../src/tools/browser.mjs';
import { openPanel, servePreview } from '../webview/support/preview.mjs';
import { tracePanel } from './pageTrace.mjs';

/** What the panel takes of its page's main thread after so many steps, traced for some seconds: `tracePanel`'s answer. */
export async function aLongRun(steps, seconds) {
  const [browser, preview] = [await launchBrowser(), await servePreview()];
  try {
    const { page } = await openPanel(browser, preview.address, { state: 'running', width: 1000, height: 1200 });
    await page.evaluate(train, steps);
    await sleep(3000);
    return await tracePanel(browser, page, seconds);
  } finally {
    await browser.close();
    await preview.stop();
  }
}

/** In the page, in the host's stead: the steps so far, then 100 and a sample each second, as the host sends them. */
function train(before) {
  const { view } = window.mock;
  let step = 0;
  const next = () => {
    step += 1;
    const noise = Math.random();
    return { step, epoch: step / 188, loss: 0.1 + 0.6 * Math.exp(-step / 400) + 0.2 * noise, grad_norm: 1 + noise, learning_rate: 1e-3 * (1 - step / 94_000), tokens: 500 * step, tokens_per_second: 45_000 + 4000 * noise, time: step / 100 };
  };
  const sample = () => ({ time: step / 100, memory_bytes: 4e8 + 1e7 * Math.random(), peak_memory_bytes: 5e8, machine_memory_bytes: 16e9, cpu_cores: 1.6 + 0.3 * Math.random(), cores: 2 });
  const send = (method, params) => window.postMessage({ jsonrpc: '2.0', method, params }, '*');
  const metrics = (count, samples, reset) => send('metrics', { records: Array.from({ length: count }, next), samples, reset });
  send('run', { run: { ...view.run, status: 'running', started: { ...view.run.started, total_steps: 94_000, num_train_epochs: 500 } } });
  metrics(before, Array.from({ length: 120 }, sample), true);
  setInterval(() => metrics(100, [sample()], false), 1000);
}
