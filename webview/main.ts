/** The experiment panel: says `ready`, draws what the host answers, then follows its notifications. */
import type { ErrorReport } from '../src/protocol/engine';
import type { PanelAction, PanelNotifications, PanelRequests } from '../src/protocol/panel';
import { announcer } from './announcer';
import { chartsPane } from './chartsPane';
import { connect, type VsCodeApi } from './connection';
import { controls } from './controls';
import { h, onceAFrame, show } from './dom';
import { Edits } from './edits';
import { emptyState } from './emptyState';
import { header } from './header';
import { errors, reportCard, summaryCard } from './notices';
import { heldRun } from './memoryFit';
import { initialState, receive, receiveView } from './state';
import { telemetryStrip } from './telemetryStrip';
import { tryBox, type TryInput } from './tryBox';
import { viewOf, type Host, type Part } from './view';

/** What cards of errors offer begins nothing that they say would be over. */
const OF_A_CARD: readonly PanelAction[] = ['showLog', 'installRuntime'];

declare function acquireVsCodeApi(): VsCodeApi;

/** What a page leaves to the one that takes its place when the panel was hidden, or the window reloaded, which asks for the file. */
interface Kept { file?: string; input?: TryInput; open?: string[] }

const api = acquireVsCodeApi();
const left = api.getState() as Kept | undefined;
const connection = connect(api);
const root = document.getElementById('panel')!;
let state = initialState();
/** The Try box gets the focus as soon as it is shown. */
let focusAsked = false;

/** Something other than metrics has come since the last frame. */
let changed = true;
const drawSoon = onceAFrame(draw);
const render = (): void => {
  changed = true;
  drawSoon();
};
const edits = new Edits((experiment, changes) => connection.request('edit', { experiment, changes: [...changes] }).catch(report => {
  // The fields of the other experiment cannot tell.
  if (experiment !== state.experiment?.file) failed(report);
  throw report;
}), render);
/** The experiment that a click is for; another one may be shown by the time that its file is written. */
const shown = (): { experiment: string | null } => ({ experiment: state.experiment?.file ?? null });
const host: Host = {
  async act(action) {
    const params = { ...shown(), action };
    if (!OF_A_CARD.includes(action)) forget();
    if (action === 'start' || action === 'continueRun') return onceWritten('act', params);
    // A merge, too, reads the file.
    await edits.flush();
    await connection.request('act', params).catch(failed);
  },
  edit(changes) {
    edits.set(changes);
    render();
  },
  browse(path) {
    forget();
    void connection.request('browse', { ...shown(), path }).catch(failed);
  },
  measure: () => void onceWritten('measure', shown()),
  cancelMeasure: () => void connection.request('cancelMeasure', {}).catch(failed),
  startAnyway: () => void onceWritten('startAnyway', shown()),
  predict: request => connection.request('predict', request),
  write: request => connection.request('write', request),
  stopWriting: () => void connection.request('stopWriting', {}).catch(failed),
  open: (file, where) => void connection.request('open', { file, where }).catch(failed),
};

const empty = emptyState(host);
const trying = tryBox(host);
const failures = h('div', { class: 'notices', id: 'failures' });
/** The card there tells of this field. */
let heldBy: ErrorReport | undefined;
const head = header(host);
const top: Part[] = [head, errors(host), heldRun(host), summaryCard()];
const side = controls(host);
const strip = telemetryStrip();
const charts = chartsPane();
const live = announcer();
/** Charts first: a canvas has the page's styles computed, which are clean until texts are written. */
const parts: Part[] = [charts, ...top, strip, side, trying, live];
/** Those that show metrics: while a run goes on little else comes. */
const moving: Part[] = [charts, head, strip, live];
const main = h('div', { class: 'experiment' }, ...top.map(part => part.element), failures, strip.element,
  h('div', { class: 'columns' }, side.element, h('div', { class: 'results' }, charts.element, trying.element)));
