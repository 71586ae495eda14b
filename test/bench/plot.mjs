/** Draws what `bench --scaling` measured: node test/bench/plot.mjs DATA.json PICTURE.png */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { launchBrowser } from '../../src/tools/browser.mjs';
import { root } from '../../src/tools/paths.mjs';

const [data, picture] = process.argv.slice(2);
const series = JSON.parse(readFileSync(data, 'utf8'));
const line = (label, values, color, dash = []) => ({ label, data: values, borderColor: color, backgroundColor: color, borderDash: dash, borderWidth: 2, pointRadius: 3, tension: 0 });
const charts = series.map(({ title, axis, labels, measured, predicted }) => ({
  type: 'line',
  data: { labels, datasets: [line('measured', measured, '#0b62c4'), line('by the count of operations', predicted, '#767676', [5, 4])] },
  options: {
    animation: false, responsive: false,
    scales: { x: { title: { display: true, text: axis } }, y: { type: 'logarithmic', title: { display: true, text: 'tokens/s, logarithmic' }, ticks: { maxTicksLimit: 8 } } },
    plugins: { title: { display: true, text: title, font: { size: 15 } }, legend: { position: 'bottom', labels: { boxWidth: 24, boxHeight: 0 } } },
  },
}));
const browser = await launchBrowser();
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 330 }, deviceScaleFactor: 2 });
  await page.setContent(`<body style="margin:0;background:#fff;display:flex">${charts.map(() => '<canvas width="400" height="330"></canvas>').join('')}</body>`);
  await page.addScriptTag({ path: join(root, 'node_modules/chart.js/dist/chart.umd.min.js') });
  await page.evaluate((configs) => configs.forEach((config, i) => new window.Chart(document.querySelectorAll('canvas')[i], config)), charts);
  await page.screenshot({ path: picture });
} finally {
  await browser.close();
}
