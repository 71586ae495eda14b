/** Every architecture that the engine trains. */
import { LabError } from '../errors';
import { bert } from './bert';
import { distilbert } from './distilbert';
import { electra } from './electra';
import type { Config, Family } from './family';
import { gemma } from './gemma';
import { gemma2 } from './gemma2';
import { gpt2 } from './gpt2';
import { llama } from './llama';
import { mistral } from './mistral';
import { phi3 } from './phi3';
import { qwen2 } from './qwen2';
import { qwen3 } from './qwen3';
import { roberta } from './roberta';
import { t5 } from './t5';

export const families: readonly Family[] = [bert, roberta, distilbert, electra, gpt2, llama, mistral, qwen2, qwen3, gemma, gemma2, phi3, t5];

/** The family of a checkpoint's config; an unsupported `model_type` is an error that lists the supported ones. */
export function findFamily(config: Config, candidates: readonly Family[] = families): Family {
  const family = candidates.find(f => f.model_types.includes(config.model_type as string));
  if (family) return family;
  throw new LabError({
    code: 'checkpoint.model-type', file: 'config.json', where: 'model_type',
    cause: config.model_type === undefined ? 'the key is missing' : `${JSON.stringify(config.model_type)} is not supported`,
    action: `use a checkpoint of one of: ${candidates.flatMap(f => f.model_types).join(', ')}`,
  });
}
