/** Trainable ratio, adapter size and memory: what the settings cost, before anything is trained. */
import { formatBytes, formatCount, formatInteger } from '../src/protocol/adapterMath';
import { h, setText, show } from './dom';
import { formatPercent, roughBytes } from './format';
import type { Part } from './view';

/** The box of figures that follow every movement of a slider. */
export function costBox(): Part {
  const figure = (id: string, title: string): { element: HTMLElement; value: HTMLElement; note: HTMLElement } => {
    const value = h('dd', { id, class: 'value' }, '–');
    const note = h('dd', { class: 'detail' });
    return { element: h('div', { class: 'figure' }, h('dt', {}, title), value, note), value, note };
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
  const empty = h('p', { class: 'summary' }, 'Known when the base model has been read.');
  const filled = h('div', { class: 'cost' },
    h('dl', { class: 'figures' }, ratio.element, size.element, memory.element),
    h('div', { class: 'stack', id: 'parameter-bar', 'aria-hidden': 'true' }, ...segments),
    h('ul', { class: 'legend' }, ...legend.map(entry => entry.element)),
    line);

  return {
    element: h('div', { class: 'card', id: 'cost' }, h('h2', {}, 'Cost'), empty, filled),
    update({ cost }) {
      show(empty, !cost);
      show(filled, !!cost);
      if (!cost) return;
      const { count, percent, memory: estimate, groups } = cost;
      setText(ratio.value, formatPercent(percent));
      setText(ratio.note, `${formatInteger(count.trainable_parameters)} parameters`);
      setText(size.value, formatBytes(count.adapter_bytes));
      setText(size.note, `${count.adapters.length} adapters`);
      setText(memory.value, `≈ ${roughBytes(estimate.total)}`);
      setText(memory.note, 'estimated');
      memory.element.title = `Estimated from shapes, if every text has max_length tokens:\nbase weights ${formatBytes(estimate.weights)}\n`
        + `trained weights, gradients, AdamW ${formatBytes(estimate.training)}\nactivations ${formatBytes(estimate.activations)}`;
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
