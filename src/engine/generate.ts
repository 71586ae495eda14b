/** Continuing prompts with a language model, or writing targets for sources with an encoder-decoder, alone or with an adapter. */
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { endOfText } from './data/endOfText';
import { loadTokenizer, type LanguageTokenizer } from './data/tokenizer';
import { LabError } from './errors';
import { lookUp, readJsonObject } from './files';
import { ADAPTER_CONFIG, fillTrainables, readAdapter, settingsFromAdapter } from './model/adapter';
import { checkAdapterTask } from './model/adapterSettings';
import { openCheckpoint, type Checkpoint } from './model/checkpoint';
import { families } from './model/families';
import { familyOf, modelOf } from './model/loadModel';
import { planAdapter } from './model/lora';
import { random, type Random } from './random';
import { chooseToken, type SamplingSettings } from './sampling';
import { Seq2SeqDecoder, type Encoded } from './training/seq2seqDecoder';
import { createTrainingStep } from './training/step';
import type { TrainingStep } from './training/step.types';
import { parseExperiment, type LoraSettings } from '../protocol/experiment';
import type { Completion, EngineRequests } from '../protocol/engine';

const { training: TRAINING, lora: LORA } = parseExperiment({ base_model: '-', dataset: { train: '-' } }).experiment!;
/** Prompts that are continued at the same time. */
const BATCH = 8;

export interface GenerateOptions {
  device?: string;
  /** Gets every piece of text as soon as it is certain. */
  onText?: (piece: { prompt: number; text: string }) => void;
}

/**
 * A completion of each prompt, or the target of each source (both called prompts), until the model writes an end-of-text token, `max_new_tokens` (default 64) are reached or its
 * positions are used up. Greedy unless `temperature` is above 0; what is drawn follows from `seed` (default 42) and the place of the prompt.
 * Errors: those of the checkpoint, the tokenizer and the adapter; `predict.no-texts`, `predict.too-long`, `predict.setting`.
 */
export async function generate(request: EngineRequests['generate'][0], { device = 'auto', onText }: GenerateOptions = {}): Promise<Completion[]> {
  const { base, adapter: folder, prompts, max_new_tokens = 64, seed = 42, precision } = request;
  const sampling = { temperature: request.temperature ?? 0, top_k: request.top_k ?? 0, top_p: request.top_p ?? 1 };
  checkSettings({ ...sampling, max_new_tokens }, prompts);
  const checkpoint = openCheckpoint(base);
  const family = familyOf(checkpoint.config, families, checkpoint.folder);
  const { seq2seq } = family;
  const task = seq2seq ? 'SEQ_2_SEQ_LM' : 'CAUSAL_LM';
  const adapter = folder === null ? null : readAdapter(folder);
  if (adapter) checkAdapterTask(adapter, task);
  const model = modelOf(checkpoint, { task, labels: null, seed: 0, families });
  const lora: LoraSettings = adapter ? settingsFromAdapter(adapter.config, join(adapter.folder, ADAPTER_CONFIG)) : LORA;
  const plan = adapter ? planAdapter(model, lora) : null;
  const trainables = adapter && plan ? fillTrainables(plan, adapter, model) : new Float32Array(0);

  const tokenizer = loadTokenizer(checkpoint.folder);
  const limits = family.limits(checkpoint.config);
  const ends = endTokens(checkpoint, tokenizer);
  const texts = prompts.map((prompt, i) => new Continuation(prompt, tokenizer, random(seed, `completion-${i}`), limits, max_new_tokens, seq2seq?.startToken(model.config)));
  const writer = seq2seq ? targetWriter(await Seq2SeqDecoder.create({ model, seq2seq, plan, trainables, device, precision }))
    : completionWriter(await createTrainingStep({ model, plan, lora, training: TRAINING, device, precision, trainables, train: false, read: 'last' }));
  try {
    for (let first = 0; first < texts.length; first += BATCH) {
      const batch = texts.slice(first, first + BATCH);
      for (let open = batch; open.length; open = open.filter(text => text.stopped === null)) {
        const logits = await writer.next(open);
        const width = logits.length / open.length;
        open.forEach((text, row) => {
          const piece = text.add(chooseToken(logits.subarray(row * width, (row + 1) * width), sampling, text.random), ends);
          if (piece) onText?.({ prompt: texts.indexOf(text), text: piece });
        });
        await turn();
      }
    }
    return texts.map(text => text.completion());
  } finally { await writer.dispose(); }
}

interface Writer {
  /** Logits [open.length, vocab_size] of the next token of each. */
  next(open: readonly Continuation[]): Promise<Float32Array>;
  dispose(): Promise<void>;
}

