/** Every architecture that the engine trains. */
import { bert } from './bert';
import { distilbert } from './distilbert';
import { electra } from './electra';
import type { Family } from './family';
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
