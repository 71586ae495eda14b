/**
 * BERT's tokenizers as transformers builds them: from the vocabulary and `tokenizer_config.json`. Its BertTokenizer takes
 * only vocabulary and added tokens from `tokenizer.json`; upper and lower case are always what the config says.
 */
import { BertNormalizer } from '@huggingface/tokenizers';
import { LabError } from '../errors';
import { readText } from '../files';
import { numberIn, type Vocabulary } from './vocabulary';

type Json = Record<string, unknown>;

/** Whether transformers rebuilds this tokenizer from its config: BertTokenizer, DistilBertTokenizer and the like, also what a BERT without `tokenizer_class` gets. */
export function isBertTokenizer(json: Json, config: Json): boolean {
  const model = json.model as Json | null | undefined;
  const wordPiece = model?.type === 'WordPiece' || model?.type == null && model?.continuing_subword_prefix === '##' && !('merges' in model);
  return wordPiece && (json.normalizer as Json | null)?.type === 'BertNormalizer' && /(^|[a-z])BertTokenizer(Fast)?$/.test(String(config.tokenizer_class ?? 'BertTokenizer'));
}

/** `tokenizer.json` with the parts that transformers builds anew. `file` is named in errors: `tokenizer.invalid`. */
export function bertTokenizer(json: Json, config: Json, file: string): Json {
  const model = json.model as Json;
  const vocab = model.vocab as Vocabulary;
  const special = (name: string): { content: string; id: number } => {
    const content = specialName(config, name);
    const id = numberIn(vocab, content) ?? (json.added_tokens as { content: string; id: number }[]).find(token => token.content === content)?.id;
    if (typeof id === 'number') return { content, id };
    throw new LabError({ code: 'tokenizer.invalid', file, cause: `the special token "${content}" is not in the vocabulary`, action: 'use the tokenizer files that belong to this checkpoint' });
  };
  const [unk, cls, sep] = ['unk', 'cls', 'sep'].map(special);
  return {
    ...json,
    normalizer: {
      type: 'BertNormalizer', clean_text: true, handle_chinese_chars: config.tokenize_chinese_chars ?? true,
      strip_accents: config.strip_accents ?? null, lowercase: config.do_lower_case ?? true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: [sep.content, sep.id], cls: [cls.content, cls.id] },
    model: { ...model, type: 'WordPiece', unk_token: unk.content },
  };
}

/** `vocab.txt` of an older checkpoint in the form of a `tokenizer.json`: one token per line, the line is its number. Errors: those of `readText`. */
export function readVocabulary(file: string, config: Json): Json {
  const lines = readText(file, 64 << 20).split(/\r\n|\r|\n/);
  if (lines.at(-1) === '') lines.pop();
  const vocab = new Map(lines.map((token, number) => [token, number]));
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const added = new Map<number, Json>();
  for (const name of ['pad', 'unk', 'cls', 'sep', 'mask']) {
    const content = specialName(config, name);
    const id = vocab.get(content);
    if (id !== undefined) added.set(id, { ...plain, content });
  }
  for (const [id, token] of Object.entries(config.added_tokens_decoder ?? {})) added.set(Number(id), { ...plain, ...token as Json });
  return {
    added_tokens: [...added].map(([id, token]) => ({ ...token, id })),
    normalizer: null, pre_tokenizer: null, post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: { type: 'WordPiece', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
  };
}

/** A token in `tokenizer_config.json` is a text or `{ "content": text, … }`. */
function specialName(config: Json, name: string): string {
  const value = config[`${name}_token`];
  const content = typeof value === 'string' ? value : (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : `[${name.toUpperCase()}]`;
}

/** Ideographs outside the basic plane, which the library's own normalizer takes for two characters each. */
const RARE_IDEOGRAPHS = /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

/**
 * BertNormalizer with the two places corrected in which JavaScript's strings lead it away from transformers. What remains:
 * 671 marks and punctuation signs of scripts that are newer than Rust's tables of Unicode, e.g. U+08D4 or U+2E43.
 */
export class ExactBertNormalizer extends BertNormalizer {
  override normalize(text: string): string {
    // Nothing else changes in these; the library looks at every character with several expressions.
    if (/^[ -~]*$/.test(text)) return this.config.lowercase ? text.toLowerCase() : text;
    if (this.config.handle_chinese_chars) text = text.replace(RARE_IDEOGRAPHS, ' $& ');
    // JavaScript makes ς of a Σ at the end of a word, Rust's character by character σ.
    if (this.config.lowercase) text = text.replaceAll('Σ', 'σ');
    return super.normalize(text);
  }
}
