/** Rows of the settings column: label, control, and whatever is wrong with the value below it. */
import { settingAt } from '../src/protocol/experiment';
import { h, setAttributes, setText, show } from './dom';
import { plainText } from './format';
import { nearestStop } from './ranges';
import { keyOf, readText, showValue } from './settingsForm';
import { checkbox, dropdown, setChecked, setChoice, setDisabled, setField, textField, type Checkbox, type Dropdown, type TextField } from './ui';

export interface RowState {
  value: unknown;
  disabled: boolean;
  /** What is wrong with the value in the file. */
  problem?: string;
  /** Said below the control when nothing is wrong. */
  note?: string;
}

export interface Row { path: string[]; element: HTMLElement; update(state: RowState): void }

export type Edit = (path: string[], value: unknown) => void;

/** The line below a control, tied to it for screen readers. */
class Message {
  readonly element: HTMLElement;
  constructor(key: string) {
    this.element = h('p', { class: 'message', id: `message-${key}`, hidden: true });
  }
  update(problem: string | undefined, note: string | undefined): void {
    const text = problem ?? note ?? '';
    setText(this.element, text);
    show(this.element, text !== '');
    this.element.classList.toggle('problem', problem !== undefined);
  }
}

const label = (text: string, path: string[]): HTMLElement =>
  h('span', { class: 'label', id: `label-${keyOf(path)}`, title: `${keyOf(path)}\n${plainText(settingAt(path)?.doc ?? '')}` }, text);

/** A text field that keeps what a person types until it can be used or the file says something new. */
class TypedField {
  readonly element: TextField;
  private wrong: string | undefined;
  private shown = '';

  constructor(name: string, private readonly path: string[], edit: Edit, private readonly changed: () => void) {
    this.element = textField(name, keyOf(path), text => {
      const read = readText(path, text);
      this.wrong = 'wrong' in read ? read.wrong : undefined;
      if ('value' in read) edit(path, read.value);
      this.changed();
    }, () => {
      if (!this.wrong) setField(this.element, this.shown);
    });
  }

  /** Shows a value, unless the person is typing another one. Returns what is wrong with the typed text. */
  update(value: unknown, disabled: boolean): string | undefined {
    const text = showValue(value);
    const news = text !== this.shown;
    this.shown = text;
    const typing = document.activeElement === this.element;
    if (news && !typing) this.wrong = undefined;
    if (!typing && !this.wrong) setField(this.element, text);
    // A slider that moves, or an undo in the editor, while the caret stands here.
    if (typing && news && !sameValue(readText(this.path, this.element.value), value)) {
      this.wrong = undefined;
      setField(this.element, text);
    }
    setDisabled(this.element, disabled);
    return this.wrong;
  }
}

const sameValue = (read: ReturnType<typeof readText>, value: unknown): boolean => 'value' in read && read.value === value;

export interface SliderRow extends Row { setStops(stops: readonly number[]): void }

/** A number on a slider, and beside it in a field for any value between the stops. */
export function sliderRow(name: string, path: string[], first: readonly number[], edit: Edit): SliderRow {
  let stops = first;
  let last: RowState = { value: undefined, disabled: false };
  const key = keyOf(path);
  const message = new Message(key);
  const range = h('input', { type: 'range', min: 0, step: 1, max: stops.length - 1, 'data-key': key, 'aria-label': name, 'aria-describedby': message.element.id });
  const field = new TypedField(name, path, edit, () => draw());
  range.addEventListener('input', () => edit(path, stops[Number(range.value)]));
  const draw = (): void => {
    const wrong = field.update(last.value, last.disabled);
    const value = Number(last.value);
    range.value = String(nearestStop(stops, value));
    range.disabled = last.disabled;
    range.setAttribute('aria-valuetext', showValue(last.value));
    // Chromium cannot colour the part of a track before the thumb; the style sheet does it from this number.
    range.style.setProperty('--share', String(stops.length > 1 ? Number(range.value) / (stops.length - 1) : 0));
    message.update(wrong ?? last.problem, last.note);
    setAttributes(field.element, { 'aria-invalid': (wrong ?? last.problem) !== undefined && 'true' });
  };
  return {
    path,
    element: h('div', { class: 'row slider' }, label(name, path), range, field.element, message.element),
    setStops(next) {
      if (next.length === stops.length && next.every((stop, i) => stop === stops[i])) return;
      stops = next;
      range.max = String(stops.length - 1);
    },
    update(state) {
      last = state;
      draw();
    },
  };
}

/** A number or text in a field. */
export function textRow(name: string, path: string[], edit: Edit): Row {
  let last: RowState = { value: undefined, disabled: false };
  const message = new Message(keyOf(path));
  const field = new TypedField(name, path, edit, () => draw());
  const draw = (): void => {
    const wrong = field.update(last.value, last.disabled);
    message.update(wrong ?? last.problem, last.note);
    setAttributes(field.element, { 'aria-invalid': (wrong ?? last.problem) !== undefined && 'true' });
  };
  return {
    path,
    element: h('div', { class: 'row' }, label(name, path), field.element, message.element),
    update(state) {
      last = state;
      draw();
    },
  };
}

/** One of the choices of the setting. */
export function choiceRow(name: string, path: string[], edit: Edit): Row {
  const message = new Message(keyOf(path));
  const list: Dropdown = dropdown(name, keyOf(path), (settingAt(path)?.choices ?? []).map(String), choice => edit(path, choice));
  return {
    path,
    element: h('div', { class: 'row' }, label(name, path), list, message.element),
    update({ value, disabled, problem, note }) {
      if (!list.open) setChoice(list, String(value));
      setDisabled(list, disabled);
      message.update(problem, note);
    },
  };
}

/** Yes or no. */
export function boxRow(name: string, path: string[], edit: Edit): Row {
  const message = new Message(keyOf(path));
  const box: Checkbox = checkbox(name, keyOf(path), on => edit(path, on));
  box.title = `${keyOf(path)}\n${plainText(settingAt(path)?.doc ?? '')}`;
  return {
    path,
    element: h('div', { class: 'row' }, h('span', { class: 'label' }), box, message.element),
    update({ value, disabled, problem, note }) {
      setChecked(box, value === true);
      setDisabled(box, disabled);
      message.update(problem, note);
    },
  };
}
