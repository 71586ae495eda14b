/** The charts of a run, each with its latest value as text, and the trainable ratio by rank. */
import { formatInteger } from '../src/protocol/adapterMath';
import { capitalName, shownMetrics } from '../src/protocol/metrics';
import { axisEnd } from './axis';
import { LineChart, NOTHING_LOGGED, type ChartTexts, type LineStyle } from './charts';
import { ratioByRank } from './cost';
import { atMost, h, setText, show } from './dom';
import { formatDuration, formatNumber, formatPercent } from './format';
import { rankStops } from './ranges';
import type { MetricSeries } from './series';
import { sweepCard } from './sweepCard';
import type { ThinnedLine } from './thinnedLine';
import type { Part, View } from './view';

const TRAIN: LineStyle = { label: 'Train loss, smoothed', colour: 'blue', width: 2 };
const RAW: LineStyle = { label: 'Train loss', colour: 'blue', width: 1, faint: true };
const EVAL: LineStyle = { label: 'Eval loss', colour: 'yellow', width: 1.5, dash: [5, 4], mark: 3 };
const whole = (y: number): string => formatInteger(Math.round(y));
const byStep = (fromZero: boolean, value?: (y: number) => string): ChartTexts => ({ title: x => `Step ${whole(x)}`, value, xTick: whole, yTick: value, fromZero, xMin: 0 });

/**
 * While a run goes on charts are drawn at most at this pace, all that are in sight in one frame, and with them the texts: a frame costs as much as what
 * is drawn in it. Metrics come once a second, twice while a run is young; the rest of it is for those that come late, so that they are drawn in the frame that brings them.
 */
const DRAW_MS = 400;
/**
 * What changes slowly is drawn with every other of these messages, or when none has come for so long; but where the x axes get another end, which is
 * seldom, all charts in one frame, also those out of sight, so that a person never sees two ranges beside each other.
 */
const SLOW_MS = 1600;
/** A chart that is this far out of sight is drawn when it comes near. */
const NEAR = '200px';

interface Kind { id: string; title: string; styles: LineStyle[]; texts: ChartTexts; fast?: boolean; lines(series: MetricSeries): ThinnedLine[]; now(series: MetricSeries): string }

const KINDS: Kind[] = [
  {
    id: 'loss', title: 'Loss', styles: [RAW, TRAIN, EVAL], texts: { ...byStep(false), zeroIfNear: true }, fast: true, lines: series => [series.loss, series.smoothed, series.evalLoss],
    now: ({ lastTrain, lastEval }) => [lastTrain && `train ${formatNumber(lastTrain.loss)}`, lastEval && `eval ${formatNumber(lastEval.eval_loss)}`].filter(Boolean).join(' · '),
  },
  {
    id: 'learning-rate', title: 'Learning rate', styles: [{ label: 'Learning rate', colour: 'green', width: 1.5 }], texts: byStep(true),
    lines: series => [series.learningRate], now: ({ lastTrain }) => (lastTrain ? formatNumber(lastTrain.learning_rate) : ''),
  },
  {
    id: 'grad-norm', title: 'Gradient norm', styles: [{ label: 'Gradient norm', colour: 'purple', width: 1.5 }], texts: byStep(true),
    lines: series => [series.gradientNorm], now: ({ lastTrain }) => (lastTrain ? formatNumber(lastTrain.grad_norm) : ''),
  },
  {
    id: 'speed', title: 'Speed', styles: [{ label: 'Tokens per second', colour: 'yellow', width: 1.5 }], texts: byStep(true, whole),
    lines: series => [series.speed], now: ({ lastTrain }) => (lastTrain ? `${whole(lastTrain.tokens_per_second)} tokens/s` : ''),
  },
];

