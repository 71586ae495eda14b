/** Trainable ratio, adapter size and memory: what the settings cost, before anything is trained. */
import { formatBytes, formatCount, formatInteger } from '../src/protocol/adapterMath';
import { h, keepFocus, setText, show } from './dom';
import { formatPercent, roughBytes } from './format';
import type { FittingChange } from '../src/protocol/fittingChanges';
import { button } from './ui';
import type { Host, Part, View } from './view';

/** The box of figures that follow every movement of a slider. */
export function costBox(host: Host): Part {
  const figure = (id: string, title: string): { element: HTMLElement; title: HTMLElement; value: HTMLElement; note: HTMLElement } => {
    const name = h('dt', {}, title);
    const value = h('dd', { id, class: 'value' }, '–');
    const note = h('dd', { class: 'detail' });
    return { element: h('div', { class: 'figure' }, name, value, note), title: name, value, note };
  };
  const ratio = figure('trainable-ratio', 'Trainable');
  const size = figure('adapter-size', 'Adapter size');
  const memory = figure('memory-estimate', 'Memory');
  const segments = ['adapters', 'saved', 'frozen'].map(id => h('span', { class: `segment ${id}` }));
  const legend = ['adapters', 'saved', 'frozen'].map(id => {
    const name = h('span', { class: 'name' });
    const count = h('span', { class: 'count' });
    return { element: h('li', {}, h('span', { class: `swatch ${id}` }), name, count), name, count };
  });
  const line = h('p', { class: 'peft', id: 'trainable-line' });
  const fit = memoryFit(host);
  const empty = h('p', { class: 'summary' }, 'Known when the base model has been read.');
  const filled = h('div', { class: 'cost' },
    h('dl', { class: 'figures' }, ratio.element, size.element, memory.element),
    h('div', { class: 'stack', id: 'parameter-bar', 'aria-hidden': 'true' }, ...segments),
    h('ul', { class: 'legend' }, ...legend.map(entry => entry.element)),
    line, fit.element);

  return {
    element: h('div', { class: 'card', id: 'cost' }, h('h2', {}, 'Cost'), empty, filled),
    update(view) {
      const { cost } = view;
      show(empty, !cost);
      show(filled, !!cost);
      if (!cost) return;
      const { count, percent, memory: { estimate, total, measured }, groups } = cost;
      setText(ratio.value, formatPercent(percent));
      setText(ratio.note, `${formatInteger(count.trainable_parameters)} parameters`);
      setText(size.value, formatBytes(count.adapter_bytes));
      const whole = view.values?.lora.full === true;
      setText(size.title, whole ? 'Model size' : 'Adapter size');
      setText(size.note, whole ? 'in float32' : `${count.adapters.length} adapters`);
      setText(memory.value, `${measured === 'this' ? '' : '≈ '}${roughBytes(total)}`);
      setText(memory.note, measured === 'this' ? 'measured' : measured ? 'from a measured step' : 'estimated');
      memory.element.title = `Estimated from shapes${measured ? ', corrected by a measured step' : ', if every text has max_length tokens'}:\nengine ${formatBytes(estimate.process)}\nbase weights ${formatBytes(estimate.weights)}\n`
        + `trained weights, gradients, AdamW ${formatBytes(estimate.training)}\nactivations ${formatBytes(estimate.activations)}`
        + (estimate.beside ? `\nkept prefix, at most, and a second base to write with ${formatBytes(estimate.beside)}` : '');
      keepFocus(fit.element, () => Array.from(fit.element.querySelectorAll<HTMLElement>('#measure-memory, #cancel-measure')), () => fit.update(view));
      groups.forEach(({ label, parameters }, i) => {
        segments[i].style.flexGrow = String(parameters / count.all_parameters);
        show(segments[i], parameters > 0);
        setText(legend[i].name, label);
        setText(legend[i].count, formatInteger(parameters));
      });
      setText(line, formatCount(count));
    },
  };
}

/** Whether the run fits, the changes that make it fit, and the button that measures it. */
function memoryFit(host: Host): Part {
  const text = h('p', { class: 'message', id: 'memory-fit', role: 'status' });
  const choices = h('div', { class: 'buttons', id: 'memory-changes' });
  const measure = button({ label: 'Measure memory', id: 'measure-memory', press: () => host.measure() });
  measure.title = 'Runs one step on the longest examples in an engine of its own, and keeps nothing of it';
  const cancel = button({ label: 'Cancel measuring', id: 'cancel-measure', press: () => host.cancelMeasure() });
  let shown = '';
  const offer = (changes: readonly FittingChange[], disabled: boolean): void => {
    const key = JSON.stringify([changes, disabled]);
    if (key === shown) return;
    shown = key;
    choices.replaceChildren(...changes.map(({ label, edits, total }) => {
      const choice = button({ label: `${label} (${roughBytes(total)})`, press: () => edits.forEach(({ path, value }) => host.edit(path, value)) });
      choice.disabled = disabled;
      return choice;
    }));
  };
  const element = h('div', { class: 'fit' }, text, choices, h('div', { class: 'buttons' }, measure, cancel));
  return {
    element,
    update({ cost, experiment, active }: View) {
      const { total, available, changes } = cost!.memory;
      const short = available !== null && total > available;
      const measuring = experiment!.memory.measuring;
      show(element, measuring || !active);
      setText(text, measuring ? 'Measuring: one step with the longest examples…' : !short || active ? ''
        : `Needs about ${formatBytes(total)}, and ${formatBytes(available)} are free. ${changes.length ? 'It fits with one of these:' : 'No smaller batch or shorter text makes it fit: close other programs, or take a smaller model.'}`);
      text.classList.toggle('problem', short && !measuring);
      show(text, text.textContent !== '');
      show(choices, short && !active && !measuring && changes.length > 0);
      offer(short ? changes : [], active);
      show(measure, !measuring && !active);
      show(cancel, measuring);
      measure.disabled = !experiment!.trusted || experiment!.problems.length > 0;
    },
  };
}
