/** A sweep: the members' loss curves over each other, and a table of them with the best first. */
import { LineChart, type LineStyle } from './charts';
import { keyOf } from './chartsPane';
import { h, setText, show } from './dom';
import { formatInteger } from '../src/protocol/adapterMath';
import { formatNumber } from './format';
import type { Part } from './view';
import type { SweepMember } from '../src/protocol/metrics';
import type { SweepView } from '../src/protocol/panel';

/** More lines than these cannot be told apart; the best are drawn. */
const COLOURS = ['blue', 'green', 'yellow', 'purple'] as const;
const DASHES = [undefined, [5, 4], [2, 3]];
const MOST_LINES = COLOURS.length * DASHES.length;

/** `r 4, learning_rate 0.0003` */
export const changesText = ({ changes }: SweepMember): string => Object.entries(changes).map(([key, value]) => `${key.split('.').pop()} ${value}`).join(', ');

/** One style for each member, by its place in the sweep, so that a line keeps its look when the ranking changes. */
export function stylesOf(members: readonly SweepMember[]): LineStyle[] {
  return [...members].sort((a, b) => a.name.localeCompare(b.name)).map((member, i) => ({
    label: changesText(member), colour: COLOURS[i % COLOURS.length], width: 1.5, dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length],
  }));
}

/** Shown only for a sweep. */
export function sweepCard(): Part {
  const now = h('span', { class: 'now', id: 'now-sweep' });
  const plot = h('div', { class: 'plot' });
  const key = h('div', {});
  const body = h('tbody', {});
  const heads = ['Member', 'Status', 'Steps', 'Parameters', 'Train loss', 'Metric'].map(title => h('th', { scope: 'col' }, title));
  const element = h('section', { class: 'card chart sweep', id: 'sweep', hidden: true, 'aria-label': 'Sweep' }, h('div', { class: 'card-title' }, h('h2', {}, 'Sweep'), now), key, plot,
    h('div', { class: 'table', tabindex: 0, role: 'region', 'aria-label': 'Members of the sweep, the best first' }, h('table', {}, h('thead', {}, h('tr', {}, ...heads)), body)));
  let chart: { drawn: LineChart; names: string } | undefined;
  let shown: SweepView | null = null;
  return {
    element,
    update({ run: { sweep } }) {
      show(element, sweep !== null);
      if (sweep === shown || !sweep) return;
      shown = sweep;
      const best = sweep.members.slice(0, MOST_LINES);
      const lines = [...best].sort((a, b) => a.name.localeCompare(b.name));
      const names = lines.map(({ name }) => name).join();
      if (chart?.names !== names) {
        const canvas = h('canvas', { role: 'img', 'aria-label': 'Train loss of each member', 'aria-describedby': now.id });
        chart?.drawn.destroy();
        plot.replaceChildren(canvas);
        const styles = stylesOf(lines);
        key.replaceChildren(keyOf(styles));
        chart = { names, drawn: new LineChart(canvas, styles, { title: x => `Step ${formatInteger(Math.round(x))}`, xTick: x => formatInteger(Math.round(x)), xMin: 0 }) };
      }
      chart.drawn.draw(lines.map(({ name }) => (sweep.curves[name] ?? []).map(([x, y]) => ({ x, y }))));
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
