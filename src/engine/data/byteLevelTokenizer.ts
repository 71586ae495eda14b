/**
 * Byte-level BPE (Radford et al. 2019) of a folder that has only `vocab.json` and `merges.txt`, as transformers' fast tokenizers
 * build it: the parts of GPT-2's, RoBERTa's and Qwen2's are always the same, the rest stands in the small files beside them.
 */
import { join } from 'node:path';
import { LabError } from '../errors';
import { lookUp, readJsonObject, readText } from '../files';

type Json = Record<string, unknown>;

/** The special tokens that have names, in transformers' order. */
const NAMES = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'];
const END = '<|endoftext|>';

/** What each class brings along: special tokens, and the part that cuts a text into words. */
const KINDS: Record<string, { class_name: string; defaults: Record<string, string>; parts: (add_prefix_space: boolean) => Json }> = {
  gpt2: {
    class_name: 'GPT2Tokenizer', defaults: { unk_token: END, bos_token: END, eos_token: END },
    parts: add_prefix_space => ({ normalizer: null, pre_tokenizer: { type: 'ByteLevel', add_prefix_space, trim_offsets: true, use_regex: true } }),
  },
  roberta: {
    class_name: 'RobertaTokenizer', defaults: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', sep_token: '</s>', pad_token: '<pad>', cls_token: '<s>', mask_token: '<mask>' },
    // Its own class puts these parts in.
    parts: () => ({ normalizer: null, pre_tokenizer: null }),
  },
  qwen2: {
    class_name: 'Qwen2Tokenizer', defaults: { unk_token: END, eos_token: END, pad_token: END },
    parts: add_prefix_space => ({
      normalizer: { type: 'NFC' },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', behavior: 'Isolated', invert: false, pattern: { Regex: "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" } },
          { type: 'ByteLevel', add_prefix_space, trim_offsets: true, use_regex: false },
        ],
      },
    }),
  },
};

interface AddedToken { content: string; single_word: boolean; lstrip: boolean; rstrip: boolean; normalized: boolean; special: boolean }

/**
 * Content of a `tokenizer.json` and of a `tokenizer_config.json` for such a folder. `tokenizer_class`, else `model_type` of config.json, says which kind it is.
 * Errors: `tokenizer.invalid`, `tokenizer.missing`, and those of the disk.
 */
export function readByteLevel(folder: string, config: Json, limit: number): { json: Json; config: Json } {
  const [vocabFile, mergesFile] = [join(folder, 'vocab.json'), join(folder, 'merges.txt')];
  if (!lookUp(mergesFile)?.isFile) throw new LabError({ code: 'tokenizer.missing', file: folder, cause: 'holds vocab.json but no merges.txt, and no tokenizer.json', action: 'add the tokenizer files of this checkpoint' });
  const kind = kindOf(folder, config);
  const vocab = readJsonObject(vocabFile, limit) as Record<string, number>;
  const merges = readMerges(mergesFile, vocab, limit);
  const whole: Json = { ...kind.defaults, ...config, ...(config.added_tokens_decoder ? {} : optional(folder, 'special_tokens_map.json')), tokenizer_class: kind.class_name };
  const bos = whole.add_bos_token === true ? textOf(whole.bos_token) : null, eos = whole.add_eos_token === true ? textOf(whole.eos_token) : null;
  const around = [bos, { Sequence: { id: 'A', type_id: 0 } }, eos].flatMap(part => (part === null ? [] : [typeof part === 'string' ? { SpecialToken: { id: part, type_id: 0 } } : part]));
  const json = {
    added_tokens: addedTokens(folder, whole, vocab),
    ...kind.parts(whole.add_prefix_space === true),
    post_processor: bos === null && eos === null ? null : { type: 'TemplateProcessing', single: around, pair: around, special_tokens: {} },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, byte_fallback: false, vocab, merges },
  };
  return { json, config: whole };
}

