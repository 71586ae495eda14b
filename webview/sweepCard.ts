/** A sweep: the members' loss curves over each other, and a table of them with the best first. */
import { keyOf } from './chartsPane';
import { atMost, h, setAttributes, setText, show } from './dom';
import { formatInteger } from '../src/protocol/adapterMath';
import { MOST_COMPARED } from '../src/protocol/comparison';
import { counted, formatNumber } from './format';
import { ManyLines, stylesOf } from './manyLines';
import type { MetricSeries } from './series';
import type { Part, View } from './view';
import type { SweepMember } from '../src/protocol/metrics';
import type { SweepView } from '../src/protocol/panel';

/** The host tells how members stand when one takes its turn. What the one that trains has logged since is drawn at this pace. */
const DRAW_MS = 1600;

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
  let drawn: { sweep: SweepView; version: number } | undefined;
  let view: View | undefined;
  const drawSoon = atMost(DRAW_MS, () => draw(view!));

  function draw({ run: { sweep }, series, training }: View): void {
    if (!sweep) return;
    const other = sweep !== drawn?.sweep;
    drawn = { sweep, version: series.version };
    const live = training ? sweep.members.find(member => member.name === sweep.shown && isOpen(member)) : undefined;
    // Of more the best are drawn; each by its place in the sweep, so that its line keeps its look when the ranking changes.
    const lines = sweep.members.slice(0, MOST_COMPARED).sort((a, b) => a.name.localeCompare(b.name));
    const names = lines.map(({ name }) => name).join();
    const styles = stylesOf(lines.map(changesText));
    if (keyed !== names) key.replaceChildren(keyOf(styles));
    keyed = names;
    plot.draw(names, styles, { title: x => `Step ${formatInteger(Math.round(x))}`, xTick: x => formatInteger(Math.round(x)), xMin: 0, zeroIfNear: true },
      lines.map(({ name }) => (name === live?.name ? series.loss.points : (sweep.curves[name] ?? []).map(([x, y]) => ({ x, y })))));
    if (other) {
      setText(now, sweep.members[0]?.value == null ? '' : `best: ${changesText(sweep.members[0])}`);
      body.replaceChildren(...sweep.members.map(member => row(member, member.name === sweep.shown)));
    }
    if (live) fill(body.children[sweep.members.indexOf(live)], withLogged(live, series));
  }

  return {
    element,
    update(next) {
      view = next;
      const { run: { sweep }, series, training } = next;
      show(element, sweep !== null);
      if (sweep !== drawn?.sweep) draw(next);
      else if (training && series.version !== drawn?.version) drawSoon();
    },
  };
}

const isOpen = ({ state }: SweepMember): boolean => state === 'waiting' || state === 'running';

/** The member that trains, with what it has logged since the host told of it. */
const withLogged = (member: SweepMember, { lastTrain }: MetricSeries): SweepMember =>
  ({ ...member, state: 'running', ...(lastTrain ? { steps: lastTrain.step, train_loss: Number(lastTrain.loss) } : {}) });

function row(member: SweepMember, shown: boolean): HTMLElement {
  const element = h('tr', shown ? { 'aria-current': 'true' } : {}, h('td', {}, changesText(member)), ...Array.from({ length: 5 }, () => h('td', {})));
  fill(element, member);
  return element;
}

/** Writes into a row how its member stands. */
function fill(row: Element, { name, error, state, steps, trainable_parameters, train_loss, value }: SweepMember): void {
  const [title, ...cells] = Array.from(row.children);
  setAttributes(title, { title: `${error ?? name}\n${counted(steps, 'step')}, ${formatInteger(trainable_parameters)} parameters` });
  [state, String(steps), formatInteger(trainable_parameters), formatNumber(train_loss), formatNumber(value)].forEach((text, i) => setText(cells[i], text));
}
