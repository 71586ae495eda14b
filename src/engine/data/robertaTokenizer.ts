/** RoBERTa's byte-level BPE as transformers builds it: its RobertaTokenizer takes only vocabulary, merges and added tokens from `tokenizer.json`. */
import { LabError } from '../errors';

type Json = Record<string, unknown>;

/** Whether transformers rebuilds this tokenizer from its config. */
export const isRobertaTokenizer = (json: Json, config: Json): boolean =>
  (json.model as Json | null | undefined)?.type === 'BPE' && /^RobertaTokenizer(Fast)?$/.test(String(config.tokenizer_class ?? ''));

/** `tokenizer.json` with the parts that transformers builds anew. `file` is named in errors: `tokenizer.invalid`. */
export function robertaTokenizer(json: Json, config: Json, file: string): Json {
  const model = json.model as Json;
  const vocab = model.vocab as Record<string, number>;
  const added = (json.added_tokens ?? []) as { content: string; id: number }[];
  const special = (name: string, usual: string): [string, number] => {
    const value = config[`${name}_token`] as string | { content?: unknown } | null | undefined;
    const given = typeof value === 'string' ? value : value?.content;
    const content = typeof given === 'string' ? given : usual;
    const id = Object.hasOwn(vocab, content) ? vocab[content] : added.find(token => token.content === content)?.id;
    if (typeof id === 'number') return [content, id];
    throw new LabError({ code: 'tokenizer.invalid', file, cause: `the special token "${content}" is not in the vocabulary`, action: 'use the tokenizer files that belong to this checkpoint' });
  };
  const add_prefix_space = config.add_prefix_space === true;
  return {
    ...json, added_tokens: added, normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space, trim_offsets: true, use_regex: true },
    post_processor: { type: 'RobertaProcessing', sep: special('sep', '</s>'), cls: special('cls', '<s>'), trim_offsets: config.trim_offsets ?? true, add_prefix_space },
    decoder: { type: 'ByteLevel' },
    model: { ...model, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false },
  };
}