function kindOf(folder: string, config: Json): (typeof KINDS)[string] {
  const { tokenizer_class, model_type } = optional(folder, 'config.json');
  const name = String(config.tokenizer_class ?? tokenizer_class ?? model_type ?? '');
  const found = Object.entries(KINDS).find(([type, { class_name }]) => name === type || name.replace(/Fast$/, '') === class_name)?.[1];
  // Qwen3 has Qwen2's tokenizer.
  if (found ?? (name === 'qwen3' ? KINDS.qwen2 : undefined)) return found ?? KINDS.qwen2;
  throw new LabError({
    code: 'tokenizer.missing', file: folder, where: 'tokenizer_class', cause: `holds no tokenizer.json, and vocab.json with merges.txt is read for ${Object.values(KINDS).map(kind => kind.class_name).join(', ')} only, not for "${name}"`,
    action: 'write a tokenizer.json: AutoTokenizer.from_pretrained(folder).save_pretrained(folder) in transformers',
  });
}

/** Pairs to be joined, in their order. A line `#version …` and the line end of the last pair are no pairs. */
function readMerges(file: string, vocab: Record<string, number>, limit: number): [string, string][] {
  const lines = readText(file, limit).split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines.flatMap((line, i): [string, string][] => {
    if (line.startsWith('#version')) return [];
    const parts = line.split(' ');
    const wrong = parts.length !== 2 ? `"${line.slice(0, 40)}" is not a pair of tokens` : [...parts, parts.join('')].find(token => !Object.hasOwn(vocab, token));
    if (wrong === undefined) return [parts as [string, string]];
    throw new LabError({ code: 'tokenizer.invalid', file, where: `line ${i + 1}`, cause: parts.length !== 2 ? wrong : `the token "${wrong}" is not in vocab.json`, action: 'use the tokenizer files that belong to this checkpoint' });
  });
}

/** Tokens that are found in a text before it is cut into words: those that the files list, then the special tokens with names. */
function addedTokens(folder: string, config: Json, vocab: Record<string, number>): (AddedToken & { id: number })[] {
  const named = NAMES.flatMap(name => (config[`${name}_token`] == null ? [] : [config[`${name}_token`]]));
  const extra = [config.extra_special_tokens ?? config.additional_special_tokens ?? []].flat();
  const special = new Set([...named, ...extra].map(textOf));
  const byNumber = ([a]: [string, unknown], [b]: [string, unknown]): number => Number(a) - Number(b);
  const listed: unknown[] = config.added_tokens_decoder
    ? Object.entries(config.added_tokens_decoder as Record<string, Json>).sort(byNumber).map(([, token]) => ({ ...token, special: token.special === true || special.has(textOf(token)) }))
    : Object.entries(optional(folder, 'added_tokens.json')).map(([content, id]): [string, unknown] => [String(id), { content, special: special.has(content) }]).sort(byNumber).map(([, token]) => token);
  const tokens = new Map<string, AddedToken & { id: number }>();
  let next = Object.keys(vocab).length;
  const add = (value: unknown, always: boolean): void => {
    const content = textOf(value);
    if (content === null || content === '' || tokens.has(content)) return;
    const flags = typeof value === 'object' ? value as Partial<AddedToken> : {};
    const is = flags.special === true || always;
    // A token of the vocabulary keeps its number; others follow it, whatever number the file gives them.
    const id = Object.hasOwn(vocab, content) ? vocab[content] : next++;
    tokens.set(content, { content, id, single_word: flags.single_word === true, lstrip: flags.lstrip === true, rstrip: flags.rstrip === true, normalized: flags.normalized ?? !is, special: is });
  };
  for (const token of listed) add(token, false);
  for (const token of [...named, ...extra]) add(token, true);
  return [...tokens.values()];
}

const optional = (folder: string, name: string): Json => {
  const file = join(folder, name);
  return lookUp(file)?.isFile ? readJsonObject(file, 16 << 20) : {};
};

/** A token is a text or `{ "content": text, … }`. */
function textOf(value: unknown): string | null {
  const content = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
  return typeof content === 'string' ? content : null;
}
