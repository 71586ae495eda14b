/** The toolkit's basic controls. The only file that knows @vscode/webview-ui-toolkit, so that another one can take its place. */
import {
  provideVSCodeDesignSystem, vsCodeButton, vsCodeCheckbox, vsCodeDropdown, vsCodeOption, vsCodeProgressRing, vsCodeTextField,
  type Button, type Checkbox, type Dropdown, type TextField,
} from '@vscode/webview-ui-toolkit';
import type { PanelAction } from '../src/protocol/panel';
import { setAttributes } from './dom';

export type { Button, Checkbox, Dropdown, TextField };

provideVSCodeDesignSystem().register(
  vsCodeButton(), vsCodeCheckbox(), vsCodeDropdown(), vsCodeOption(), vsCodeProgressRing(), vsCodeTextField(),
);

/** The toolkit reports a change of a check box also when the program made it. */
const quiet = new WeakSet<Element>();

export interface ButtonOptions { label: string; appearance?: 'primary' | 'secondary'; action?: PanelAction; id?: string; icon?: SVGElement; press: () => void }

/** A push button. `action` becomes its `data-action`. */
export function button({ label, appearance = 'secondary', action, id, icon, press }: ButtonOptions): Button {
  const element = document.createElement('vscode-button') as Button;
  element.setAttribute('appearance', appearance);
  if (action) element.dataset.action = action;
  if (id) element.id = id;
  if (icon) {
    icon.setAttribute('slot', 'start');
    element.append(icon);
  }
  element.append(label);
  element.addEventListener('click', () => { if (!element.disabled && element.ariaDisabled !== 'true') press(); });
  return element;
}

/** A one-line text field. Its label is for screen readers; the visible one stands beside it. */
export function textField(label: string, key: string, input: (text: string) => void, leave: () => void): TextField {
  const element = document.createElement('vscode-text-field') as TextField;
  element.append(label);
  element.dataset.key = key;
  element.addEventListener('input', () => input(element.value));
  element.addEventListener('change', leave);
  element.addEventListener('focusout', leave);
  return element;
}

/** A list to choose one of. */
export function dropdown(label: string, key: string, choices: readonly string[], choose: (choice: string) => void): Dropdown {
  const element = document.createElement('vscode-dropdown') as Dropdown;
  element.setAttribute('aria-label', label);
  element.dataset.key = key;
  for (const choice of choices) addChoice(element, choice);
  element.addEventListener('change', () => choose(element.value));
  return element;
}

function addChoice(element: Dropdown, choice: string): void {
  const option = document.createElement('vscode-option');
  option.setAttribute('value', choice);
  option.textContent = choice;
  element.append(option);
}

/** A check box with its label. */
export function checkbox(label: string, key: string, change: (on: boolean) => void): Checkbox {
  const element = document.createElement('vscode-checkbox') as Checkbox;
  element.append(label);
  element.dataset.key = key;
  element.addEventListener('change', () => { if (!quiet.has(element)) change(element.checked); });
  return element;
}

/** Ticks a box without reporting it as the person's change. */
export function setChecked(element: Checkbox, checked: boolean, indeterminate = false): void {
  quiet.add(element);
  element.checked = checked;
  element.indeterminate = indeterminate;
  quiet.delete(element);
}

/** Chooses an option, which is added if the list lacks it. The toolkit knows its options only a moment after they were added. */
export function setChoice(element: Dropdown, value: string, tries = 5): void {
  if (element.value === value) return;
  if (!Array.from(element.children).some(option => option.getAttribute('value') === value)) addChoice(element, value);
  element.value = value;
  if (element.value !== value && tries > 0) requestAnimationFrame(() => setChoice(element, value, tries - 1));
}

/** Sets a field's text unless it says so already: the caret would move. */
export function setField(element: TextField, text: string): void {
  if (element.value !== text) element.value = text;
}

/** Says to screen readers what stands below a field. The toolkit's input lies in a shadow root, into which no id reaches. */
export function describeField(element: TextField, text: string): void {
  const input = element.shadowRoot?.querySelector('input');
  if (input) setAttributes(input, { 'aria-description': text || undefined });
}

export function setDisabled(element: Button | Checkbox | Dropdown | TextField, disabled: boolean): void {
  if (element.disabled !== disabled) element.disabled = disabled;
}

/** A button that cannot be pressed while what it began goes on. Unlike one that is disabled it keeps the keyboard's place. */
export function setBusy(element: Button, busy: boolean): void {
  // The toolkit hears of the property alone, and writes the attribute itself.
  const said = busy ? 'true' : null;
  if ((element.ariaDisabled ?? null) !== said) element.ariaDisabled = said;
}

/** A turning ring for work whose end is not known. */
export function progressRing(label: string): HTMLElement {
  const element = document.createElement('vscode-progress-ring');
  element.setAttribute('aria-label', label);
  return element;
}
