/** What stands in the panel when no experiment is open. */
import { h } from './dom';
import { icon } from './dom';
import { button } from './ui';
import type { Host } from './view';

/** W beside the thin pair A and B: the picture of the method. */
const LOGO = 'M1 2h6v12H1zM2 3v10h4V3zM9 2h2v12H9zM12 2h3v2h-3z';

/** New and Open. */
export function emptyState(host: Host): HTMLElement {
  return h('section', { class: 'empty', id: 'empty', 'aria-labelledby': 'empty-title' },
    icon(LOGO, 'logo'),
    h('h1', { id: 'empty-title' }, 'No experiment is open'),
    h('p', {}, 'An experiment is a .lora.json file: a base model, a data set, and the adapter that is trained on it.'),
    h('div', { class: 'buttons' },
      button({ label: 'New experiment…', appearance: 'primary', action: 'newExperiment', press: () => host.act('newExperiment') }),
      button({ label: 'Open experiment…', action: 'pickExperiment', press: () => host.act('pickExperiment') })));
}
