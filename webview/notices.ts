/** What a person must be told about a run or the base model: an error with its way out, or how it ended. */
import { formatCount } from '../src/protocol/adapterMath';
import type { ErrorReport } from '../src/protocol/engine';
import { capitalName, shownMetrics, type Summary } from '../src/protocol/metrics';
import type { RunView } from '../src/protocol/panel';
import { startBlocked } from './actions';
import { definitions, h, keepFocus, show } from './dom';
import { counted, formatDuration, formatNumber, roughBytes, shortPath } from './format';
import { drawn } from './icons';
import { button, setDisabled } from './ui';
import type { Host, Part } from './view';

/** Metrics in the card of a run; the table of evaluations has them all. */
const MOST_METRICS = 3;

/** An error as a card: cause first, then what to do, then where. */
export function reportCard(title: string, report: ErrorReport, host: Host, kind: 'error' | 'warning' = 'error'): HTMLElement {
  const rows: [string, string][] = [];
  if (report.file) rows.push(['File', report.file]);
  if (report.where) rows.push(['Place', report.where]);
  if (report.lastGoodCheckpoint) rows.push(['Last good checkpoint', report.lastGoodCheckpoint]);
  const card = h('div', { class: `card notice ${kind}`, role: 'alert', 'data-code': report.code },
    h('div', { class: 'notice-title' }, drawn(kind), h('h2', {}, title)),
    h('p', { class: 'cause' }, sentence(report.cause)), h('p', { class: 'do' }, sentence(report.action)));
  if (rows.length) card.append(definitions(rows, { class: 'places' }));
  const links = h('div', { class: 'notice-actions' });
  if (report.file) {
    const link = h('button', { type: 'button', class: 'link', 'data-open': report.file }, 'Open file');
    link.addEventListener('click', () => host.open(report.file!, report.where));
    links.append(link);
  }
  if (report.code === 'device.missing') {
    const install = h('button', { type: 'button', class: 'link', 'data-action': 'installRuntime' }, 'Install GPU runtime…');
    install.addEventListener('click', () => host.act('installRuntime'));
    links.append(install);
  }
  const log = h('button', { type: 'button', class: 'link' }, 'Show log');
  log.addEventListener('click', () => host.act('showLog'));
  links.append(log);
  card.append(links);
  return card;
}

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? '' : '.'}`;

/** The error of the run, with a button to go on from its last checkpoint, and that of the base model. */
export function errors(host: Host): Part {
  const element = h('div', { class: 'notices', id: 'errors' });
  const go = button({ label: 'Continue from checkpoint', appearance: 'primary', action: 'continueRun', press: () => host.act('continueRun') });
  const retry = button({ label: 'Retry', appearance: 'primary', action: 'resume', press: () => host.act('resume') });
  const end = button({ label: 'Stop', appearance: 'primary', action: 'stop', press: () => host.act('stop') });
  const giveUp = button({ label: 'Stop', appearance: 'secondary', action: 'stop', press: () => host.act('stop') });
  const again = h('button', { type: 'button', class: 'link', 'data-action': 'refreshModel' }, 'Read again');
  again.addEventListener('click', () => host.act('refreshModel'));
  const places = { trust: place(element), model: place(element), blocked: place(element), silent: place(element), failed: place(element) };
  let newest = 0;
  return {
    element,
    update({ experiment, run }) {
      newest = Math.max(newest, run.attempt);
      setDisabled(go, startBlocked(experiment) !== undefined);
      places.trust(experiment !== null && !experiment.trusted, untrusted);
      keepFocus(element, () => [again], () => places.model(experiment?.model_error ?? null, error => {
        const card = reportCard('The base model could not be read', error, host);
        card.querySelector('.notice-actions')!.prepend(again);
        return card;
      }), element.parentElement!);
      places.blocked(run.blocked, error => {
        const card = reportCard('Paused until there is room', error, host, 'warning');
        card.querySelector('.notice-actions')!.prepend(retry, giveUp);
        return card;
      });
      places.silent(run.silent, error => {
        const card = reportCard('The GPU does not answer', error, host, 'warning');
        card.querySelector('.notice-actions')!.prepend(end);
        return card;
      });
      places.failed(run.status === 'failed' && run.error ? { error: run.error, attempt: run.attempt } : null, ({ error }) => {
        const card = reportCard(error.code === 'run.no-summary' ? 'The run ended without a summary' : hasTrained(run) ? 'Training failed' : 'The run did not start', error, host);
        card.querySelector('.notice-actions')!.prepend(go);
        // An earlier failure is shown again after a start that was held, or with another experiment: it has been heard.
        if (run.attempt < newest) card.removeAttribute('role');
        return card;
      });
      show(go, run.resumable);
    },
  };
}

/** Whether a run that failed had begun. One that had not leaves what was shown before it, as a run that has ended. */
const hasTrained = ({ started, sweep, summary }: RunView): boolean => (started !== null || sweep !== null) && summary === null;

/** A place in `parent` for one card, which is drawn anew only if it says something else: screen readers read it whenever it is drawn. */
function place(parent: HTMLElement): <T>(said: T, draw: (said: NonNullable<T>) => HTMLElement) => void {
  const end = document.createComment('');
  parent.append(end);
  let card: HTMLElement | undefined;
  let drawnFor: string | undefined;
  return (said, draw) => {
    const key = said ? JSON.stringify(said) : undefined;
    if (key === drawnFor) return;
    drawnFor = key;
    card?.remove();
    card = said ? draw(said) : undefined;
    if (card) end.before(card);
  };
}

function untrusted(): HTMLElement {
  return h('div', { class: 'card notice warning', id: 'untrusted' },
    h('div', { class: 'notice-title' }, drawn('lock'), h('h2', {}, 'Restricted Mode')),
    h('p', {}, 'LoRA Lab reads no checkpoint and trains nothing in a workspace that is not trusted. Settings can be edited.'),
    h('p', {}, 'Run the command “Workspaces: Manage Workspace Trust” to trust it.'));
}

/** How the run ended. */
export function summaryCard(): Part {
  const element = h('div', { class: 'notices', id: 'summary' });
  let drawnFor: Summary | null = null;
  return {
    element,
    update({ run, training }) {
      const summary = training ? null : run.summary;
      show(element, summary !== null);
      if (summary === drawnFor) return;
      drawnFor = summary;
      element.replaceChildren(...summary ? [card(summary)] : []);
    },
  };
}

function card(summary: Summary): HTMLElement {
  const { eval_before: before, eval: after } = summary;
  const figures: [string, string, string][] = [];
  const earlier = new Map(before ? shownMetrics(before).map(({ name, text }) => [name, text]) : []);
  for (const { name, text } of after ? shownMetrics(after).slice(0, MOST_METRICS) : []) figures.push([capitalName(name), text, earlier.has(name) ? `${earlier.get(name)} before training` : 'on the evaluation set']);
  if (after) figures.push(['Eval loss', formatNumber(after.loss), before ? `${formatNumber(before.loss)} before training` : '']);
  figures.push(['Train loss', formatNumber(summary.train_loss), 'mean over all steps']);
  figures.push(['Time', formatDuration(summary.seconds), `${counted(summary.steps, 'step')}, ${counted(formatNumber(summary.epochs), 'epoch')}`]);
  figures.push(['Peak memory', roughBytes(summary.peak_memory_bytes), `${summary.device.split('; auto: ')[0]}${summary.peak_with_fp32 ? ', with the first step in fp32' : ''}`]);
  if (summary.peak_gpu_memory_bytes !== undefined) figures.push(['Peak GPU memory', roughBytes(summary.peak_gpu_memory_bytes), summary.gpu_memory_of === 'process' ? 'of this run' : 'of the whole card']);
  const title = summary.state === 'finished' ? 'Run finished' : 'Run stopped';
  return h('div', { class: 'card notice done', 'data-state': summary.state },
    h('div', { class: 'notice-title' }, drawn(summary.state === 'finished' ? 'done' : 'stop'), h('h2', {}, title)),
    h('dl', { class: 'figures' }, ...figures.map(([term, value, note]) =>
      h('div', { class: 'figure' }, h('dt', {}, term), h('dd', { class: 'value' }, value), h('dd', { class: 'detail' }, note)))),
    h('p', { class: 'peft' }, formatCount(summary)),
    h('p', { class: 'detail path', title: summary.adapter }, `${summary.full_finetuning ? 'Model' : 'Adapter'}: ${shortPath(summary.adapter, 80)}`));
}