const completionWriter = (step: TrainingStep): Writer => ({
  next: async open => (await step.evaluate(open.map(({ ids }) => ({ input_ids: Int32Array.from(ids), token_type_ids: null, label: 0 })))).logits,
  dispose: () => step.dispose(),
});

function targetWriter(decoder: Seq2SeqDecoder): Writer {
  const encoded = new Map<Continuation, Encoded>();
  return {
    async next(open) {
      const fresh = open.filter(text => !encoded.has(text));
      if (fresh.length) (await decoder.encode(fresh.map(text => Int32Array.from(text.source)))).forEach((source, i) => encoded.set(fresh[i], source));
      return decoder.next(open.map(text => ({ source: encoded.get(text)!, ids: text.ids })));
    },
    dispose: () => decoder.dispose(),
  };
}

/** A prompt and what has been written after it; of an encoder-decoder the source, and the target that begins with the start token. */
class Continuation {
  readonly ids: number[];
  /** What an encoder reads. */
  readonly source: readonly number[];
  stopped: Completion['stopped'] | null = null;
  private readonly begin: number;
  private readonly longest: number;
  private told = '';

  constructor(private readonly prompt: string, private readonly tokenizer: LanguageTokenizer, readonly random: Random, { max_positions, vocab_size }: { max_positions: number; vocab_size: number }, max_new_tokens: number, start?: number) {
    this.source = start === undefined ? [] : Array.from(tokenizer.encode(prompt, Number.MAX_SAFE_INTEGER).input_ids);
    this.ids = start === undefined ? [...tokenizer.before, ...tokenizer.tokens(prompt)] : [start];
    this.begin = this.ids.length;
    if (this.begin === 0 || (start !== undefined && !this.source.length)) throw new LabError({ code: 'predict.no-texts', cause: 'an empty prompt gives this model nothing to begin with', action: 'give at least one word' });
    if (this.begin >= max_positions) throw new LabError({ code: 'predict.too-long', cause: `the prompt "${prompt.slice(0, 40)}…" has ${this.begin} tokens, the model has ${max_positions} positions`, action: 'shorten it' });
    if ([...this.source, ...this.ids].some(id => id >= vocab_size)) throw new LabError({ code: 'dataset.token-beyond-vocabulary', cause: `the tokenizer makes tokens that the model, with a vocabulary of ${vocab_size}, does not know`, action: 'check that tokenizer.json belongs to this checkpoint' });
    this.longest = Math.min(max_positions, this.begin + max_new_tokens);
  }

  /** Appends a token. Returns the text that has become certain with it. */
  add(token: number, ends: ReadonlySet<number>): string {
    this.ids.push(token);
    if (ends.has(token)) this.stopped = 'end';
    else if (this.ids.length >= this.longest) this.stopped = 'length';
    const text = this.text();
    // Bytes of a character that is not complete yet decode to a replacement character.
    if (this.stopped === null && text.endsWith('\ufffd')) return '';
    const piece = text.slice(this.told.length);
    this.told = text;
    return piece;
  }

  private text(): string { return this.tokenizer.decode(this.ids.slice(this.begin)); }

  completion(): Completion {
    return { prompt: this.prompt, completion: this.text(), tokens: this.ids.slice(this.begin), stopped: this.stopped! };
  }
}

/** Tokens that end a completion: those of `generation_config.json`, else of `config.json`, and the tokenizer's own. */
function endTokens({ folder, config }: Checkpoint, tokenizer: LanguageTokenizer): Set<number> {
  const file = join(folder, 'generation_config.json');
  const generation = lookUp(file)?.isFile ? readJsonObject(file, 1 << 20) : {};
  const named = [generation.eos_token_id ?? config.eos_token_id ?? []].flat().filter((id): id is number => Number.isSafeInteger(id));
  return new Set(named.length ? named : [endOfText(folder, tokenizer, config)]);
}

function checkSettings({ temperature, top_k, top_p, max_new_tokens }: SamplingSettings & { max_new_tokens: number }, prompts: readonly string[]): void {
  if (!prompts.length) throw new LabError({ code: 'predict.no-texts', cause: 'there is no prompt to continue', action: 'give at least one prompt' });
  const wrong = !(temperature >= 0 && Number.isFinite(temperature)) ? ['temperature', 'a number of at least 0']
    : !(Number.isSafeInteger(top_k) && top_k >= 0) ? ['top_k', 'a whole number of at least 0']
      : !(top_p > 0 && top_p <= 1) ? ['top_p', 'a number above 0 and at most 1']
        : !(Number.isSafeInteger(max_new_tokens) && max_new_tokens >= 1) ? ['max_new_tokens', 'a whole number of at least 1'] : null;
  if (wrong) throw new LabError({ code: 'predict.setting', where: wrong[0], cause: 'is no possible value', action: `give ${wrong[1]}` });
}
