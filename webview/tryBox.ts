/** Try: what the base and the adapter make of a text, side by side: its classes, or with a language model what they write after it. */
import type { ErrorReport } from '../src/protocol/engine';
import { textPair, type TextPair, type Tried, type WrittenPair } from '../src/protocol/panel';
import { h, keepFocus, setAttributes, setText, show } from './dom';
import { shortPath } from './format';
import { reportCard } from './notices';
import { classTable } from './tryClasses';
import { button, progressRing, setBusy, setDisabled } from './ui';
import type { Host, Part, View } from './view';
import { writeForm, type WriteInput } from './writeForm';
import { stateOf, writtenView, type WrittenView } from './writtenPair';

type Kind = 'classes' | 'pairs' | 'completion' | 'chat' | 'target';
const writes = (kind: Kind | undefined): boolean => kind !== 'classes' && kind !== 'pairs';

interface Words { label: string; placeholder: string; hint: string; rows: number }
const KEYS = 'Ctrl+Enter runs it.';
const WORDS: Record<Kind, Words> = {
  classes: { label: 'Texts to classify, one on each line', placeholder: 'One text on each line', hint: `Class probabilities of the base and of the base with the adapter. ${KEYS}`, rows: 3 },
  pairs: { label: 'First texts of the pairs to classify, one on each line', placeholder: 'One text on each line', hint: `Class probabilities of the base and of the base with the adapter, for the pair of texts on each line. ${KEYS}`, rows: 3 },
  completion: { label: 'Prompt to continue', placeholder: 'A prompt, of any number of lines', hint: `The adapter and then the base continue the prompt. ${KEYS} Escape stops.`, rows: 4 },
  chat: { label: 'Message to answer', placeholder: 'A message, of any number of lines', hint: `The message is put through the checkpoint's chat template as one turn of the user; the adapter and then the base answer it. ${KEYS} Escape stops.`, rows: 4 },
  target: { label: 'Source text', placeholder: 'A source text, task prefix included', hint: `The adapter and then the base write the target of the source. ${KEYS} Escape stops.`, rows: 4 },
};

const NOTHING_WRITTEN: WrittenPair = { base: { text: '', stopped: null }, adapter: { text: '', stopped: null } };

/** What a person has typed into the box. */
export interface TryInput { text: string; second: string; write: WriteInput }

export interface TryBox extends Part {
  /** Puts the cursor into the box. */
  focus(): void;
  /** Shows what has come of a try, where it belongs to what the panel shows. */
  show(tried: Tried): void;
  input(): TryInput;
  restore(input: TryInput): void;
}

