/** From text to the token numbers of a checkpoint, equal to what transformers' fast tokenizers give. */
import { join } from 'node:path';
import { createContext, Script } from 'node:vm';
import { LabError } from '../errors';
import { lookUp, readJsonObject } from '../files';
import { bertTokenizer, isBertTokenizer, readVocabulary } from './bertTokenizer';
import { readByteLevel } from './byteLevelTokenizer';
import { cleansUp, cleanUp, settledPart } from './cleanUp';
import { exactNormalizer, exactPreTokenizer } from './exactParts';
import { fillTemplate, longestFirst, templateOf, type Template } from './pairs';
import { builtClass, rebuilt } from './rebuiltTokenizers';
import { isRobertaTokenizer, robertaTokenizer } from './robertaTokenizer';
import { isT5Tokenizer, t5Tokenizer } from './t5Tokenizer';
import { keptRange, sideOf, type Side } from './truncation';
import { buildTokenizer } from './vocabulary';
import { withPrefixSpace } from './wordTokenizer';

export interface TextTokenizer {
  /**
   * Tokens of a text, or of a text and its `pair`, with the special tokens around them, at most `max_length` in all: own tokens
   * are cut at the end that `truncation_side` says, of a pair those of the longer text first. `token_type_ids` are null where all are 0. `cut` tells whether tokens were left out.
   * Error: `tokenizer.too-slow`, only for tokenizers that split with regular expressions of their own.
   */
  encode(text: string, max_length: number, pair?: string | null): { input_ids: Int32Array; token_type_ids: Int32Array | null; cut: boolean };
}

/** What language models need beside it. */
export interface LanguageTokenizer extends TextTokenizer {
  /** A text's own tokens, special tokens within it included. Error: as `encode`. */
  tokens(text: string): number[];
  /** The end at which texts that are too long are cut. */
  truncation_side: Side;
  /** Special tokens that belong before a text, such as a BOS token. */
  before: readonly number[];
  /** The special tokens on either side of a text. */
  around: { before: readonly number[]; after: readonly number[] };
  /** Number of a token; undefined if the vocabulary lacks it. */
  numberOf(token: string): number | undefined;
  /** The text that tokens stand for, without special tokens. */
  decode(ids: ArrayLike<number>): string;
  /** What each of some tokens adds to the text, special tokens included. A character of several tokens comes with the last of them. [tokens] */
  pieces(ids: ArrayLike<number>): { text: string; special: boolean }[];
  /** The beginning of that text which stays as it is whatever tokens follow. */
  certain(ids: ArrayLike<number>): string;
  /** Content of `tokenizer_config.json`. */
  config: Record<string, unknown>;
}

/** Vocabularies of 250,000 entries take about 20 MB. */
const LARGEST_FILE = 128 << 20;
/** Time that regular expressions of a tokenizer.json may take for one text, in milliseconds. */
const LONGEST_MATCH = 2000;

/**
 * The tokenizer of a checkpoint folder: `tokenizer.json` with `tokenizer_config.json` if there is one, else `vocab.txt` of a BERT, else `vocab.json` with
 * `merges.txt` of a byte-level BPE.
 * With `words` it is given single words: one that takes text byte by byte puts a space before each.
 * Errors: `tokenizer.missing`, `tokenizer.invalid`, and those of the disk.
 */
export function loadTokenizer(folder: string, { words = false }: { words?: boolean } = {}): LanguageTokenizer {
  const file = ['tokenizer.json', 'vocab.txt', 'vocab.json'].map(name => join(folder, name)).find(path => lookUp(path)?.isFile);
  if (!file) throw missing(folder);
  const configFile = join(folder, 'tokenizer_config.json');
  const given = lookUp(configFile) ? read(configFile, readObject) : {};
  const { json, config } = file.endsWith('vocab.json') ? read(file, () => readByteLevel(folder, given, LARGEST_FILE))
    : { json: file.endsWith('.json') ? read(file, readObject) : read(file, path => readVocabulary(path, given)), config: given };
  try {
    const bert = file.endsWith('.txt') || isBertTokenizer(json, config);
    if (isT5Tokenizer(json, config)) return textTokenizer(t5Tokenizer(json, config, file), config, file);
    const built = bert ? bertTokenizer(json, config, file) : isRobertaTokenizer(json, config) ? robertaTokenizer(json, config, file) : file.endsWith('tokenizer.json') ? rebuilt(json, config, builtClass(folder, config)) : json;
    return textTokenizer(words ? withPrefixSpace(built) : built, config, file);
  } catch (error) { throw unusable(error, file); }
}

