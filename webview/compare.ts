/** The page that shows several runs beside each other: says `ready`, draws what the host answers, then follows it. */
import { formatInteger } from '../src/protocol/adapterMath';
import { COMPARED_OVER, type ComparedMetric, type ComparedOver, type ComparedPoint, type ComparedRun, type Comparison, type ComparisonNotifications, type ComparisonRequests, type KeptComparison } from '../src/protocol/comparison';
import { capitalName } from '../src/protocol/metrics';
import type { ChartTexts, LineStyle } from './charts';
import { keyOf, lineOf } from './chartsPane';
import { connect, type VsCodeApi } from './connection';
import { h, setText, show } from './dom';
import { formatDuration, formatNumber, formatShare, roughBytes } from './format';
import { ManyLines, stylesOf } from './manyLines';
import { smoothing } from './series';
import { dropdown, setChoice } from './ui';

declare function acquireVsCodeApi(): VsCodeApi;

const api = acquireVsCodeApi();
const connection = connect<ComparisonRequests, ComparisonNotifications>(api);
const root = document.getElementById('panel')!;

const OVER: Record<ComparedOver, { choice: string; title: (x: number) => string; tick: (x: number) => string }> = {
  step: { choice: 'Steps', title: x => `Step ${formatInteger(Math.round(x))}`, tick: x => formatInteger(Math.round(x)) },
  epoch: { choice: 'Epochs', title: x => `Epoch ${formatNumber(x)}`, tick: formatNumber },
  time: { choice: 'Time', title: formatDuration, tick: formatDuration },
};
/** Radius of the mark on each evaluation: of one alone there is no line. */
const MARK = 2.5;

let comparison: Comparison | undefined;
let over = (api.getState() as KeptComparison | undefined)?.over ?? 'step';
let drawn: { comparison: Comparison; over: ComparedOver } | undefined;

const title = h('h1', {});
const about = h('p', { class: 'about', role: 'status' });
const axis = dropdown('Horizontal axis', 'over', COMPARED_OVER.map(key => OVER[key].choice), choice => {
  over = COMPARED_OVER.find(key => OVER[key].choice === choice)!;
  keep();
  draw();
});
setChoice(axis, OVER[over].choice);
const key = h('div', {});
const losses = card('losses', 'Train loss, smoothed');
const evaluations = card('evaluated', 'Evaluations');
const head = h('tr', {});
const body = h('tbody', {});
root.append(h('div', { class: 'experiment compare' },
  h('header', { class: 'title' }, h('div', { class: 'names' }, title, about), h('div', { class: 'over' }, h('span', { 'aria-hidden': 'true' }, 'Over'), axis)),
  key,
  h('section', { class: 'charts', 'aria-label': 'Charts' }, losses.element, evaluations.element),
  h('section', { class: 'card', id: 'runs' }, h('h2', {}, 'Runs'), h('div', { class: 'table', tabindex: 0, role: 'region', 'aria-label': 'Runs' }, h('table', {}, h('thead', {}, head), body)))));

/** A chart with its title and, beside it, the best of what it shows. */
function card(id: string, name: string): { element: HTMLElement; title: HTMLElement; now: HTMLElement; plot: ManyLines } {
  const now = h('span', { class: 'now', id: `now-${id}` });
  const heading = h('h2', {}, name);
  const plot = new ManyLines(name, now.id);
  return { element: h('div', { class: 'card chart', id }, h('div', { class: 'card-title' }, heading, now), plot.element), title: heading, now, plot };
}

function draw(): void {
  if (!comparison || drawn?.comparison === comparison && drawn.over === over) return;
  const other = drawn?.comparison !== comparison;
  drawn = { comparison, over };
  const { runs, metric } = comparison;
  const styles = stylesOf(runs.map(({ name }) => name));
  drawLines(losses.plot, styles, runs.map(run => smoothed(run.losses)), { zeroIfNear: true });
  show(evaluations.element, metric !== null);
  losses.element.classList.toggle('alone', metric === null);
  if (metric) drawLines(evaluations.plot, stylesOf(runs.map(({ name }) => name), MARK), runs.map(run => run.evaluations), { value: valueText(metric), yTick: metric.share ? y => `${formatNumber(100 * y)} %` : formatNumber });
  if (!other) return;
  setText(title, `${runs.length} runs compared`);
  setText(about, describe(comparison));
  key.replaceChildren(keyOf(styles));
  if (metric) {
    setText(evaluations.title, capitalName(metric.name));
    const best = bestOf(runs.map(run => run.best?.value ?? NaN), metric.greater_is_better);
    setText(evaluations.now, best < 0 ? '' : `best: ${valueText(metric)(runs[best].best!.value)}, ${runs[best].name}`);
  }
  drawTable(comparison, styles);
}

function drawLines(plot: ManyLines, styles: readonly LineStyle[], lines: readonly ComparedPoint[][], texts: Partial<ChartTexts>): void {
  const { title, tick } = OVER[over];
  // Both charts end where the longest run does.
  const end = Math.max(...comparison!.runs.flatMap(run => [run.losses.at(-1)?.[over] ?? 0, run.evaluations.at(-1)?.[over] ?? 0])) || undefined;
  plot.draw([over, comparison?.metric?.name, ...styles.map(({ label }) => label)].join('\n'), styles, { title, xTick: tick, xMin: 0, ...texts }, lines.map(points => points.map(point => ({ x: point[over], y: point.value }))), end);
}

