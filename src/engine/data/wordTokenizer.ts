/** Tokens of a text that is split into words already, as transformers gives them for `is_split_into_words`. */
import type { LanguageTokenizer } from './tokenizer';
import { keptRange } from './truncation';

export interface EncodedWords {
  input_ids: Int32Array;
  /** Place of each word's first token that is left; -1 for a word that has none, or was cut off. [words] */
  first: Int32Array;
  /** Whether tokens were left out. */
  cut: boolean;
}

export interface WordTokenizer {
  /** Tokens of the words, one after the other, with the special tokens around them; at most `max_length` in all: others are cut off, at the end that `truncation_side` says. */
  encode(words: readonly string[], max_length: number): EncodedWords;
}

type Json = Record<string, unknown>;

/** Every word is tokenized by itself. `tokenizer` is that of `loadTokenizer(folder, { words: true })`. */
export function wordTokenizer(tokenizer: Pick<LanguageTokenizer, 'tokens' | 'around' | 'truncation_side'>): WordTokenizer {
  const { before, after } = tokenizer.around;
  return {
    encode(words, max_length) {
      const room = Math.max(0, max_length - before.length - after.length);
      const own: number[] = [];
      const ends = words.map(word => own.push(...tokenizer.tokens(word)));
      const [begin, end] = keptRange(own.length, room, tokenizer.truncation_side);
      const first = Int32Array.from(ends, (last, i) => {
        const place = Math.max(begin, ends[i - 1] ?? 0);
        return place < Math.min(end, last) ? before.length + place - begin : -1;
      });
      return { input_ids: Int32Array.from([...before, ...own.slice(begin, end), ...after]), first, cut: own.length > room };
    },
  };
}

/** `tokenizer.json` with a space before every word where it takes text byte by byte, as `run_ner` sets `add_prefix_space` for RoBERTa. */
export function withPrefixSpace(json: Json): Json {
  const changed = (part: unknown): unknown => {
    if (typeof part !== 'object' || part === null) return part;
    const { type, pretokenizers } = part as Json;
    if (type === 'ByteLevel') return { ...part, add_prefix_space: true };
    return Array.isArray(pretokenizers) ? { ...part, pretokenizers: pretokenizers.map(changed) } : part;
  };
  return { ...json, pre_tokenizer: changed(json.pre_tokenizer) };
}
