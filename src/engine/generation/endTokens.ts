/** Which tokens end what a model writes. */
import { endOfText } from '../data/endOfText';
import type { LanguageTokenizer } from '../data/tokenizer';
import type { Checkpoint } from '../model/checkpoint';
import { readGenerationConfig } from './generationConfig';

/** Those of `generation_config.json`, else of `config.json`, else the tokenizer's own. */
export function endTokens({ folder, config }: Pick<Checkpoint, 'folder' | 'config'>, tokenizer: LanguageTokenizer): Set<number> {
  const generation = readGenerationConfig(folder);
  const named = [generation.eos_token_id ?? config.eos_token_id ?? []].flat().filter((id): id is number => Number.isSafeInteger(id));
  return new Set(named.length ? named : [endOfText(folder, tokenizer, config)]);
}
