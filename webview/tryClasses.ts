/** Classes of texts from the base and from the adapter, side by side. */
import type { Prediction } from '../src/protocol/engine';
import type { TryResult } from '../src/protocol/panel';
import { h } from './dom';
import { formatShare } from './format';

/** Every text with both predictions. */
export function classTable({ base, adapter }: TryResult): HTMLElement {
  return h('div', { class: 'tried' }, ...adapter.map((withAdapter, i) =>
    h('article', { class: 'tried-text' }, h('p', { class: 'quoted' }, withAdapter.text),
      h('div', { class: 'sides' }, side('Base', base[i], 'base'), side('With adapter', withAdapter, 'adapter')))));
}

function side(title: string, { label, probabilities }: Prediction, kind: string): HTMLElement {
  const rows = Object.entries(probabilities).map(([name, share]) => {
    const fill = h('span', { class: 'fill' });
    fill.style.transform = `scaleX(${Math.max(0, Math.min(1, share))})`;
    return h('li', { class: name === label ? 'best' : '' }, h('span', { class: 'name', title: name }, name), h('span', { class: 'bar' }, fill), h('span', { class: 'share' }, formatShare(share)));
  });
  return h('div', { class: `side ${kind}`, 'data-label': label }, h('h3', {}, title, h('span', { class: 'verdict' }, label)), h('ul', {}, ...rows));
}
