/** Rows of the settings column: label, control, and whatever is wrong with the value below it. */
import { settingAt } from '../src/protocol/experiment';
import { h, setAttributes, setText } from './dom';
import { plainText, shortPath } from './format';
import { nearestStop } from './ranges';
import { keyOf, readText, showValue } from './settingsForm';
import { checkbox, describeField, dropdown, setChecked, setChoice, setDisabled, setField, textField, type Checkbox, type Dropdown, type TextField } from './ui';

export interface RowState {
  value: unknown;
  disabled: boolean;
  /** What is wrong with the value in the file. */
  problem?: string;
  /** Said below the control when nothing is wrong. */
  note?: string;
  /** The experiment: what was typed for one is nothing to another. */
  file: string;
}

/** A text in a field that its key cannot have, and what to give instead. */
export interface WrongText { name: string; path: string[]; text: string; give: string; focus(): void }

export interface Row {
  path: string[];
  element: HTMLElement;
  update(state: RowState): void;
  /** Undefined where the control shows what the file has. */
  wrong?(): WrongText | undefined;
}

export type Edit = (path: string[], value: unknown) => void;

/** The line below a control, tied to it for screen readers, which are told of a problem when it arises, and find a note. */
class Message {
  readonly element: HTMLElement;
  constructor(key: string) {
    // Never hidden: what was not there before is not told of.
    this.element = h('p', { class: 'message', id: `message-${key}`, role: 'status' });
  }
  update(problem: string | undefined, note: string | undefined): void {
    setAttributes(this.element, { 'aria-live': problem === undefined ? 'off' : 'polite' });
    setText(this.element, problem ?? note ?? '');
    this.element.classList.toggle('problem', problem !== undefined);
  }
}

const label = (text: string, path: string[]): HTMLElement =>
  h('span', { class: 'label', id: `label-${keyOf(path)}`, title: `${keyOf(path)}\n${plainText(settingAt(path)?.doc ?? '')}` }, text);

/** A text field that keeps what a person types until it can be used or the file says something new, with its message. */
class TypedField {
  readonly element: TextField;
  readonly message: Message;
  private give: string | undefined;
  private shown = '';
  private last: RowState = { value: undefined, disabled: false, file: '' };
  /** What the key had when the typing began. */
  private before: { value: unknown } | undefined;

  constructor(private readonly name: string, private readonly path: string[], edit: Edit) {
    this.message = new Message(keyOf(path));
    const set = (value: unknown): void => {
      this.last = { ...this.last, value };
      this.shown = showValue(value);
      // Nothing stands for the default, as a file without the key does.
      edit(path, value ?? undefined);
    };
    this.element = textField(name, keyOf(path), text => {
      const read = readText(path, text);
      this.before ??= { value: this.last.value };
      this.give = 'wrong' in read ? read.wrong : undefined;
      if ('value' in read) set(read.value);
      // On the way to a text that is wrong, as with each Backspace, the file may have got what nobody meant.
      else if (this.last.value !== this.before.value) set(this.before.value);
      this.say();
    }, () => {
      if (this.give !== undefined) return;
      this.before = undefined;
      setField(this.element, this.shown);
    });
  }

  /** What is typed and cannot be used. */
  wrong(): WrongText | undefined {
    const { name, path, give, element } = this;
    return give === undefined ? undefined : { name, path, text: element.value.trim(), give, focus: () => element.focus() };
  }

  /** Shows a value, unless the person is typing another one. */
  update(state: RowState): void {
    const text = showValue(state.value);
    const typing = document.activeElement === this.element;
    // Not what was typed, as where a slider moves, or with an undo in the editor, while the caret stands here.
    const news = text !== this.shown || state.file !== this.last.file || state.disabled;
    if (news) [this.give, this.before] = [undefined, undefined];
    if (news || !typing && this.give === undefined) setField(this.element, text);
    [this.last, this.shown] = [state, text];
    setDisabled(this.element, state.disabled);
    this.say();
  }

