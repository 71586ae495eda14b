/** From text to the token numbers of a checkpoint, equal to what transformers' fast tokenizers give. */
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { LabError } from '../errors';
import { lookUp, readJsonObject } from '../files';
import { wordPieceFromVocabulary } from './vocabulary';

export interface TextTokenizer {
  /**
   * Tokens of a text with the special tokens around it, at most `max_length` in all: the text's own tokens are cut at the end.
   * `token_type_ids` are null where all are 0.
   */
  encode(text: string, max_length: number): { input_ids: Int32Array; token_type_ids: Int32Array | null; /** Whether tokens were left out. */ cut: boolean };
}

/** Vocabularies of 250,000 entries take about 20 MB. */
const LARGEST_FILE = 128 << 20;

/**
 * The tokenizer of a checkpoint folder: `tokenizer.json` with `tokenizer_config.json` if there is one, else `vocab.txt` of a BERT.
 * Errors: `tokenizer.missing`, `tokenizer.invalid`, and those of the disk.
 */
export function loadTokenizer(folder: string): TextTokenizer {
  const configFile = join(folder, 'tokenizer_config.json');
  const config = lookUp(configFile) ? readObject(configFile) : {};
  const file = ['tokenizer.json', 'vocab.txt'].map(name => join(folder, name)).find(path => lookUp(path)?.isFile);
  if (!file) throw new LabError({ code: 'tokenizer.missing', file: folder, cause: 'holds no tokenizer.json and no vocab.txt', action: 'add the tokenizer files of this checkpoint' });
  const json = file.endsWith('.json') ? readObject(file) : wordPieceFromVocabulary(file, config);
  try { return textTokenizer(new Tokenizer(json, config)); } catch (error) {
    throw new LabError({ code: 'tokenizer.invalid', file, cause: `is not a tokenizer that can be used: ${(error as Error).message}`, action: 'download it again, or save it with a recent version of transformers' }, { cause: error });
  }
}

function readObject(file: string): Record<string, unknown> {
  try { return readJsonObject(file, LARGEST_FILE); } catch (error) {
    if (!(error instanceof LabError) || error.report.code.startsWith('disk.')) throw error;
    throw new LabError({ ...error.report, code: 'tokenizer.invalid' }, { cause: error });
  }
}

/** Stands for the text's own tokens when the template of special tokens is asked for. */
const TEXT = '\u0000text';

function textTokenizer(tokenizer: Tokenizer): TextTokenizer {
  const template = tokenizer.post_processor?.([TEXT], null, true) ?? { tokens: [TEXT] };
  const place = template.tokens.indexOf(TEXT);
  if (place < 0) throw new Error('its post-processor leaves the text out');
  const number = (token: string): number => {
    const id = tokenizer.token_to_id(token);
    if (id === undefined) throw new Error(`the special token "${token}" is not in the vocabulary`);
    return id;
  };
  const before = template.tokens.slice(0, place).map(number);
  const after = template.tokens.slice(place + 1).map(number);
  const types = template.token_type_ids?.some(type => type !== 0) ? template.token_type_ids : null;
  return {
    encode(text, max_length) {
      const { ids } = tokenizer.encode(text, { add_special_tokens: false });
      const room = Math.max(0, max_length - before.length - after.length);
      const kept = Math.min(ids.length, room);
      const input_ids = new Int32Array(before.length + kept + after.length);
      input_ids.set(before);
      for (let i = 0; i < kept; i++) input_ids[before.length + i] = ids[i];
      input_ids.set(after, before.length + kept);
      const token_type_ids = types && Int32Array.from(input_ids, (_, i) => types[i < place ? i : i < place + kept ? place : i - kept + 1]);
      return { input_ids, token_type_ids, cut: kept < ids.length };
    },
  };
}
