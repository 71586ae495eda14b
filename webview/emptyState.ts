/** What stands in the panel when no experiment is open. */
import { h, icon } from './dom';
import { button } from './ui';
import type { Host } from './view';

/** W, and beside it the thin pair B and A: the picture of the method, as in the extension's icon. */
const LOGO = 'M1.8 1.8h7.7v7.7H1.8zM2.8 2.8v5.7h5.7v-5.7zM11.3 1.8h2.9v7.7h-2.9zM12.3 2.8v5.7h.9v-5.7zM1.8 11.3h7.7v2.9H1.8zM2.8 12.3v.9h5.7v-.9zM12.3 11.3h.9v1h1v.9h-1v1h-.9v-1h-1v-.9h1z';

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
