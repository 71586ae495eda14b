/** Trainable ratio, adapter size and memory: what the settings cost, before anything is trained. */
import { formatBytes, formatCount, formatInteger } from '../src/protocol/adapterMath';
import { h, keepFocus, setText, show } from './dom';
import { counted, formatPercent, roughBytes } from './format';
import { memoryFit } from './memoryFit';
import type { Host, Part } from './view';

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
      const { count, percent, memory: { estimate, total, measured, record, onGpu }, groups } = cost;
      setText(ratio.value, formatPercent(percent));
      setText(ratio.note, `${formatInteger(count.trainable_parameters)} parameters`);
      setText(size.value, formatBytes(count.adapter_bytes));
      const whole = view.values?.lora.full === true;
      setText(size.title, whole ? 'Model size' : 'Adapter size');
      setText(size.note, whole ? 'in float32' : counted(count.adapters.length, 'adapter'));
      setText(memory.value, `${measured === 'this' ? '' : '≈ '}${roughBytes(total)}`);
      const source = record?.of === 'run' ? 'run' : 'step';
      setText(memory.title, onGpu ? 'GPU memory' : 'Memory');
      setText(memory.note, measured === 'this' ? 'measured' : measured ? `from a measured ${source}` : onGpu ? 'computed only' : 'computed');
      memory.element.title = `Computed from shapes${measured ? `, corrected by ${source === 'run' ? 'an earlier run' : 'one measured step'}` : ', if every text has max_length tokens'}${onGpu && !measured ? '; what the GPU really takes has not been measured, or cannot be told here' : ''}:\nengine ${formatBytes(estimate.process)}\nbase weights ${formatBytes(estimate.weights)}\n`
        + `trained weights, gradients, AdamW ${formatBytes(estimate.training)}\nactivations ${formatBytes(estimate.activations)}`
        + (estimate.beside ? `\nbeside the steps (kept prefix, at most, a second base to write with, members of a sweep, what is not yet freed) ${formatBytes(estimate.beside)}` : '');
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
