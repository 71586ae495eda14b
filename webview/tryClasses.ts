/** Classes of texts from the base and from the adapter, side by side. */
import type { Prediction, TaggedWord } from '../src/protocol/engine';
import type { TryResult } from '../src/protocol/panel';
import { h } from './dom';
import { formatShare } from './format';

/** Every text, or pair of texts, with both predictions. */
export function classTable({ base, adapter }: TryResult, pairs: readonly string[] = []): HTMLElement {
  const quoted = (text: string | undefined): HTMLElement | null => (text === undefined ? null : h('p', { class: 'quoted' }, text));
  return h('div', { class: 'tried' }, ...adapter.map((withAdapter, i) =>
    h('article', { class: 'tried-text' }, quoted(withAdapter.text), quoted(pairs[i]),
      h('div', { class: 'sides' }, side('Base', base[i], 'base'), side('With adapter', withAdapter, 'adapter')))));
}

/** Every word with its tag, and the tag's probability as a hover. */
function taggedWords(words: readonly TaggedWord[]): HTMLElement {
  return h('p', { class: 'tagged-words' }, ...words.map(({ word, tag, probabilities }) =>
    h('span', { class: tag === null || tag === 'O' ? 'word' : 'word tagged', title: tag === null ? 'No tag: the word has no tokens, or lies beyond what the model reads' : `${tag} ${formatShare(probabilities[tag])}` },
      word, tag === null || tag === 'O' ? null : h('span', { class: 'tag' }, tag))));
}

function side(title: string, { label, probabilities, words }: Prediction, kind: string): HTMLElement {
  if (words) return h('div', { class: `side ${kind}`, 'data-label': label }, h('h3', {}, title), taggedWords(words));
  const rows = Object.entries(probabilities).map(([name, share]) => {
    const fill = h('span', { class: 'fill' });
    fill.style.transform = `scaleX(${Math.max(0, Math.min(1, share))})`;
    return h('li', { class: name === label ? 'best' : '' }, h('span', { class: 'name', title: name }, name), h('span', { class: 'bar' }, fill), h('span', { class: 'share' }, formatShare(share)));
  });
  return h('div', { class: `side ${kind}`, 'data-label': label }, h('h3', {}, title, h('span', { class: 'verdict' }, label)), h('ul', {}, ...rows));
}
