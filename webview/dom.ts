/** Making and changing elements. Text is only ever set as text, never parsed as HTML. */

type Child = Node | string | null | undefined;
type Attributes = Record<string, string | number | boolean | undefined>;

/** An element with attributes and children. `true` gives an attribute without value, `false` and `undefined` none. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** A 16 × 16 drawing of one path in the text's colour, hidden from screen readers: a text always stands beside it. */
export function icon(path: string, name = ''): SVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  setAttributes(svg, { class: `icon ${name}`.trim(), viewBox: '0 0 16 16', 'aria-hidden': 'true', focusable: 'false' });
  const shape = document.createElementNS(SVG, 'path');
  setAttributes(shape, { d: path, 'fill-rule': 'evenodd' });
  svg.append(shape);
  return svg;
}

/** Sets attributes as `h` does, leaving alone those that say so already: every change makes the page look at its styles again. */
export function setAttributes(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    const text = value === undefined || value === false ? null : value === true ? '' : String(value);
    if (element.getAttribute(name) === text) continue;
    if (text === null) element.removeAttribute(name);
    else element.setAttribute(name, text);
  }
}

/** Sets an element's text, leaving it alone if it says so already: screen readers announce every change. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides an element. */
export function show(element: HTMLElement, visible: boolean): void {
  if (element.hidden === visible) element.hidden = !visible;
}

/**
 * Makes a change within a group. If it hides, disables or removes the control that has the keyboard's place, that place goes to the
 * first of `next` that can take it, else it stays at the group, or where that may be empty afterwards, at another `place`.
 */
export function keepFocus(group: HTMLElement, next: () => readonly HTMLElement[], change: () => void, place = group): void {
  const held = document.activeElement as HTMLElement | null;
  if (!held || held === group || !group.contains(held)) return change();
  change();
  // The toolkit's controls take the focus once they have drawn themselves; a person may have moved on until then.
  requestAnimationFrame(() => {
    const now = document.activeElement;
    if (takesFocus(held) || now !== held && now !== document.body && now !== null) return;
    place.tabIndex = -1;
    (next().find(takesFocus) ?? place).focus();
  });
}

const takesFocus = (element: HTMLElement): boolean => element.isConnected && element.checkVisibility() && !(element as HTMLButtonElement).disabled;

/** Rows of a definition list. */
export function definitions(rows: readonly (readonly [string, string])[], attributes: Attributes = {}): HTMLDListElement {
  return h('dl', attributes, ...rows.map(([term, text]) => h('div', {}, h('dt', {}, term), h('dd', {}, text))));
}

/** Calls `work` once before the next frame, however often it was asked for. */
export function onceAFrame(work: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Calls `work` at most once in every `interval` milliseconds of the time that the page has, always with a last call. */
export function atMost(interval: number, work: () => void): () => void {
  let [last, asked] = [-Infinity, false];
  const run = (): void => {
    asked = false;
    last = performance.now();
    work();
  };
  return () => {
    if (asked) return;
    const wait = last + interval - performance.now();
    if (wait <= 0) return run();
    asked = true;
    setTimeout(() => requestAnimationFrame(run), wait);
  };
}
