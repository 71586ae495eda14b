/** The token that ends a text, which a language model learns to write. */
import { join } from 'node:path';
import { LabError } from '../errors';
import { lookUp, readJsonObject } from '../files';
import { specialToken, type LanguageTokenizer } from './tokenizer';

/**
 * Its number: `eos_token` of `tokenizer_config.json` or `special_tokens_map.json`, else `eos_token_id` of `config.json`.
 * Error: `tokenizer.no-eos`.
 */
export function endOfText(folder: string, tokenizer: LanguageTokenizer, modelConfig: Record<string, unknown>): number {
  const map = join(folder, 'special_tokens_map.json');
  const token = specialToken(tokenizer.config, 'eos') ?? (lookUp(map)?.isFile ? specialToken(readJsonObject(map, 1 << 20), 'eos') : null);
  const named = token === null ? undefined : tokenizer.numberOf(token);
  const id = named ?? [modelConfig.eos_token_id].flat()[0];
  if (Number.isSafeInteger(id)) return id as number;
  throw new LabError({ code: 'tokenizer.no-eos', file: folder, cause: 'no end-of-text token is named by tokenizer_config.json or config.json', action: 'add "eos_token" to tokenizer_config.json' });
}
