/** Which tokens end what a model writes. */
import { join } from 'node:path';
import { endOfText } from '../data/endOfText';
import type { LanguageTokenizer } from '../data/tokenizer';
import { lookUp, readJsonObject } from '../files';
import type { Checkpoint } from '../model/checkpoint';

/** Those of `generation_config.json`, else of `config.json`, else the tokenizer's own. */
export function endTokens({ folder, config }: Pick<Checkpoint, 'folder' | 'config'>, tokenizer: LanguageTokenizer): Set<number> {
  const file = join(folder, 'generation_config.json');
  const generation = lookUp(file)?.isFile ? readJsonObject(file, 1 << 20) : {};
  const named = [generation.eos_token_id ?? config.eos_token_id ?? []].flat().filter((id): id is number => Number.isSafeInteger(id));
  return new Set(named.length ? named : [endOfText(folder, tokenizer, config)]);
}
