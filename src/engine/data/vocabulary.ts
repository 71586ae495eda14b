/** Older BERT checkpoints have no `tokenizer.json`, only `vocab.txt`: one token per line, the line is its number. */
import { LabError } from '../errors';
import { readText } from '../files';

/** The same tokenizer as a `tokenizer.json`. Errors: `tokenizer.invalid`, and those of the disk. */
export function wordPieceFromVocabulary(file: string, config: Record<string, unknown>): Record<string, unknown> {
  const lines = readText(file, 64 << 20).split(/\r\n|\r|\n/);
  if (lines.at(-1) === '') lines.pop();
  const vocab = Object.fromEntries(lines.map((token, number) => [token, number]));
  const [unk, sep, pad, cls, mask] = ['unk', 'sep', 'pad', 'cls', 'mask'].map(name => tokenName(config[`${name}_token`]) ?? `[${name.toUpperCase()}]`);
  for (const token of [unk, sep, cls]) {
    if (!Object.hasOwn(vocab, token)) throw new LabError({ code: 'tokenizer.invalid', file, cause: `the special token "${token}" is missing`, action: 'use the vocab.txt that belongs to this checkpoint' });
  }
  const special = [pad, unk, cls, sep, mask].filter(token => Object.hasOwn(vocab, token));
  return {
    added_tokens: special.map(content => ({ id: vocab[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: {
      type: 'BertNormalizer', clean_text: true, handle_chinese_chars: config.tokenize_chinese_chars ?? true,
      strip_accents: config.strip_accents ?? null, lowercase: config.do_lower_case ?? true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: [sep, vocab[sep]], cls: [cls, vocab[cls]] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: { type: 'WordPiece', unk_token: unk, continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab },
  };
}

/** A token in `tokenizer_config.json` is a text or `{ "content": text, … }`. */
function tokenName(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}