function missing(folder: string): LabError {
  const pieces = ['spiece.model', 'sentencepiece.bpe.model', 'tokenizer.model'].find(name => lookUp(join(folder, name))?.isFile);
  return new LabError(pieces
    ? { code: 'tokenizer.missing', file: join(folder, pieces), cause: 'is a SentencePiece model, which is not read, and there is no tokenizer.json', action: 'write a tokenizer.json beside it: AutoTokenizer.from_pretrained(folder).save_pretrained(folder) in transformers' }
    : { code: 'tokenizer.missing', file: folder, cause: 'holds no tokenizer.json, no vocab.txt, and no vocab.json with merges.txt', action: 'add the tokenizer files of this checkpoint' });
}

/** The text of a special token in `tokenizer_config.json`, where it may be an object; null if there is none. */
export function specialToken(config: Record<string, unknown>, name: string): string | null {
  const value = config[`${name}_token`];
  const text = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
  return typeof text === 'string' ? text : null;
}

function unusable(error: unknown, file: string): LabError {
  if (error instanceof LabError) return error;
  return new LabError({
    code: 'tokenizer.invalid', file, cause: `is not a tokenizer that can be used: ${(error as Error).message}`, action: 'download it again, or save it with a recent version of transformers',
  }, { cause: error });
}

const readObject = (file: string): Record<string, unknown> => readJsonObject(file, LARGEST_FILE);

/** Reads a tokenizer file; what is wrong with its content becomes `tokenizer.invalid`. */
function read<T>(file: string, reader: (file: string) => T): T {
  try { return reader(file); } catch (error) {
    if (!(error instanceof LabError) || /^(disk|tokenizer)\./.test(error.report.code)) throw error;
    throw new LabError({ ...error.report, code: 'tokenizer.invalid' }, { cause: error });
  }
}

/** Whether transformers hands the tokenizer's segment numbers to the model: as the config says, else as the class does. */
function givesSegments({ model_input_names, tokenizer_class }: Record<string, unknown>): boolean {
  if (Array.isArray(model_input_names)) return model_input_names.includes('token_type_ids');
  return !/^(DistilBert|Roberta)Tokenizer(Fast)?$/.test(String(tokenizer_class ?? ''));
}