/** All charts. */
export function chartsPane(): Part {
  let view: View | undefined;
  const late = (): MetricCard[] => (view ? cards.filter(card => card.late(view!) || card.short(view!)) : []);
  const drawSoon = (): void => { if (late().length) tick(); };
  let [slowDrawn, rest] = [-Infinity, 0];
  const cards = KINDS.map(kind => metricCard(kind, drawSoon));
  const ratio = ratioCard();
  const evaluations = evaluationTable();
  const sweep = sweepCard();
  const tick = atMost(DRAW_MS, () => {
    clearTimeout(rest);
    const all = !view!.training || performance.now() >= slowDrawn + SLOW_MS;
    if (all) slowDrawn = performance.now();
    draw(late().filter(card => all || card.fast || card.blank(view!) || card.short(view!)), view!);
    if (!all && late().length) rest = window.setTimeout(drawSoon, SLOW_MS);
  });
  return {
    element: h('section', { class: 'charts', id: 'charts', 'aria-label': 'Charts' }, sweep.element, cards[0].element, ratio.element, ...cards.slice(1).map(card => card.element), evaluations.element),
    update(now) {
      view = now;
      for (const card of cards) card.empty(now.series.length === 0);
      if (now.training && now.series.length > 0) drawSoon();
      else draw(cards, now);
      for (const card of [sweep, ratio, evaluations]) card.update(now);
    },
  };
}

/** Canvases first: each text that changes would have the styles looked at again for the next canvas. */
function draw(cards: readonly MetricCard[], view: View): void {
  for (const write of cards.map(card => card.draw(view))) write();
}

/** Title, latest value and canvas of a chart. Canvases say nothing to screen readers: the value and a description do. */
function frame(id: string, title: string): { element: HTMLElement; canvas: HTMLCanvasElement; now: HTMLElement; empty: HTMLElement } {
  const now = h('span', { class: 'now', id: `now-${id}` });
  const canvas = h('canvas', { role: 'img', 'aria-label': title, 'aria-describedby': now.id });
  const empty = h('p', { class: 'chart-empty' });
  const element = h('div', { class: `card chart chart-${id}`, id: `chart-${id}` }, h('div', { class: 'card-title' }, h('h2', {}, title), now), h('div', { class: 'plot' }, canvas, empty));
  return { element, canvas, now, empty };
}

/** Where the x axes of all charts of a run end: beyond its last step while it grows. */
const endOf = ({ series, run, training }: View): number | undefined => (training ? axisEnd(series.lastStep, run.started?.total_steps) : series.lastStep || undefined);

interface MetricCard {
  element: HTMLElement;
  fast: boolean;
  /** Whether it shows nothing, or another run. */
  blank(view: View): boolean;
  /** Whether its x axis does not end where that of the others is to end. */
  short(view: View): boolean;
  empty(empty: boolean): void;
  /** Whether there is something to draw that a person could see. */
  late(view: View): boolean;
  /** Draws the lines; what it returns writes the latest value beside the title. */
  draw(view: View): () => void;
}

/** `shown` is called when the chart has come into sight. */
function metricCard({ id, title, styles, texts, fast = false, lines, now: latest }: Kind, shown: () => void): MetricCard {
  const { element, canvas, now, empty } = frame(id, title);
  if (styles.length > 1) element.querySelector('.card-title')!.after(keyOf(styles));
  setText(empty, NOTHING_LOGGED);
  let chart: LineChart | undefined;
  let drawn: { version: number; history: number; end: number | undefined; growing: boolean; nothing: boolean } | undefined;
  let near = true;
  new IntersectionObserver(entries => {
    near = entries.at(-1)!.isIntersecting;
    if (near) shown();
    // Margins around the window do not count in a page within a page.
  }, { root: document, rootMargin: NEAR }).observe(element);
  const blank = ({ series }: View): boolean => drawn === undefined || drawn.nothing || drawn.history !== series.history;
  const short = (view: View): boolean => drawn !== undefined && drawn.end !== endOf(view);
  const isDrawn = (view: View): boolean => drawn?.version === view.series.version && drawn.growing === view.training && !short(view);
  return {
    element, fast, blank, short,
    empty(nothing) {
      show(empty, nothing);
      canvas.classList.toggle('blank', nothing);
    },
    late: view => (near || blank(view)) && !isDrawn(view),
    draw(view) {
      if (isDrawn(view)) return () => {};
      const { series, training } = view;
      const end = endOf(view);
      chart ??= new LineChart(canvas, styles, texts);
      const other = drawn?.history !== series.history;
      drawn = { version: series.version, history: series.history, end, growing: training, nothing: series.length === 0 };
      chart.draw(lines(series).map(line => line.points), { growing: training, other, end });
      return () => setText(now, latest(series));
    },
  };
}