/** Of the steps of several runs over each other nothing could be seen. */
function smoothed(points: readonly ComparedPoint[]): ComparedPoint[] {
  const average = smoothing();
  return points.map(point => ({ ...point, value: average.next(point.value) }));
}

const valueText = (metric: ComparedMetric) => (metric.share ? formatShare : formatNumber);

/** The place of the best value that is a number, -1 without one. */
function bestOf(values: readonly number[], greater: boolean): number {
  return values.reduce((best, value, i) => (Number.isFinite(value) && (best < 0 || (greater ? value > values[best] : value < values[best])) ? i : best), -1);
}

const keyName = (path: string): string => path.split('.').pop()!;
const listed = (names: readonly string[]): string => (names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names.join());

/** What the runs differ in, which of them have logged nothing, and which are followed. */
function describe({ runs, settings, metric }: Comparison): string {
  const named = (which: (run: ComparedRun) => boolean): string => listed(runs.filter(which).map(({ name }) => name));
  const [silent, growing, gone] = [named(run => run.losses.length === 0), named(({ state }) => state === 'running' || state === 'waiting'), named(({ state }) => state === 'deleted')];
  return [
    settings.length ? `Their settings differ in ${listed(settings.map(keyName))}.` : 'Their settings are the same.',
    metric ? '' : 'None of them was evaluated.',
    silent && `No step was logged by ${silent}.`, growing && `What is still trained is followed: ${growing}.`, gone && `No longer there, and shown as last seen: ${gone}.`,
  ].filter(Boolean).join(' ');
}

interface Column { head: string; title?: string; text(run: ComparedRun): string; hover?(run: ComparedRun): string; best?: number; kind?: 'text' | 'setting' | 'text of-experiment' }

function drawTable({ runs, settings, metric }: Comparison, styles: readonly LineStyle[]): void {
  const best = metric && bestOf(runs.map(run => run.best?.value ?? NaN), metric.greater_is_better);
  const last = metric && bestOf(runs.map(run => run.last?.value ?? NaN), metric.greater_is_better);
  const arrow = metric?.greater_is_better ? '↑' : '↓';
  const better = `${metric?.greater_is_better ? 'Higher' : 'Lower'} is better`;
  const columns: Column[] = [
    { head: 'Experiment', text: run => run.experiment ?? '–', kind: 'text of-experiment' },
    { head: 'State', text: run => run.state, kind: 'text' },
    { head: 'Steps', text: run => formatInteger(run.steps) },
    ...settings.map((path, i): Column => ({ head: keyName(path), title: path, text: run => run.settings[i] ?? '–', hover: run => run.settings[i] ?? 'not known', kind: runs.every(run => Number.isFinite(Number(run.settings[i]))) ? undefined : 'setting' })),
    { head: 'Parameters', title: 'Trainable parameters', text: ({ trainable_parameters: count }) => (count === null ? '–' : formatInteger(count)) },
    { head: 'Train loss', title: 'The last one that was logged', text: run => formatNumber(run.train_loss) },
    ...(metric ? [
      { head: `${capitalName(metric.name)} ${arrow}`, title: `Of the last evaluation. ${better}`, text: (run: ComparedRun) => (run.last ? valueText(metric)(run.last.value) : '–'), best: last! },
      { head: `Best ${arrow}`, title: `The best ${metric.name}, and the step of its evaluation. ${better}`, text: (run: ComparedRun) => (run.best ? `${valueText(metric)(run.best.value)} at ${formatInteger(run.best.step)}` : '–'), best: best! },
    ] : []),
    { head: 'Time', text: ({ seconds }) => (seconds === null ? '–' : formatDuration(seconds)) },
    { head: 'Peak memory', text: ({ peak_memory_bytes: bytes }) => (bytes === null ? '–' : roughBytes(bytes)) },
  ];
  head.replaceChildren(h('th', { scope: 'col' }, 'Run'), ...columns.map(column => h('th', { scope: 'col', title: column.title, class: column.kind }, column.head)));
  body.replaceChildren(...runs.map((run, i) => {
    const open = h('button', { type: 'button', class: 'link', title: `${run.folder}\nShow in the experiment panel` }, run.name);
    const row = h('tr', { 'data-folder': run.folder }, h('th', { scope: 'row' }, lineOf(styles[i]), open), ...columns.map(column =>
      h('td', { title: column.hover?.(run), class: column.best === i ? 'best' : column.kind }, column.text(run), column.best === i ? h('span', { class: 'visually-hidden' }, ' (the best)') : null)));
    row.addEventListener('click', () => void connection.request('openRun', { folder: run.folder }).catch(() => { /* The host has shown why. */ }));
    return row;
  }));
}

const keep = (): void => api.setState({ over, runs: comparison?.runs.map(({ folder, experiment }) => ({ folder, experiment })) ?? [] } satisfies KeptComparison);

function take(now: Comparison): void {
  comparison = now;
  keep();
  // A button that has the keyboard's place is made anew with its row.
  const held = (document.activeElement?.closest('tr') as HTMLElement | null)?.dataset.folder;
  draw();
  if (held) Array.from(body.rows).find(row => row.dataset.folder === held)?.querySelector('button')?.focus();
  root.setAttribute('aria-busy', 'false');
}

connection.on('comparison', take);
connection.listen();
void connection.request('ready', {}).then(take);
