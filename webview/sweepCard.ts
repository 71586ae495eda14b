/** A sweep: the members' loss curves over each other, and a table of them with the best first. */
import { keyOf } from './chartsPane';
import { h, setText, show } from './dom';
import { formatInteger } from '../src/protocol/adapterMath';
import { MOST_COMPARED } from '../src/protocol/comparison';
import { formatNumber } from './format';
import { ManyLines, stylesOf } from './manyLines';
import type { Part } from './view';
import type { SweepMember } from '../src/protocol/metrics';
import type { SweepView } from '../src/protocol/panel';

/** `r 4, learning_rate 0.0003` */
export const changesText = ({ changes }: SweepMember): string => Object.entries(changes).map(([key, value]) => `${key.split('.').pop()} ${value}`).join(', ');

/** Shown only for a sweep. */
export function sweepCard(): Part {
  const now = h('span', { class: 'now', id: 'now-sweep' });
  const plot = new ManyLines('Train loss of each member', now.id);
  const key = h('div', {});
  const body = h('tbody', {});
  const heads = ['Member', 'Status', 'Steps', 'Parameters', 'Train loss', 'Metric'].map(title => h('th', { scope: 'col' }, title));
  const element = h('section', { class: 'card chart sweep', id: 'sweep', hidden: true, 'aria-label': 'Sweep' }, h('div', { class: 'card-title' }, h('h2', {}, 'Sweep'), now), key, plot.element,
    h('div', { class: 'table', tabindex: 0, role: 'region', 'aria-label': 'Members of the sweep, the best first' }, h('table', {}, h('thead', {}, h('tr', {}, ...heads)), body)));
  let keyed = '';
  let shown: SweepView | null = null;
  return {
    element,
    update({ run: { sweep } }) {
      show(element, sweep !== null);
      if (sweep === shown || !sweep) return;
      shown = sweep;
      // Of more the best are drawn; each by its place in the sweep, so that its line keeps its look when the ranking changes.
      const lines = sweep.members.slice(0, MOST_COMPARED).sort((a, b) => a.name.localeCompare(b.name));
      const names = lines.map(({ name }) => name).join();
      const styles = stylesOf(lines.map(changesText));
      if (keyed !== names) key.replaceChildren(keyOf(styles));
      keyed = names;
      plot.draw(names, styles, { title: x => `Step ${formatInteger(Math.round(x))}`, xTick: x => formatInteger(Math.round(x)), xMin: 0 },
        lines.map(({ name }) => (sweep.curves[name] ?? []).map(([x, y]) => ({ x, y }))));
      setText(now, sweep.members[0]?.value == null ? '' : `best: ${changesText(sweep.members[0])}`);
      body.replaceChildren(...sweep.members.map(member => row(member, member.name === sweep.shown)));
    },
  };
}

function row(member: SweepMember, shown: boolean): HTMLElement {
  const { state, steps, trainable_parameters, train_loss, value } = member;
  const cells = [state, String(steps), formatInteger(trainable_parameters), train_loss === null ? '–' : formatNumber(train_loss), value === null ? '–' : formatNumber(value)];
  return h('tr', shown ? { 'aria-current': 'true' } : {}, h('td', { title: `${member.error ?? member.name}\n${steps} steps, ${formatInteger(trainable_parameters)} parameters` }, changesText(member)), ...cells.map(text => h('td', {}, text)));
}
