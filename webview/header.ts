/** The top of the panel: what is trained, how it stands, the buttons, and how far it is. */
import { formatCompact, formatInteger } from '../src/protocol/adapterMath';
import type { TASKS } from '../src/protocol/experiment';
import type { PanelAction, RunStatus, SweepView } from '../src/protocol/panel';
import { memberNumber } from '../src/protocol/sweep';
import { buttonStates, progressOf, STATUS_TEXT, trainedElsewhere } from './actions';
import { h, keepFocus, setAttributes, setText, show } from './dom';
import { formatDuration, formatNumber, shortPath } from './format';
import { drawn, type IconName } from './icons';
import { button, progressRing, setBusy, setDisabled, type Button } from './ui';
import type { Host, Part, View } from './view';

const STATUS_ICON: Partial<Record<RunStatus, IconName>> = { none: 'ring', paused: 'pause', finished: 'done', stopped: 'stop', failed: 'error' };

/** Title, buttons and progress. */
export function header(host: Host): Part {
  const name = h('h1', { id: 'experiment-name' });
  const about = h('p', { class: 'about', id: 'about' });
  const statusText = h('span', {});
  const statusIcon = h('span', { class: 'status-icon' });
  const status = h('span', { class: 'status', id: 'status' }, statusIcon, statusText);
  const openFile = h('button', { type: 'button', class: 'link', 'data-action': 'openFile' }, 'Open file');
  openFile.addEventListener('click', () => host.act('openFile'));
  const bar = toolbar(host);
  const progress = progressLine();
  let drawnStatus: RunStatus | undefined;

  return {
    element: h('header', { class: 'header' },
      h('div', { class: 'title' }, h('div', { class: 'names' }, name, about), h('div', { class: 'title-side' }, status, openFile)),
      bar.element, progress.element),
    update(view) {
      const { experiment, run } = view;
      if (!experiment) return;
      setText(name, experiment.name);
      setText(about, aboutText(view));
      about.title = experiment.model?.folder ?? '';
      setText(statusText, STATUS_TEXT[run.status]);
      if (drawnStatus !== run.status) {
        drawnStatus = run.status;
        status.dataset.status = run.status;
        statusIcon.replaceChildren(drawn(STATUS_ICON[run.status] ?? 'dot'));
      }
      bar.update(view);
      progress.update(view);
    },
  };
}

const TASK_NAMES: Record<(typeof TASKS)[number], string> = { SEQ_CLS: 'Sequence classification', TOKEN_CLS: 'Token classification', CAUSAL_LM: 'Language model', SEQ_2_SEQ_LM: 'Encoder-decoder' };

function aboutText({ experiment, values }: View): string {
  const model = experiment?.model;
  const parts = [values && TASK_NAMES[values.task], model && `${model.model_type}, ${formatCompact(model.base_parameters)} parameters`, values?.base_model && shortPath(values.base_model, 32)];
  return parts.filter(Boolean).join(' · ');
}

interface Entry { action: PanelAction; label: string; icon?: IconName; primary?: boolean }

const MAIN: Entry[] = [
  { action: 'start', label: 'Start', icon: 'start', primary: true },
  { action: 'pause', label: 'Pause', icon: 'pause' },
  { action: 'resume', label: 'Resume', icon: 'start', primary: true },
  { action: 'stop', label: 'Stop', icon: 'stop' },
  { action: 'continueRun', label: 'Continue from checkpoint', primary: true },
  { action: 'saveCheckpoint', label: 'Save checkpoint' },
];
const AFTER: Entry[] = [
  { action: 'saveAdapter', label: 'Save adapter', icon: 'save' },
  { action: 'mergeAdapter', label: 'Merge adapter', icon: 'merge' },
];
const LINKS: Entry[] = [
  { action: 'copyMetrics', label: 'Copy metrics as CSV' },
  { action: 'openRunFolder', label: 'Open run folder' },
  { action: 'showLog', label: 'Show log' },
];

