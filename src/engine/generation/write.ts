/** The loop that writes: texts side by side, token by token, each until it ends. */
import { setImmediate as turn } from 'node:timers/promises';
import type { LanguageTokenizer } from '../data/tokenizer';
import type { Random } from '../random';
import { chooseToken, penalizeRepetition, type SamplingSettings } from '../sampling';
import { portions } from '../training/portions';
import { checkContext } from './longContext';
import type { Generator } from './generator';

/** Texts that are written at the same time by default, and tokens that are read for them at first. */
const [MOST_TEXTS, MOST_TOKENS] = [8, 4096];

export const GREEDY: SamplingSettings = { temperature: 0, top_k: 0, top_p: 1 };

export interface WriteOptions {
  sampling: SamplingSettings;
  /** What makes tokens of a text, its prompt included, less probable when they come again; default 1, nothing. An encoder's source does not count. */
  repetition_penalty?: number;
  /** Tokens that end a text. */
  ends: ReadonlySet<number>;
  /** Gets every piece of text as soon as it is certain. */
  onText?: (piece: { text: number; piece: string }) => void;
  /** Texts that are written at the same time; default 8. */
  most_texts?: number;
  /** Called before each pass; may throw. */
  between?: () => void;
}

/** Writes every text to its end. Error: `predict.context`. */
export async function writeTexts(generator: Generator, texts: readonly Continuation[], { sampling, repetition_penalty = 1, ends, onText, between, most_texts = MOST_TEXTS }: WriteOptions): Promise<void> {
  checkContext(generator.layout, texts);
  const groups = portions(texts.map(({ source, ids }) => source.length + ids.length), MOST_TOKENS);
  const batches = groups.flatMap(group => Array.from({ length: Math.ceil(group.length / most_texts) }, (_, i) => group.slice(i * most_texts, (i + 1) * most_texts)));
  for (const places of batches) {
    // What an encoder reads, and first of all what is in front of the new tokens.
    const batch = await generator.begin(places.map(place => Int32Array.from(texts[place].source)));
    let [open, tokens] = [places, places.map((place): ArrayLike<number> => texts[place].ids)];
    while (open.length) {
      // A request that came in meanwhile is heard.
      await turn();
      between?.();
      const logits = await batch.next(tokens);
      const width = logits.length / open.length;
      const chosen = open.map((place, row) => {
        const own = logits.subarray(row * width, (row + 1) * width);
        return chooseToken(penalizeRepetition(own, texts[place].ids, repetition_penalty), sampling, texts[place].random);
      });
      open.forEach((place, row) => {
        const piece = texts[place].add(chosen[row], ends);
        if (piece) onText?.({ text: place, piece });
      });
      const rows = open.map((_, row) => row).filter(row => texts[open[row]].stopped === null);
      batch.keep(rows);
      [open, tokens] = [rows.map(row => open[row]), rows.map(row => [chosen[row]])];
    }
  }
}

export interface ContinuationOptions {
  tokenizer: LanguageTokenizer;
  random: Random;
  /** The text so far: a prompt, or of an encoder-decoder the start token. */
  ids: readonly number[];
  /** What an encoder reads. */
  source?: readonly number[];
  /** Longest text in tokens, the given ones included. */
  longest: number;
}

/** A text that is being written. */
export class Continuation {
  readonly ids: number[];
  readonly source: readonly number[];
  readonly random: Random;
  /** Tokens that it may have at its end. */
  readonly longest: number;
  stopped: 'end' | 'length' | null = null;
  private readonly begin: number;
  private told = '';

  constructor(private readonly options: ContinuationOptions) {
    this.ids = [...options.ids];
    this.source = options.source ?? [];
    this.random = options.random;
    this.longest = options.longest;
    this.begin = this.ids.length;
  }

  /** What has been written, an end-of-text token included. */
  get tokens(): number[] { return this.ids.slice(this.begin); }

  get text(): string { return this.options.tokenizer.decode(this.tokens); }

  /** Appends a token. Returns the text that has become certain with it. */
  add(token: number, ends: ReadonlySet<number>): string {
    this.ids.push(token);
    if (ends.has(token)) this.stopped = 'end';
    else if (this.ids.length >= this.longest) this.stopped = 'length';
    const text = this.stopped === null ? this.options.tokenizer.certain(this.tokens) : this.text;
    const piece = text.slice(this.told.length);
    this.told = text;
    return piece;
  }
}