  private say(): void {
    const problem = this.give ?? this.last.problem;
    this.message.update(problem, this.last.note);
    describeField(this.element, problem ?? this.last.note ?? '');
    setAttributes(this.element, { 'aria-invalid': problem !== undefined && 'true' });
  }
}

export interface SliderRow extends Row { setStops(stops: readonly number[]): void }

/** A number on a slider, and beside it in a field for any value between the stops. */
export function sliderRow(name: string, path: string[], first: readonly number[], edit: Edit): SliderRow {
  let stops = first;
  const key = keyOf(path);
  const field = new TypedField(name, path, edit);
  const range = h('input', { type: 'range', min: 0, step: 1, max: stops.length - 1, 'data-key': key, 'aria-label': name, 'aria-describedby': field.message.element.id });
  range.addEventListener('input', () => edit(path, stops[Number(range.value)]));
  return {
    path,
    wrong: () => field.wrong(),
    element: h('div', { class: 'row slider' }, label(name, path), range, field.element, field.message.element),
    setStops(next) {
      if (next.length === stops.length && next.every((stop, i) => stop === stops[i])) return;
      stops = next;
      range.max = String(stops.length - 1);
    },
    update(state) {
      field.update(state);
      range.value = String(nearestStop(stops, Number(state.value)));
      range.disabled = state.disabled;
      range.setAttribute('aria-valuetext', showValue(state.value));
      // Chromium cannot colour the part of a track before the thumb; the style sheet does it from this number.
      range.style.setProperty('--share', String(stops.length > 1 ? Number(range.value) / (stops.length - 1) : 0));
    },
  };
}

/** A folder or file, chosen in a dialog of the host. */
export function pathRow(name: string, path: string[], browse: (path: string[]) => void): Row {
  const key = keyOf(path);
  const message = new Message(key);
  const shown = h('span', { class: 'path', id: `path-${key}` });
  const button = h('button', { type: 'button', class: 'link', 'data-key': key, 'aria-label': `${name}: Browse…`, 'aria-describedby': `${shown.id} ${message.element.id}` }, 'Browse…');
  button.addEventListener('click', () => browse(path));
  return {
    path,
    element: h('div', { class: 'row' }, label(name, path), h('div', { class: 'chosen' }, shown, button), message.element),
    update({ value, disabled, problem, note }) {
      setText(shown, value ? shortPath(String(value), 32) : 'none');
      setAttributes(shown, { title: value ? String(value) : undefined });
      shown.classList.toggle('detail', !value);
      button.disabled = disabled;
      message.update(problem, note);
    },
  };
}

/** A number or text in a field. */
export function textRow(name: string, path: string[], edit: Edit): Row {
  const field = new TypedField(name, path, edit);
  return {
    path,
    wrong: () => field.wrong(),
    element: h('div', { class: 'row' }, label(name, path), field.element, field.message.element),
    update: state => field.update(state),
  };
}

/** One of the choices of the setting, or what else the file has. */
export function choiceRow(name: string, path: string[], edit: Edit): Row {
  const message = new Message(keyOf(path));
  const { choices = [], example = [] } = settingAt(path)!;
  const all = [...choices, ...[example].flat()];
  const list: Dropdown = dropdown(name, keyOf(path), all.map(String), text => edit(path, all.find(choice => String(choice) === text) ?? text));
  list.setAttribute('aria-describedby', message.element.id);
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
  box.setAttribute('aria-describedby', message.element.id);
  box.title = `${keyOf(path)}\n${plainText(settingAt(path)?.doc ?? '')}`;
  return {
    path,
    element: h('div', { class: 'row box' }, box, message.element),
    update({ value, disabled, problem, note }) {
      setChecked(box, value === true);
      setDisabled(box, disabled);
      message.update(problem, note);
    },
  };
}
