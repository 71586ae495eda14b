/** How a tokenizer puts special tokens around a text or a pair of texts, and how a pair is cut. */
import type { Tokenizer } from '@huggingface/tokenizers';

export interface Template {
  /** Numbers of special tokens, and the places of the texts. */
  parts: (number | 'text' | 'pair')[];
  /** Segment number of each part; null where all are 0. */
  types: number[] | null;
  /** How many of the parts are special tokens. */
  special: number;
}

/** Stand for the texts' own tokens when the template is asked for. */
const TEXT = '\u0000text';
const PAIR = '\u0000pair';

/** The template for one text, or for two. `number` gives the number of a special token, or throws. */
export function templateOf({ post_processor }: Pick<Tokenizer, 'post_processor'>, of: 'text' | 'pair', number: (token: string) => number): Template {
  const second = of === 'pair' ? [PAIR] : null;
  const { tokens, token_type_ids } = post_processor?.([TEXT], second, true) ?? { tokens: [TEXT, ...second ?? []], token_type_ids: [0, ...second ? [1] : []] };
  if (!tokens.includes(TEXT) || second && !tokens.includes(PAIR)) throw new Error(`its post-processor leaves the ${tokens.includes(TEXT) ? 'second ' : ''}text out`);
  const parts = tokens.map((token: string) => (token === TEXT ? 'text' : token === PAIR ? 'pair' : number(token)));
  return { parts, types: token_type_ids?.some(type => type !== 0) ? token_type_ids : null, special: parts.filter(part => typeof part === 'number').length };
}

/** The tokens and segment numbers of a template with the texts' tokens in their places. */
export function fillTemplate({ parts, types }: Template, text: readonly number[], pair: readonly number[]): { input_ids: Int32Array; token_type_ids: Int32Array | null } {
  const own = (part: Template['parts'][number]): readonly number[] => (part === 'text' ? text : part === 'pair' ? pair : [part]);
  return {
    input_ids: Int32Array.from(parts.flatMap(own)),
    token_type_ids: types && Int32Array.from(parts.flatMap((part, i) => own(part).map(() => types[i]))),
  };
}

/**
 * How many tokens of each text of a pair stay if together they may have `room`: the longer text is cut until both are equally
 * long, then both. With an odd room the longer text keeps the odd token, the second one if they are equal: `longest_first`.
 */
export function longestFirst(first: number, second: number, room: number): [number, number] {
  if (first + second <= room) return [first, second];
  const [shorter, longer] = first > second ? [second, first] : [first, second];
  const half = Math.floor(room / 2);
  const [short, long] = 2 * shorter <= room ? [shorter, Math.min(longer, room - shorter)] : [half, half + room % 2];
  return first > second ? [long, short] : [short, long];
}
