/** What the base and the adapter write after a prompt, side by side, while they write it. */
import type { Written, WrittenPair } from '../src/protocol/panel';
import { h, setText, show } from './dom';

export interface WrittenView { element: HTMLElement; update(pair: WrittenPair): void }

/** Begins with a prompt and two empty sides. */
export function writtenView(prompt: string): WrittenView {
  const [base, adapter] = [side('Base', 'base'), side('With adapter', 'adapter')];
  return {
    element: h('div', { class: 'tried' }, h('article', { class: 'tried-text' }, h('p', { class: 'quoted written-prompt', title: prompt }, prompt), h('div', { class: 'sides' }, base.element, adapter.element))),
    update(pair) {
      adapter.update(pair.adapter, true);
      base.update(pair.base, pair.adapter.stopped !== null);
    },
  };
}

/** How a text stands, in a word or two. */
export function stateOf({ text, stopped }: Written, begun: boolean): string {
  if (stopped === null) return begun ? 'writing…' : 'waiting';
  if (stopped === 'stopped') return text ? 'stopped' : 'not written';
  return stopped === 'end' ? 'ended' : 'token limit reached';
}

function side(title: string, kind: string): { element: HTMLElement; update(written: Written, begun: boolean): void } {
  const state = h('span', { class: 'written-state' });
  const text = h('span', {});
  const caret = h('span', { class: 'caret', 'aria-hidden': 'true', hidden: true });
  const element = h('div', { class: `side ${kind}` }, h('h3', {}, title, state), h('p', { class: 'written' }, text, caret));
  return {
    element,
    update(written, begun) {
      const nothing = written.stopped === 'end' && written.text.trim() === '';
      setText(text, nothing ? 'Nothing: it ended at once.' : written.text);
      text.classList.toggle('detail', nothing);
      setText(state, stateOf(written, begun));
      element.dataset.stopped = written.stopped ?? '';
      show(caret, written.stopped === null && begun);
    },
  };
}
