/** Continuing prompts with a language model, or writing targets for sources with an encoder-decoder, alone or with an adapter. */
import { join } from 'node:path';
import { loadChatTemplate, type ChatTemplate } from './data/chatTemplate';
import { checkIds } from './data/examples';
import { loadTokenizer, type LanguageTokenizer } from './data/tokenizer';
import { LabError } from './errors';
import { KEEPS_NOTHING, type Loaded, type LoadedModels } from './loadedModels';
import { endTokens } from './generation/endTokens';
import { repetitionPenalty } from './generation/generationConfig';
import { Generator } from './generation/generator';
import { promptAt } from './generation/longContext';
import { Continuation, writeTexts } from './generation/write';
import { ADAPTER_CONFIG, fillTrainables, readAdapter, settingsFromAdapter } from './model/adapter';
import { checkAdapterTask, planOf } from './model/adapterSettings';
import { openCheckpoint } from './model/checkpoint';
import { families } from './model/families';
import { familyOf, modelOf } from './model/loadModel';
import { random, type Random } from './random';
import { parseExperiment, type LoraSettings } from '../protocol/experiment';
import type { Completion, EngineRequests } from '../protocol/engine';
import { GENERATION, GENERATION_KEYS, wrongSetting, type GenerationSettings } from '../protocol/generation';

const { lora: LORA } = parseExperiment({ base_model: '-', dataset: { train: '-' } }).experiment!;

export interface GenerateOptions {
  device?: string;
  /** Gets every piece of text as soon as it is certain. */
  onText?: (piece: { prompt: number; text: string }) => void;
  /** Called before each pass; may throw. */
  between?: () => void;
  /** Where the model stays loaded for the next request; without it nothing is kept. */
  loaded?: LoadedModels;
}

/**
 * A completion of each prompt, or the target of each source (both called prompts), until the model writes an end-of-text token, `max_new_tokens` (default 64) are reached or its
 * positions are used up. Greedy unless `temperature` is above 0; what is drawn follows from `seed` (default 42) and the place of the prompt. `repetition_penalty` is by default the checkpoint's.
 * Errors: those of the checkpoint, the tokenizer and the adapter; `predict.no-texts`, `predict.too-long`, `predict.context`, `predict.setting`, `dataset.token-beyond-vocabulary`.
 */
export async function generate(request: Omit<EngineRequests['generate'][0], 'device'>, { device = 'auto', onText, between, loaded = KEEPS_NOTHING }: GenerateOptions = {}): Promise<Completion[]> {
  const { base, adapter, prompts, chat = false, precision, threads } = request;
  const settings = completeSettings(request);
  if (!prompts.length) throw new LabError({ code: 'predict.no-texts', cause: 'there is no prompt to continue', action: 'give at least one prompt' });
  const load = (): Promise<Writer> => loadWriter({ base, adapter, device, precision, threads });
  const work = async ({ generator, ends, begins, repetition_penalty }: Writer): Promise<Completion[]> => {
    const texts = begins(prompts, chat, settings);
    await writeTexts(generator, texts, { sampling: settings, repetition_penalty: request.repetition_penalty ?? repetition_penalty, ends, between, onText: onText && (({ text, piece }) => onText({ prompt: text, text: piece })) });
    return texts.map((text, i) => ({ prompt: prompts[i], completion: text.text, tokens: text.tokens, stopped: text.stopped! }));
  };
  return loaded.use({ key: ['generate', device, precision, threads], folders: adapter === null ? [base] : [base, adapter], load }, work);
}

/** A language model that is ready to write. */
interface Writer extends Loaded {
  generator: Generator;
  /** Tokens that end a text. */
  ends: ReadonlySet<number>;
  /** That of the checkpoint. */
  repetition_penalty: number;
  begins(prompts: readonly string[], chat: boolean, settings: GenerationSettings): Continuation[];
}

