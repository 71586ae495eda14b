/** The settings of writing: greedy or drawn, and the numbers that belong to each, with the ranges of the protocol's table. */
import { GENERATION, wrongSetting, type GenerationKey } from '../src/protocol/generation';
import type { WriteSettings } from '../src/protocol/panel';
import { readNumber } from '../src/protocol/typedNumber';
import { h, setAttributes, setText, show } from './dom';
import { describeField, dropdown, setChoice, setDisabled, setField, textField, type TextField } from './ui';

const MODES = ['Greedy', 'Sampled'] as const;
/** The fields of the form. The repetition penalty is the checkpoint's. */
const NAMES: Partial<Record<GenerationKey, string>> = { max_new_tokens: 'Max tokens', temperature: 'Temperature', top_p: 'Top p', top_k: 'Top k', seed: 'Seed' };
/** What transformers draws with by itself; greedy needs none of them. */
const SAMPLED: Partial<Record<GenerationKey, number>> = { temperature: 1, top_k: 50 };
/** Only these have a meaning when tokens are drawn. */
const DRAWN: GenerationKey[] = ['temperature', 'top_p', 'top_k', 'seed'];

/** What a person has chosen and typed: the decoding as `mode`, and the text of each field. */
export type WriteInput = Record<string, string>;

export interface WriteForm {
  element: HTMLElement;
  /** Undefined while a field holds what is not possible. */
  settings(): WriteSettings | undefined;
  setDisabled(disabled: boolean): void;
  input(): WriteInput;
  restore(input: WriteInput): void;
}

/** The form. `changed` is called whenever `settings` may answer otherwise. */
export function writeForm(changed: () => void): WriteForm {
  let mode: (typeof MODES)[number] = 'Greedy';
  const message = h('p', { class: 'message problem', id: 'write-problem', role: 'alert', hidden: true });
  const fields = new Map((Object.keys(NAMES) as GenerationKey[]).map(key => [key, field(key)] as const));
  const choice = dropdown('Decoding', 'write.mode', MODES, text => {
    mode = text as typeof mode;
    redraw();
  });
  const shown = (): GenerationKey[] => [...fields.keys()].filter(key => mode === 'Sampled' || !DRAWN.includes(key));

  function field(key: GenerationKey): { element: HTMLElement; input: TextField; read(): ReturnType<typeof readNumber> } {
    const input = textField(NAMES[key]!, `write.${key}`, redraw, () => {});
    setField(input, String(SAMPLED[key] ?? GENERATION[key].default));
    input.title = GENERATION[key].doc;
    return { element: h('div', { class: 'write-field' }, h('span', { class: 'label', 'aria-hidden': 'true', title: GENERATION[key].doc }, NAMES[key]!), input), input, read: () => readNumber(input.value, GENERATION[key].type === 'integer') };
  }

  /** The first field that holds what is not possible. A temperature of 0 would be greedy. */
  const problem = (): { key: GenerationKey; text: string } | undefined => {
    for (const key of shown()) {
      const read = fields.get(key)!.read();
      if ('wrong' in read) return { key, text: `${NAMES[key]}: ${read.wrong}` };
      const { value } = read;
      const right = key === 'temperature' && value === 0 ? 'a number above 0, or choose Greedy' : wrongSetting(key, value);
      if (right) return { key, text: `${NAMES[key]}: give ${right}` };
    }
    return undefined;
  };

  function draw(): void {
    const wrong = problem();
    for (const [key, { element, input }] of fields) {
      show(element, shown().includes(key));
      setAttributes(input, { 'aria-invalid': wrong?.key === key && 'true' });
      describeField(input, wrong?.key === key ? wrong.text : '');
    }
    setText(message, wrong?.text ?? '');
    show(message, wrong !== undefined);
  }
  function redraw(): void {
    draw();
    changed();
  }

  const element = h('div', { class: 'write-form', role: 'group', 'aria-label': 'Settings of writing' },
    h('div', { class: 'write-field write-mode' }, h('span', { class: 'label', 'aria-hidden': 'true' }, 'Decoding'), choice), ...[...fields.values()].map(entry => entry.element), message);
  draw();
  return {
    element,
    settings() {
      if (problem()) return undefined;
      return Object.fromEntries(shown().flatMap(key => {
        const read = fields.get(key)!.read();
        return 'value' in read ? [[key, read.value]] : [];
      }));
    },
    setDisabled(disabled) {
      for (const { input } of fields.values()) setDisabled(input, disabled);
      setDisabled(choice, disabled);
    },
    input: () => ({ mode, ...Object.fromEntries([...fields].map(([key, { input }]) => [key, input.value])) }),
    restore(given) {
      mode = MODES.find(each => each === given.mode) ?? mode;
      setChoice(choice, mode);
      for (const [key, { input }] of fields) setField(input, given[key] ?? input.value);
      redraw();
    },
  };
}
