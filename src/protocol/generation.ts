/** Settings of writing with a language model, named as in transformers' GenerationConfig: defaults and ranges for the engine, the command line and the panel. */
import type { Setting } from './experiment';

export const GENERATION = {
  max_new_tokens: { type: 'integer', default: 64, minimum: 1, doc: 'Most tokens that are written.' },
  temperature: { type: 'number', default: 0, minimum: 0, doc: '0 takes the most probable token each time (greedy). Above 0 tokens are drawn; the higher, the more even their chances.' },
  top_p: { type: 'number', default: 1, exclusiveMinimum: 0, maximum: 1, doc: 'Draw only from the most probable tokens that together reach this share; 1 for all.' },
  top_k: { type: 'integer', default: 0, minimum: 0, doc: 'Draw only from so many of the most probable tokens; 0 for all.' },
  repetition_penalty: { type: 'number', default: 1, exclusiveMinimum: 0, doc: 'Above 1 tokens that are in the prompt or were written become less probable: positive logits are divided by it, negative ones multiplied. Without it that of the checkpoint\'s generation_config.json, else 1.' },
  seed: { type: 'integer', default: 42, minimum: 0, maximum: 4294967295, doc: 'What is drawn follows from it.' },
} as const satisfies Record<string, Setting<number>>;

export type GenerationKey = keyof typeof GENERATION;
export type GenerationSettings = Record<GenerationKey, number>;
export const GENERATION_KEYS = Object.keys(GENERATION) as GenerationKey[];

/** What `value` must be instead, or undefined if it is possible: `a whole number of at least 1`. */
export function wrongSetting(key: GenerationKey, value: number): string | undefined {
  const { type, minimum, exclusiveMinimum, maximum }: Setting<number> = GENERATION[key];
  const possible = Number.isFinite(value) && (type !== 'integer' || Number.isSafeInteger(value))
    && !(value < (minimum ?? -Infinity)) && !(value <= (exclusiveMinimum ?? -Infinity)) && !(value > (maximum ?? Infinity));
  if (possible) return undefined;
  const bounds = [minimum !== undefined && `of at least ${minimum}`, exclusiveMinimum !== undefined && `above ${exclusiveMinimum}`, maximum !== undefined && `at most ${maximum}`].filter(Boolean);
  return `a ${type === 'integer' ? 'whole number' : 'number'} ${bounds.join(' and ')}`;
}