root.append(empty, main, live.element);
show(empty, false);
show(main, false);

function draw(): void {
  if (!state.ready) return;
  const view = viewOf(state, edits);
  show(empty, !view.experiment);
  show(main, !!view.experiment);
  root.dataset.status = view.run.status;
  root.dataset.metrics = String(view.series.length);
  for (const part of changed ? parts : moving) part.update(view);
  if (heldBy && side.wrong()?.report.cause !== heldBy.cause) forget();
  changed = false;
  root.setAttribute('aria-busy', 'false');
  if (focusAsked && view.experiment) {
    focusAsked = false;
    trying.focus();
  }
}

/** Asks for what reads the file, which must have what the person has just set. A field whose text the file cannot have, or what could not be written, is told of instead. */
async function onceWritten<K extends keyof PanelRequests>(method: K, params: PanelRequests[K][0]): Promise<void> {
  forget();
  const wrong = side.wrong();
  if (wrong) {
    wrong.show();
    tell('Nothing was started: a field cannot be used as it is', wrong.report);
    heldBy = wrong.report;
    return;
  }
  if (await edits.flush()) return void await connection.request(method, params).catch(failed);
  const report = edits.takeFailure()!;
  tell('Nothing was started: a setting could not be saved', { ...report, action: `${report.action}; or start with the settings as they are shown` });
  render();
}

const failed = (report: ErrorReport): void => tell('That did not work', report);

function tell(title: string, report: ErrorReport): void {
  forget();
  failures.append(reportCard(title, report, host));
}

/** What was told is no longer so, or not what the person wants to know now. */
function forget(): void {
  failures.replaceChildren();
  heldBy = undefined;
}

function follow<K extends keyof PanelNotifications>(method: K): void {
  connection.on(method, params => {
    const file = state.experiment?.file;
    state = receive(state, method, params);
    if (method === 'experiment') took(file);
    if (method === 'focusTry') focusAsked = true;
    if (method === 'metrics') drawSoon();
    else render();
  });
}

/** With another file what was on its way to the first one is no longer shown. */
function took(before: string | undefined): void {
  const { experiment } = state;
  if (experiment?.file !== before) {
    forget();
    edits.follow(experiment?.file);
    keep();
  }
  // A field that holds a start is told of until it can be used.
  if (edits.settle(experiment?.values, experiment?.problems) && !heldBy) forget();
}

function keep(): void {
  const open = Array.from(root.querySelectorAll('details[open]'), ({ id }) => id);
  api.setState({ file: state.experiment?.file, input: trying.input(), open } satisfies Kept);
}

function restore({ input, open = [] }: Kept): void {
  if (input) trying.restore(input);
  root.querySelectorAll('details').forEach(details => { details.open = open.includes(details.id); });
}

async function start(): Promise<void> {
  (['experiment', 'run', 'metrics', 'focusTry'] as const).forEach(follow);
  connection.on('tried', tried => trying.show(tried));
  connection.on('saved', ({ checkpoint }) => live.say(`Checkpoint saved: ${checkpoint}`));
  connection.listen();
  try {
    const view = await connection.request('ready', {});
    state = receiveView(state, view);
    if (left && left.file === state.experiment?.file) restore(left);
    took(undefined);
    if (view.tried) trying.show(view.tried);
    render();
    for (const event of ['input', 'change', 'toggle']) root.addEventListener(event, keep, { capture: event === 'toggle' });
    // Where another tab hides the panel the page is gone before its last messages are heard. Pointer or keys are on their way to the tab sooner.
    document.documentElement.addEventListener('mouseleave', () => void edits.flush());
    window.addEventListener('keydown', event => void ((event.ctrlKey || event.metaKey || event.altKey) && edits.flush()));
  } catch (error) {
    root.append(reportCard('The panel could not be filled', error as ErrorReport, host));
    root.setAttribute('aria-busy', 'false');
  }
}

void start();