/** The box and its results. */
export function tryBox(host: Host): TryBox {
  const box = h('textarea', { id: 'try-text', spellcheck: false });
  const second = h('textarea', { id: 'try-pair', spellcheck: false, rows: 3, placeholder: 'The text that belongs with it' });
  const names = [h('span', { class: 'label' }), h('span', { class: 'label' })];
  const secondField = h('label', {}, names[1], second);
  const alone = h('p', { class: 'message problem', id: 'try-problem', role: 'status', hidden: true });
  const hint = h('p', { class: 'summary', id: 'try-hint' });
  const other = h('p', { class: 'summary', id: 'try-adapter' });
  const results = h('div', { id: 'try-results', class: 'try-results', 'aria-live': 'polite' });
  const status = h('span', { id: 'try-status' });
  const ring = progressRing('Trying');
  // What stands beside the texts when they are written is said to screen readers alone.
  const state = h('span', { class: 'loading', role: 'status' }, ring, status);
  let [busy, possible, kind, of, pair] = [false, false, undefined as Kind | undefined, '', null as TextPair | null];
  let [tried, drawn, view] = [undefined as Tried | undefined, undefined as Tried | undefined, undefined as WrittenView | undefined];

  const linesOf = (area: HTMLTextAreaElement): string[] => area.value.split('\n').map(line => line.trim());
  /** What stands in the box; undefined where there is nothing, or a text without the one that belongs with it. */
  function asked(): { texts: string[]; pairs?: string[] } | undefined {
    const lines = linesOf(box);
    const texts = writes(kind) ? [box.value].filter(text => text.trim()) : lines.filter(Boolean);
    if (kind !== 'pairs') return texts.length ? { texts } : undefined;
    const pairs = linesOf(second).filter(Boolean);
    return texts.length && loneLine() === undefined ? { texts, pairs } : undefined;
  }
  /** The first line on which one text of a pair is missing, from 0, and which. */
  function loneLine(): { line: number; missing: 0 | 1 } | undefined {
    const [first, other] = [linesOf(box), linesOf(second)];
    const line = Array.from({ length: Math.max(first.length, other.length) }).findIndex((_, i) => !first[i] !== !other[i]);
    return line < 0 ? undefined : { line, missing: first[line] ? 1 : 0 };
  }
  const press = button({ label: 'Try', id: 'try-button', appearance: 'primary', press: () => void run() });
  const stop = button({ label: 'Stop', id: 'try-stop', press: () => host.stopWriting() });
  const form = writeForm(() => enable());
  const element = h('section', { class: 'card try', id: 'try', 'aria-labelledby': 'try-title' }, h('h2', { id: 'try-title' }, 'Try the adapter'), hint, other,
    h('div', { class: 'try-input' }, h('div', { class: 'try-texts' }, h('label', {}, names[0], box), secondField), alone, form.element, h('div', { class: 'buttons' }, press, stop, state)), results);
  const enable = (): void => keepFocus(element, () => [stop, press], drawControls);
  function drawControls(): void {
    setDisabled(press, busy && writes(kind) || !possible || !asked() || writes(kind) && form.settings() === undefined);
    // Where there is no Stop to go to, the keyboard's place stays here.
    setBusy(press, busy && !writes(kind));
    show(stop, busy && writes(kind));
    // Whoever has not come to the second text yet knows that it is missing.
    const lone = pair && second.value.trim() ? loneLine() : undefined;
    setText(alone, lone ? `Line ${lone.line + 1} has no ${pair![lone.missing]}.` : '');
    show(alone, lone !== undefined);
    form.setDisabled(busy);
  }
  const say = (text: string, working: boolean): void => {
    setText(status, text);
    show(ring, working);
    state.classList.toggle('visually-hidden', !working);
  };
  say('', false);

  async function run(): Promise<void> {
    if (busy || press.disabled) return;
    const request = { of, ...asked()! };
    view = undefined;
    showTried({ ...request, classes: null, written: null, error: null, busy: true });
    try {
      await (writes(kind) ? host.write({ ...request, settings: form.settings()! }) : host.predict(request));
    } catch (error) {
      showTried({ ...request, classes: null, written: null, error: error as ErrorReport, busy: false });
    }
  }

  function showTried(news: Tried): void {
    tried = news;
    draw();
  }

  /** What one adapter has made of a text is not to be taken for another one's. */
  function draw(): void {
    const now = tried?.of === of ? tried : undefined;
    if (now === drawn) return;
    drawn = now;
    busy = now?.busy ?? false;
    if (!now) {
      view = undefined;
      results.replaceChildren();
      say('', false);
    } else if (now.error) {
      results.replaceChildren(reportCard('That could not be tried', now.error, host));
      say('', false);
    } else if (now.classes) {
      results.replaceChildren(classTable(now.classes, now.pairs));
      say('', false);
    } else if (writes(kind)) write(now);
    else say('Running base and adapter…', true);
    // Read out piece by piece, a growing text is noise: its end is said instead.
    setAttributes(results, { 'aria-live': busy && writes(kind) ? 'off' : 'polite', 'aria-busy': busy && writes(kind) && 'true' });
    enable();
  }

  function write({ texts: [prompt], written }: Tried): void {
    if (!view) {
      view = writtenView(prompt);
      results.replaceChildren(view.element);
    }
    const pair = written ?? NOTHING_WRITTEN;
    view.update(pair);
    if (busy) say(!written ? 'Reading the model…' : pair.adapter.stopped === null ? 'Writing with the adapter…' : 'Writing with the base…', true);
    else say(`With adapter: ${stateOf(pair.adapter, true)}. Base: ${stateOf(pair.base, true)}.`, false);
  }

  for (const area of [box, second]) {
    area.addEventListener('input', enable);
    area.addEventListener('keydown', event => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        void run();
      }
    });
  }
  element.addEventListener('keydown', event => {
    if (event.key === 'Escape' && busy && writes(kind)) host.stopWriting();
  });

  return {
    element,
    update({ experiment, run: { attempt, folder, adapter, chosen }, values }) {
      possible = !!experiment?.trusted && (adapter !== null || chosen !== null);
      pair = chosen?.pair !== undefined ? chosen.pair : values ? textPair(values.dataset) : null;
      const next = kindOf(chosen?.task ?? values?.task, values, pair);
      if (next !== 'pairs') pair = null;
      const shown = JSON.stringify([experiment?.file, attempt, chosen?.folder ?? folder, next]);
      // Nobody will see what is still written.
      if (shown !== of && busy && writes(kind)) host.stopWriting();
      of = shown;
      if (next !== kind) {
        kind = next;
        setAttributes(box, { 'aria-label': WORDS[kind].label, placeholder: WORDS[kind].placeholder, rows: WORDS[kind].rows });
        show(form.element, writes(kind));
        show(secondField, kind === 'pairs');
        show(names[0], kind === 'pairs');
      }
      names.forEach((name, i) => setText(name, pair?.[i] ?? ''));
      setAttributes(second, { 'aria-label': `Second texts of the pairs${pair ? ` (${pair[1]})` : ''}, one on each line` });
      draw();
      setText(other, chosen ? `With ${shortPath(chosen.folder)}, not with the adapter of the run that is shown.` : '');
      setAttributes(other, { title: chosen?.folder });
      show(other, chosen !== null);
      setText(hint, possible ? WORDS[next].hint : 'Possible when a run has written an adapter, or with “Try adapter” in the Runs tree.');
      enable();
    },
    show: showTried,
    input: () => ({ text: box.value, second: second.value, write: form.input() }),
    restore({ text, second: other, write: settings }) {
      [box.value, second.value] = [text, other];
      form.restore(settings);
    },
    focus() {
      box.scrollIntoView({ block: 'center' });
      box.focus();
    },
  };
}

function kindOf(task: string | undefined, values: View['values'], pair: TextPair | null): Kind {
  if (task === 'SEQ_2_SEQ_LM') return 'target';
  if (task !== 'CAUSAL_LM') return pair && task !== 'TOKEN_CLS' ? 'pairs' : 'classes';
  return values?.task === 'CAUSAL_LM' && values.dataset.messages_column !== null ? 'chat' : 'completion';
}