function textTokenizer(json: Record<string, unknown>, config: Record<string, unknown>, file: string): LanguageTokenizer {
  const whole = (json.added_tokens as { content: string; single_word?: boolean }[] | undefined)?.find(token => token.single_word);
  // The library would find it inside of words, too.
  if (whole) throw new Error(`the added token "${whole.content}" stands for whole words only ("single_word"), which is not supported`);
  const tokenizer = buildTokenizer(json, config);
  const { model } = tokenizer;
  tokenizer.normalizer = exactNormalizer(tokenizer.normalizer);
  tokenizer.pre_tokenizer = exactPreTokenizer(json.pre_tokenizer as Record<string, unknown> | null);
  const number = (token: string): number => {
    const id = tokenizer.token_to_id(token);
    if (!Number.isSafeInteger(id)) throw new Error(`the token "${token}" is not in the vocabulary`);
    return id!;
  };
  const single = templateOf(tokenizer, 'text', number);
  let double: Template | undefined;
  const place = single.parts.indexOf('text');
  const [before, after] = [single.parts.slice(0, place), single.parts.slice(place + 1)] as number[][];
  const segments = givesSegments(config);
  if (model?.config.type === 'WordPiece') number(String(model.unk_token));
  const tokenize = (text: string): number[] => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const limited = /"Regex":/.test(JSON.stringify([json.normalizer, json.pre_tokenizer])) ? withTimeLimit(tokenize, file) : tokenize;
  const ids = (text: string): number[] => {
    // Without an unknown token the library gives undefined for what is not in the vocabulary; Rust's leaves it out.
    try { return limited(text).filter(id => id !== undefined); } catch (error) { throw unusable(error, file); }
  };
  const truncation_side = sideOf(json, config);
  const keep = (ids: number[], count: number): number[] => ids.slice(...keptRange(ids.length, count, truncation_side));
  const cleans = cleansUp(json, config);
  const written = (numbers: ArrayLike<number>, skip_special_tokens = true): string => tokenizer.decode(Array.from(numbers), { skip_special_tokens, clean_up_tokenization_spaces: false });
  return {
    tokens: ids, truncation_side, before, around: { before, after }, config,
    numberOf: token => tokenizer.token_to_id(token),
    decode: numbers => (cleans ? cleanUp(written(numbers)) : written(numbers)),
    pieces: numbers => piecesOf(Array.from(numbers), tokens => (tokens.length ? written(tokens, false) : ''), id => written([id]) === '' && written([id], false) !== ''),
    certain(numbers) {
      // Bytes of a character that is not complete yet decode to replacement characters.
      const text = written(numbers).replace(/\ufffd+$/, '');
      return cleans ? cleanUp(settledPart(text)) : text;
    },
    encode(text, max_length, pair = null) {
      const [own, other] = [ids(text), pair === null ? [] : ids(pair)];
      const template = pair === null ? single : double ??= templateOf(tokenizer, 'pair', number);
      const room = Math.max(0, max_length - template.special);
      const [kept, keptOther] = pair === null ? [Math.min(own.length, room), 0] : longestFirst(own.length, other.length, room);
      const filled = fillTemplate(template, keep(own, kept), keep(other, keptOther));
      return { input_ids: filled.input_ids, token_type_ids: segments ? filled.token_type_ids : null, cut: kept < own.length || keptOther < other.length };
    },
  };
}

/** No character has more bytes, and so tokens, in UTF-8. */
const MOST_BYTES = 4;

/** Each token is written behind the one before it, as decoders leave out what stands before the first. */
function piecesOf(ids: number[], write: (ids: number[]) => string, isSpecial: (id: number) => boolean): { text: string; special: boolean }[] {
  /** The first token of a character that is not complete. */
  let begin = 0;
  return ids.map((id, i) => {
    if (isSpecial(id)) {
      begin = i + 1;
      return { text: write([id]), special: true };
    }
    const before = write(ids.slice(Math.max(0, begin - 1), begin));
    const grown = write(ids.slice(Math.max(0, begin - 1), i + 1));
    const text = grown.startsWith(before) ? grown.slice(before.length) : write([id]);
    const unfinished = text.endsWith('\ufffd') && i + 1 < ids.length && i + 1 - begin < MOST_BYTES;
    if (!unfinished) begin = i + 1;
    return { text: unfinished ? '' : text, special: false };
  });
}

/** Ends a regular expression that takes too long: JavaScript can only do so for code that runs as a script with a limit. */
function withTimeLimit(tokenize: (text: string) => number[], file: string): (text: string) => number[] {
  const sandbox = createContext({ call: undefined as (() => number[]) | undefined });
  const script = new Script('call()');
  return text => {
    sandbox.call = () => tokenize(text);
    try { return script.runInContext(sandbox, { timeout: LONGEST_MATCH }) as number[]; } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      throw new LabError({
        code: 'tokenizer.too-slow', file, cause: `its regular expressions take more than ${LONGEST_MATCH / 1000} seconds for a text of ${text.length} characters`, action: 'check that the tokenizer belongs to this checkpoint, or shorten the text',
      }, { cause: error });
    }
  };
}