function toolbar(host: Host): Part {
  const make = ({ action, label, icon, primary }: Entry): Button =>
    button({ label, action, appearance: primary ? 'primary' : 'secondary', icon: icon && drawn(icon), press: () => host.act(action) });
  const buttons = new Map([...MAIN, ...AFTER].map(entry => [entry.action, make(entry)]));
  const links = new Map(LINKS.map(({ action, label }) => {
    const link = h('button', { type: 'button', class: 'link', 'data-action': action }, label);
    link.addEventListener('click', () => host.act(action));
    return [action, link] as const;
  }));
  const reason = h('p', { class: 'reason', id: 'start-reason', hidden: true });
  const pick = (entries: Entry[]): HTMLElement[] => entries.map(({ action }) => buttons.get(action)!);
  const element = h('div', { class: 'toolbar', role: 'group', 'aria-label': 'Run' },
    h('div', { class: 'buttons' }, ...pick(MAIN)), h('div', { class: 'buttons' }, ...pick(AFTER)), h('div', { class: 'links' }, ...links.values()), reason);
  // Never Stop: a key that is pressed twice must not end what it began.
  const next = (): Button[] => (['pause', 'resume', 'start', 'continueRun'] as const).map(action => buttons.get(action)!);
  return {
    element,
    update({ experiment, run, series, active }) {
      const states = buttonStates(experiment, run, series.length);
      keepFocus(element, next, () => draw(states, run, active));
      setText(reason, run.elsewhere ? trainedElsewhere(run.elsewhere.pid) : active ? '' : states.start?.reason ?? '');
      show(reason, reason.textContent !== '');
    },
  };

  function draw(states: ReturnType<typeof buttonStates>, run: View['run'], active: boolean): void {
    for (const [action, element] of [...buttons, ...links]) {
      const state = states[action]!;
      show(element, state.visible);
      const disabled = !state.enabled && !state.busy;
      if (element instanceof HTMLButtonElement) element.disabled = disabled;
      else {
        setDisabled(element, disabled);
        setBusy(element, state.busy === true);
      }
      if (action === 'start') setAttributes(element, { appearance: run.resumable && !active ? 'secondary' : 'primary' });
      setAttributes(element, { title: state.enabled ? undefined : state.reason });
    }
  }
}

/** `Member 3 of 6`: whose steps are counted. */
const memberText = (sweep: SweepView | null): string | null => sweep && sweep.shown && `Member ${memberNumber(sweep.shown)} of ${sweep.members.length}`;

function progressLine(): Part {
  const bar = h('span', { class: 'fill' });
  const track = h('div', { class: 'track', id: 'progress', role: 'progressbar', 'aria-label': 'Training', 'aria-valuemin': 0, 'aria-valuemax': 100 }, bar);
  const ring = progressRing('Working');
  const text = h('span', { id: 'progress-text' });
  const element = h('div', { class: 'progress', hidden: true }, track, h('p', {}, ring, text));
  return {
    element,
    update({ run, series, training }) {
      const goes = run.status === 'running' || run.status === 'elsewhere';
      const waiting = !goes && run.status !== 'paused';
      show(element, training);
      if (!training) return;
      const last = series.lastTrain;
      const at = progressOf(run, last?.step ?? 0, last?.time ?? 0);
      const fraction = waiting && run.progress?.fraction !== undefined ? run.progress?.fraction ?? at?.fraction ?? null : at?.fraction ?? null;
      // A bar that moves says that something is done; what turns has the whole window composed again and again.
      show(ring, run.saving || (waiting && fraction === null));
      track.classList.toggle('unknown', fraction === null);
      bar.style.transform = `scaleX(${fraction ?? 1})`;
      setAttributes(track, { 'aria-valuenow': fraction === null ? undefined : Math.round(100 * fraction) });
      const member = memberText(run.sweep);
      const doing = waiting ? run.progress?.message || STATUS_TEXT[run.status] : '';
      const parts = [
        // The host's message names it where it begins.
        at && member && !doing.startsWith(member) && member,
        doing,
        run.status === 'paused' && 'Paused',
        run.status === 'elsewhere' && !last && 'No step logged yet',
        run.saving && 'Writing a checkpoint',
        at && last && `Step ${formatInteger(last.step)} of ${formatInteger(at.total)}`,
        at && last && `epoch ${formatNumber(Number(last.epoch.toFixed(2)))} of ${formatNumber(run.started!.num_train_epochs)}`,
        last && goes && `${formatInteger(Math.round(last.tokens_per_second))} tokens/s`,
        at && at.left !== null && goes && `${formatDuration(at.left)} left`,
        run.started?.device,
      ];
      setText(text, parts.filter(Boolean).join(' · '));
    },
  };
}
