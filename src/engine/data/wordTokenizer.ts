/** Tokens of a text that is split into words already, as transformers gives them for `is_split_into_words`. */
import type { LanguageTokenizer } from './tokenizer';

export interface EncodedWords {
  input_ids: Int32Array;
  /** Place of each word's first token; -1 for a word that has none, or was cut off. [words] */
  first: Int32Array;
  /** Whether tokens were left out. */
  cut: boolean;
}

export interface WordTokenizer {
  /** Tokens of the words, one after the other, with the special tokens around them; those beyond `max_length` in all are cut off. */
  encode(words: readonly string[], max_length: number): EncodedWords;
}

type Json = Record<string, unknown>;

/** Every word is tokenized by itself. `tokenizer` is that of `loadTokenizer(folder, { words: true })`. */
export function wordTokenizer(tokenizer: Pick<LanguageTokenizer, 'tokens' | 'around'>): WordTokenizer {
  const { before, after } = tokenizer.around;
  return {
    encode(words, max_length) {
      const room = Math.max(0, max_length - before.length - after.length);
      const own: number[] = [];
      const first = Int32Array.from(words, word => {
        const tokens = tokenizer.tokens(word);
        const place = own.length;
        own.push(...tokens);
        return tokens.length && place < room ? before.length + place : -1;
      });
      return { input_ids: Int32Array.from([...before, ...own.slice(0, room), ...after]), first, cut: own.length > room };
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