/** Which line is which, drawn as the lines are: by width, dash and mark, not by colour alone. */
export const keyOf = (styles: readonly LineStyle[]): HTMLElement => h('ul', { class: 'line-key', 'aria-hidden': 'true' }, ...styles.map(style => h('li', {}, lineOf(style), style.label)));

/** A piece of a line. */
export const lineOf = (style: LineStyle): HTMLElement => h('span', { class: `line ${style.colour}${style.faint ? ' faint' : ''}${style.dash ? (style.dash[0] > 2 ? ' dashed' : ' dotted') : ''}` });

/** Trainable share over rank, with the present rank marked: what the slider would give at each position. */
function ratioCard(): Part {
  const { element, canvas, now, empty } = frame('trainable-ratio', 'Trainable ratio');
  let chart: LineChart | undefined;
  let drawn: View['cost'];
  let marked: number | undefined;
  setText(empty, 'Known when the base model has been read');
  const rankOf = (x: number): number => Math.round(2 ** x);
  const update = ({ cost, experiment, values }: View): void => {
    // Without an adapter there is no rank to choose.
    show(element, !values?.lora.full);
    show(empty, !cost);
    canvas.classList.toggle('blank', !cost);
    if (values?.lora.full || !cost || !experiment?.model || !values) return;
    if (cost === drawn) return;
    drawn = cost;
    const { r } = values.lora;
    const stops = rankStops(Math.max(cost.count.rank_limit, 1));
    const ranks = [...new Set([...stops, r])].sort((a, b) => a - b);
    const curve = ratioByRank(experiment.model, values, ranks);
    marked = Math.log2(r);
    chart ??= new LineChart(canvas, [
      { label: 'Trainable', colour: 'blue', width: 1.5 },
      { label: 'This experiment', colour: 'yellow', width: 0, mark: 5 },
    ], {
      xTick: x => `r ${rankOf(x)}`, xTicks: rankTicks, yTick: y => formatPercent(y).replace(/\.?0+ %/, ' %'), title: x => `Rank ${rankOf(x)}`, value: formatPercent, fromZero: true,
    }, () => marked);
    chart.draw([curve.map(({ rank, percent }) => ({ x: Math.log2(rank), y: percent })), [{ x: marked, y: cost.percent }]]);
    setText(now, `${formatPercent(cost.percent)} at rank ${r}`);
  };
  return { element, update };
}

/** Ranks 1, 4, 16 … as logarithms; every power of two where there are few. */
function rankTicks(low: number, high: number): number[] {
  const step = high - low > 4 ? 2 : 1;
  return Array.from({ length: Math.floor((high - low) / step + 1e-9) + 1 }, (_, i) => low + i * step);
}

/** Evaluations as a table: few, and each worth reading, with a column for every metric. */
function evaluationTable(): Part {
  const head = h('tr', {});
  const body = h('tbody', {});
  const element = h('div', { class: 'card', id: 'evaluations', hidden: true }, h('h2', {}, 'Evaluations'),
    h('div', { class: 'table', tabindex: 0, role: 'region', 'aria-label': 'Evaluations' }, h('table', {}, h('thead', {}, head), body)));
  let drawn = { version: -1, history: -1 };
  return {
    element,
    update({ series }) {
      show(element, series.evaluations.length > 0);
      if (drawn.version === series.version) return;
      const other = drawn.history !== series.history;
      drawn = { version: series.version, history: series.history };
      // Newest first, and no more than a person reads.
      const records = series.evaluations.slice(-50).reverse();
      if (!other && body.childElementCount === records.length && body.firstElementChild?.firstElementChild?.textContent === String(records[0]?.step)) return;
      const rows = records.map(record => ({ ...record, metrics: new Map(shownMetrics(record).map(({ name, text }) => [name, text])) }));
      const names = [...new Set(rows.flatMap(({ metrics }) => [...metrics.keys()]))];
      head.replaceChildren(...['Step', 'Epoch', 'Loss', ...names.map(capitalName), 'Time'].map(title => h('th', { scope: 'col' }, title)));
      body.replaceChildren(...rows.map(({ step, epoch, eval_loss, metrics, eval_runtime }) =>
        h('tr', {}, ...[String(step), formatNumber(Number(epoch.toFixed(2))), formatNumber(eval_loss), ...names.map(name => metrics.get(name) ?? '–'), formatDuration(eval_runtime)].map(text => h('td', {}, text)))));
    },
  };
}
