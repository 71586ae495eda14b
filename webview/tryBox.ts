/** Try: texts classified by the base and by the adapter, side by side. */
import type { ErrorReport, Prediction, TaggedWord } from '../src/protocol/engine';
import type { TryResult } from '../src/protocol/panel';
import { h, setText, show } from './dom';
import { formatShare } from './format';
import { reportCard } from './notices';
import { button, progressRing, setDisabled } from './ui';
import type { Host, Part } from './view';

/** The box, and a way to put the cursor into it. */
export function tryBox(host: Host): Part & { focus(): void } {
  const box = h('textarea', { id: 'try-text', rows: 3, 'aria-label': 'Texts to classify, one on each line', placeholder: 'One text on each line', spellcheck: false });
  const hint = h('p', { class: 'summary', id: 'try-hint' });
  const results = h('div', { id: 'try-results', class: 'try-results', 'aria-live': 'polite' });
  const ring = h('span', { class: 'loading', hidden: true, role: 'status' }, progressRing('Trying'), 'Running base and adapter…');
  let [busy, possible] = [false, false];

  const texts = (): string[] => box.value.split('\n').map(line => line.trim()).filter(Boolean);
  const press = button({ label: 'Try', id: 'try-button', press: () => void run() });
  const enable = (): void => setDisabled(press, busy || !possible || texts().length === 0);
  const run = async (): Promise<void> => {
    if (press.disabled) return;
    busy = true;
    enable();
    show(ring, true);
    try {
      results.replaceChildren(resultTable(await host.predict(texts())));
    } catch (error) {
      results.replaceChildren(reportCard('The texts could not be tried', error as ErrorReport, host));
    } finally {
      busy = false;
      show(ring, false);
      enable();
    }
  };
  box.addEventListener('input', enable);
  box.addEventListener('keydown', event => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      void run();
    }
  });

  return {
    element: h('section', { class: 'card try', id: 'try', 'aria-labelledby': 'try-title' }, h('h2', { id: 'try-title' }, 'Try the adapter'), hint,
      h('div', { class: 'try-input' }, box, h('div', { class: 'buttons' }, press, ring)), results),
    update({ experiment, run: { adapter }, tryChosen }) {
      possible = !!experiment?.trusted && (adapter !== null || tryChosen);
      setText(hint, possible ? 'Class probabilities of the base and of the base with the adapter. Ctrl+Enter runs it.'
        : 'Possible when a run has written an adapter, or with “Try adapter” in the Runs tree.');
      enable();
    },
    focus() {
      box.scrollIntoView({ block: 'center' });
      box.focus();
    },
  };
}

function resultTable({ base, adapter }: TryResult): HTMLElement {
  return h('div', { class: 'tried' }, ...adapter.map((withAdapter, i) =>
    h('article', { class: 'tried-text' }, h('p', { class: 'quoted' }, withAdapter.text),
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
