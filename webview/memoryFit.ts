/** Whether a run fits in memory: what makes it fit, a step that is measured, and a run that was held because it does not. */
import { formatBytes } from '../src/protocol/adapterMath';
import type { FittingChange } from '../src/protocol/fittingChanges';
import { formatReport } from '../src/protocol/panel';
import { h, setText, show } from './dom';
import { roughBytes } from './format';
import { drawn } from './icons';
import { button } from './ui';
import type { Host, Part, View } from './view';

const NO_CHANGE = 'No smaller batch or shorter text makes it fit: close other programs, or take a smaller model.';

/** One button for each change; made anew only where they are others. */
function changeButtons(host: Host, id: string): { element: HTMLElement; offer(changes: readonly FittingChange[]): void } {
  const element = h('div', { class: 'buttons', id });
  let shown = '';
  return {
    element,
    offer(changes) {
      const key = JSON.stringify(changes);
      show(element, changes.length > 0);
      if (key === shown) return;
      shown = key;
      element.replaceChildren(...changes.map(({ label, edits, total }) =>
        button({ label: `${label} (${roughBytes(total)})`, press: () => host.edit(edits) })));
    },
  };
}

/** In the box of costs: whether it fits, and the button that measures it. */
export function memoryFit(host: Host): Part {
  const text = h('p', { class: 'message', id: 'memory-fit', role: 'status' });
  const changes = changeButtons(host, 'memory-changes');
  const measure = button({ label: 'Measure memory', id: 'measure-memory', press: () => host.measure() });
  measure.title = 'Runs one step on the longest examples in an engine of its own, and keeps nothing of it';
  const cancel = button({ label: 'Cancel measuring', id: 'cancel-measure', press: () => host.cancelMeasure() });
  const element = h('div', { class: 'fit' }, text, changes.element, h('div', { class: 'buttons' }, measure, cancel));
  return {
    element,
    update({ cost, experiment, active }: View) {
      const { total, available, changes: offered } = cost!.memory;
      const { measuring, silent, held } = experiment!.memory;
      const short = available !== null && total > available && !active && !measuring;
      show(element, !!measuring || !active);
      setText(text, silent ? formatReport(silent) : measuring ? `Measuring${measuring === 'start' ? ' before the run' : ''}: one step with the longest examples…` : short && !held
        ? `Needs about ${formatBytes(total)}, and ${formatBytes(available)} are free. ${offered.length ? 'It fits with one of these:' : NO_CHANGE}` : '');
      text.classList.toggle('problem', short || silent !== null);
      show(text, text.textContent !== '');
      changes.offer(short && !held ? offered : []);
      show(measure, !measuring && !active);
      show(cancel, !!measuring);
      measure.disabled = !experiment!.trusted || experiment!.problems.length > 0;
    },
  };
}

/** At the top: a run that was not started, and why, with its ways out. */
export function heldRun(host: Host): Part {
  const cause = h('p', { class: 'cause' });
  const action = h('p', { class: 'do' });
  const changes = changeButtons(host, 'held-changes');
  const anyway = button({ label: 'Start anyway', id: 'start-anyway', appearance: 'secondary', press: () => host.startAnyway() });
  const element = h('div', { class: 'card notice warning', id: 'held', role: 'alert', 'data-code': 'memory.short' },
    h('div', { class: 'notice-title' }, drawn('warning'), h('h2', {}, 'Not started: it would not fit in memory')), cause, action, changes.element, h('div', { class: 'buttons' }, anyway));
  return {
    element,
    update({ experiment, cost, active }) {
      const held = active ? null : experiment?.memory.held ?? null;
      show(element, held !== null);
      if (!held) return;
      const offered = cost?.memory.changes ?? [];
      setText(cause, held.exceeded ? `One step was tried and ended before it took all of the ${formatBytes(held.available)} that were free.`
        : `It needs ${formatBytes(held.needed)}, measured in ${cost?.memory.record?.of === 'run' ? 'an earlier run' : 'one step with the longest examples'}; ${formatBytes(held.available)} were free.`);
      setText(action, offered.length ? 'It fits with one of these; then press Start again.' : NO_CHANGE);
      changes.offer(offered);
    },
  };
}
