/**
 * Tokenizers of decoders that transformers 5 builds from their class: Llama 2's and GPT-2's take vocabulary, merges, added tokens and
 * template from `tokenizer.json`; how texts are cut and written is the class's.
 */
import { join } from 'node:path';
import { lookUp, readJsonObject } from '../files';

type Json = Record<string, unknown>;
interface AddedToken { id: number; content: string; single_word: boolean; lstrip: boolean; rstrip: boolean; normalized: boolean; special: boolean }

/** Their `tokenizer.json` is taken as it is, or as Qwen2's, whatever class is named. */
const OTHERWISE = ['mistral', 'phi3', 'qwen2'];
const LARGEST_CONFIG = 16 << 20;

/** The class that transformers' AutoTokenizer builds for a checkpoint folder: as a tokenizer's config says, else the model's. Empty if that builds none of these. Errors: those of the disk. */
export function builtClass(folder: string, config: Json): string {
  const file = join(folder, 'config.json');
  const model = lookUp(file)?.isFile ? readJsonObject(file, LARGEST_CONFIG) : {};
  if (OTHERWISE.includes(String(model.model_type))) return '';
  return String(config.tokenizer_class ?? model.tokenizer_class ?? (model.model_type === 'gpt2' ? 'GPT2Tokenizer' : '')).replace(/Fast$/, '');
}

/** `tokenizer.json` with the parts that transformers builds anew for a class of `builtClass`; as it is for others. */
export function rebuilt(json: Json, config: Json, class_name: string): Json {
  if ((json.model as Json | null | undefined)?.type !== 'BPE') return json;
  if (class_name === 'GPT2Tokenizer') return gpt2Tokenizer(json, config);
  // Byte-level vocabularies under Llama's name, such as those distilled from DeepSeek R1: transformers takes these as they are by the checkpoint's name.
  return class_name === 'LlamaTokenizer' && !/"type":"ByteLevel"/.test(JSON.stringify(json.pre_tokenizer)) ? llamaTokenizer(json, config) : json;
}

function gpt2Tokenizer(json: Json, config: Json): Json {
  const end = '<|endoftext|>';
  return {
    ...json, added_tokens: addedTokens(json, config, { unk: end, bos: end, eos: end }), normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: config.add_prefix_space === true, trim_offsets: true, use_regex: true },
    decoder: { type: 'ByteLevel' },
    model: { ...json.model as Json, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, byte_fallback: false, ignore_merges: false },
  };
}

/** SentencePiece's BPE with bytes for what the vocabulary lacks. Unless `legacy`, a ▁ is put before the beginning of the whole text alone, not before what follows a special token. */
function llamaTokenizer(json: Json, config: Json): Json {
  const prefix = config.add_prefix_space !== false;
  const prepend_scheme = !prefix ? 'never' : config.legacy ? 'always' : 'first';
  return {
    ...json, added_tokens: addedTokens(json, config, { unk: '<unk>', bos: '<s>', eos: '</s>' }), normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme, split: false },
    decoder: {
      type: 'Sequence',
      decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [])],
    },
    model: { ...json.model as Json, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false },
  };
}

/** The file's added tokens and, of the special tokens with names, those that stand in the vocabulary alone. `usual`: what the class calls them. */
function addedTokens({ added_tokens, model }: Json, config: Json, usual: Record<string, string>): AddedToken[] {
  const { vocab } = model as { vocab?: unknown };
  const tokens = [...(added_tokens ?? []) as AddedToken[]];
  for (const name of ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask']) {
    const given = config[`${name}_token`] as string | { content?: unknown } | null | undefined;
    const content = (typeof given === 'object' ? given?.content : given) ?? usual[name];
    if (typeof content !== 'string' || tokens.some(token => token.content === content) || typeof vocab !== 'object' || vocab === null || !Object.hasOwn(vocab, content)) continue;
    tokens.push({ id: (vocab as Record<string, number>)[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true });
  }
  return tokens;
}
