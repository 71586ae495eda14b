/**
 * Vocabularies of tokenizers, gone through once: the library alone makes a list, a map and an array of one, which for 30,000
 * tokens is a third of what a tokenizer takes to load.
 */
import { Tokenizer } from '@huggingface/tokenizers';

/** Tokens with their numbers, as `tokenizer.json` has them, or as read from a list. */
export type Vocabulary = Record<string, unknown> | ReadonlyMap<string, number>;

/** The number of a token, as it is written; undefined if the vocabulary lacks it. */
export const numberIn = (vocab: Vocabulary, token: string): unknown => (vocab instanceof Map ? vocab.get(token) : Object.hasOwn(vocab, token) ? (vocab as Record<string, unknown>)[token] : undefined);

/** Throws an Error for a token whose number is none. */
function numbersOf(vocab: Vocabulary): Map<string, number> {
  if (vocab instanceof Map) return vocab as Map<string, number>;
  const numbers = new Map<string, number>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!Number.isSafeInteger(id) || (id as number) < 0) throw new Error(`the number of the token "${token}" is ${JSON.stringify(id)}`);
    numbers.set(token, id as number);
  }
  return numbers;
}

/** The library's tokenizer of a `tokenizer.json`. Throws an Error for a model that it does not know, and for a vocabulary that is none. */
export function buildTokenizer(json: Record<string, unknown>, config: Record<string, unknown>): Tokenizer {
  const { type = null, vocab, unk_token } = json.model as Record<string, unknown>;
  // The library takes any other type for the one that its keys resemble. Old files give no type.
  if (type !== null && !['WordPiece', 'BPE', 'Unigram'].includes(String(type))) throw new Error(`models of the type "${String(type)}" are not supported`);
  if (Array.isArray(vocab)) return new Tokenizer(json, config);
  const numbers = numbersOf(vocab as Vocabulary);
  if (type === null) return new Tokenizer(json, config);
  const unknown = numbers.get(String(unk_token));
  const tokenizer = new Tokenizer({ ...json, model: { ...json.model as object, vocab: unknown === undefined ? {} : { [String(unk_token)]: unknown } } }, config);
  const model = tokenizer.model!;
  for (const [token, id] of numbers) model.vocab[id] = token;
  // Added tokens, which the library has entered already, count before those of the vocabulary.
  for (const [token, id] of model.tokens_to_ids) {
    numbers.set(token, id);
    model.vocab[id] = token;
  }
  model.tokens_to_ids = numbers;
  return tokenizer;
}