async function loadWriter({ base, adapter: folder, device, precision, threads }: Pick<EngineRequests['generate'][0], 'base' | 'adapter' | 'precision' | 'threads'> & { device: string }): Promise<Writer> {
  const checkpoint = openCheckpoint(base);
  const family = familyOf(checkpoint.config, families, checkpoint.folder);
  const { seq2seq } = family;
  const task = seq2seq ? 'SEQ_2_SEQ_LM' : 'CAUSAL_LM';
  const adapter = folder === null ? null : readAdapter(folder);
  if (adapter) checkAdapterTask(adapter, task);
  const model = modelOf(checkpoint, { task, labels: null, seed: 0, families });
  const lora: LoraSettings = adapter ? settingsFromAdapter(adapter.config, join(adapter.folder, ADAPTER_CONFIG)) : LORA;
  const plan = adapter ? planOf(adapter, model, lora) : null;
  const trainables = adapter && plan ? fillTrainables(plan, adapter, model) : new Float32Array(0);

  const tokenizer = loadTokenizer(checkpoint.folder);
  const limits = family.limits(checkpoint.config);
  const ends = endTokens(checkpoint, tokenizer);
  const repetition_penalty = repetitionPenalty(checkpoint.folder);
  const start = seq2seq?.startToken(model.config);
  const generator = await Generator.create({ model, plan, trainables, device, precision, threads });
  return {
    generator, ends, repetition_penalty, dispose: () => generator.dispose(),
    begins(prompts, chat, { seed, max_new_tokens }) {
      if (chat && seq2seq) throw new LabError({ code: 'predict.setting', where: 'chat', cause: 'is not possible with an encoder-decoder, which has no conversations', action: 'leave it out' });
      const template = chat ? loadChatTemplate(checkpoint.folder, tokenizer.config) : null;
      return prompts.map((prompt, i) => beginText(prompt, { template, tokenizer, limits, start, random: random(seed, `completion-${i}`), max_new_tokens, where: promptAt(i, prompts.length) }));
    },
  };
}

interface TextOptions { template: ChatTemplate | null; tokenizer: LanguageTokenizer; limits: { max_positions: number; vocab_size: number }; start: number | undefined; random: Random; max_new_tokens: number; where: string | undefined }

/** A prompt that is to be continued; of an encoder-decoder, which has a start token, a source whose target is to be written. */
function beginText(prompt: string, { template, tokenizer, limits: { max_positions, vocab_size }, start, random, max_new_tokens, where }: TextOptions): Continuation {
  const source = start === undefined ? [] : Array.from(tokenizer.encode(prompt, Number.MAX_SAFE_INTEGER).input_ids);
  const ids = start === undefined ? template ? tokenizer.tokens(asUser(template, prompt, where)) : [...tokenizer.before, ...tokenizer.tokens(prompt)] : [start];
  if (ids.length === 0 || (start !== undefined && !source.length)) throw new LabError({ code: 'predict.no-texts', where, cause: 'an empty prompt gives this model nothing to begin with', action: 'give at least one word' });
  if (ids.length >= max_positions) throw new LabError({ code: 'predict.too-long', where, cause: `the prompt "${prompt.slice(0, 40)}…" has ${ids.length} tokens, the model has ${max_positions} positions`, action: 'shorten it' });
  checkIds([...source, ...ids], vocab_size, { where });
  return new Continuation({ tokenizer, random, ids, source, longest: Math.min(max_positions, ids.length + max_new_tokens) });
}

/** A conversation of one turn of the user, up to where the assistant's begins. Error `predict.chat-template`. */
function asUser(template: ChatTemplate, prompt: string, where: string | undefined): string {
  try { return template([{ role: 'user', content: prompt }], true); } catch (error) {
    throw new LabError({ code: 'predict.chat-template', where, cause: `the chat template refuses the prompt: ${(error as Error).message}`, action: 'use the chat template that belongs to this checkpoint' }, { cause: error });
  }
}

/** All settings of a request, with their defaults. Error `predict.setting`. */
function completeSettings(given: Partial<GenerationSettings>): GenerationSettings {
  return Object.fromEntries(GENERATION_KEYS.map(key => {
    const value = given[key] ?? GENERATION[key].default;
    const right = wrongSetting(key, value);
    if (right) throw new LabError({ code: 'predict.setting', where: key, cause: 'is no possible value', action: `give ${right}` });
    return [key, value];
  })) as GenerationSettings;
}
