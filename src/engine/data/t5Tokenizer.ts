/**
 * T5's tokenizer as transformers 5 builds it: its T5Tokenizer takes vocabulary, added tokens and the character map from
 * `tokenizer.json`; how texts are cut into words and what ends them is always the same.
 */
import { LabError } from '../errors';

type Json = Record<string, unknown>;

/** Unicode's White_Space, which Rust splits at: JavaScript's \s lacks U+0085 and holds U+FEFF. */
const WHITE_SPACE = '[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
/** The place of the unknown token in every T5 vocabulary. */
const UNKNOWN = 2;

/** Whether transformers rebuilds this tokenizer: T5Tokenizer, T5TokenizerFast, MT5Tokenizer. */
export const isT5Tokenizer = (json: Json, config: Json): boolean =>
  (json.model as Json | null | undefined)?.type === 'Unigram' && /^M?T5Tokenizer(Fast)?$/.test(String(config.tokenizer_class));

/** `tokenizer.json` with the parts that transformers builds anew. `file` is named in errors: `tokenizer.invalid`. */
export function t5Tokenizer(json: Json, config: Json, file: string): Json {
  const model = json.model as Json & { vocab: [string, number][] };
  const eos = specialText(config.eos_token) ?? '</s>';
  const id = model.vocab.findIndex(([token]) => token === eos);
  if (id < 0) throw new LabError({ code: 'tokenizer.invalid', file, cause: `the end-of-text token "${eos}" is not in the vocabulary`, action: 'use the tokenizer files that belong to this checkpoint' });
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };
  return {
    ...json,
    normalizer: precompiled(json.normalizer as Json | null),
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: WHITE_SPACE }, behavior: 'Removed', invert: false }, metaspace] },
    decoder: metaspace,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: eos, type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: eos, type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }, { SpecialToken: { id: eos, type_id: 0 } }],
      special_tokens: { [eos]: { id: eos, ids: [id], tokens: [eos] } },
    },
    model: { ...model, unk_id: UNKNOWN, byte_fallback: false },
  };
}

/** The first character map of a normalizer; others are not kept. */
function precompiled(normalizer: Json | null): Json | null {
  const parts = normalizer?.type === 'Sequence' ? normalizer.normalizers as Json[] : normalizer ? [normalizer] : [];
  return parts.find(part => part.type === 'Precompiled') ?? null;
}

function specialText(value: unknown): string | undefined {
  const text = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
  return typeof text === 'string' ? text : undefined;
}
