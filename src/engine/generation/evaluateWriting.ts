/** Evaluation by writing (`predict_with_generate`): what the model writes, greedily, beside what it should have written. */
import type { ExampleSet } from '../data/examples';
import type { LanguageTokenizer } from '../data/tokenizer';
import { LabError } from '../errors';
import { random } from '../random';
import type { BatchLayout } from '../training/layout';
import { IGNORED, type Example } from '../training/step.types';
import { Generator, type GeneratorOptions } from './generator';
import { checkContext } from './longContext';
import { scoreTexts, type TextScores } from './rouge';
import { Continuation, GREEDY, writeTexts } from './write';

/** What writing takes beside the model. */
export interface WritingSettings {
  tokenizer: LanguageTokenizer;
  /** Tokens that end a text. */
  ends: ReadonlySet<number>;
  /** That of the checkpoint, which Trainer's generate follows too; default 1. */
  repetition_penalty?: number;
  /** Longest text in tokens: of a decoder apart with its start token, else with the prompt. */
  longest: number;
}

/**
 * Scores of what is written for every example. A decoder apart writes the target of the source; another model what follows the tokens before its
 * last run of targets: the completion, or the last turn of the assistant. The weights are there a second time meanwhile. `between` may throw.
 */
export async function evaluateWriting(
  options: GeneratorOptions, set: ExampleSet, { tokenizer, ends, longest, repetition_penalty }: WritingSettings, batch_size: number, between: (done: number) => void = () => {},
): Promise<TextScores> {
  const examples = partsIn(set);
  const written = new Map(examples.filter(({ ids }) => ids.length < longest).map(parts => [parts, new Continuation({ tokenizer, random: random(0, 'greedy'), ...parts, longest })]));
  const texts = [...written.values()];
  const generator = await Generator.create(options);
  try {
    await writeTexts(generator, texts, { sampling: GREEDY, repetition_penalty, ends, most_texts: batch_size, between: () => between(texts.filter(text => text.stopped !== null).length / texts.length) });
  } finally { await generator.dispose(); }
  return scoreTexts(examples.map(parts => ({ expected: tokenizer.decode(parts.expected), written: written.get(parts)?.text ?? '' })));
}

/**
 * Error `training.predict-with-generate`: with LongRoPE a text would be written across the end of the original context. Found before a run
 * begins, which would otherwise end at its first evaluation.
 */
export function checkWritingContext(layout: Pick<BatchLayout, 'rotary'>, set: ExampleSet, longest: number): void {
  const beyond = layout.rotary?.long?.beyond;
  if (beyond === undefined) return;
  try { checkContext(layout, partsIn(set).filter(({ ids }) => ids.length < longest).map(({ ids }) => ({ ids, longest }))); } catch (error) {
    if (!(error instanceof LabError)) throw error;
    throw new LabError({ code: 'training.predict-with-generate', where: 'training.generation_max_length', cause: `is ${longest}, and in the evaluation data ${error.report.cause}`, action: `set generation_max_length to at most ${beyond}, or predict_with_generate to false` });
  }
}

/** An example whose targets were cut off expects nothing and is left out. After a prompt that leaves no room nothing is written. */
const partsIn = (set: ExampleSet): Parts[] => Array.from({ length: set.length }, (_, i) => partsOf(set.get(i))).filter(({ expected }) => expected.length > 0);

interface Parts { source: number[]; ids: number[]; expected: number[] }

/** What is read before writing begins, and what should be written. */
export function partsOf({ input_ids, decoder_input_ids, targets }: Pick<Example, 'input_ids' | 'decoder_input_ids' | 'targets'>): Parts {
  if (decoder_input_ids) return { source: Array.from(input_ids), ids: [decoder_input_ids[0]], expected: Array.from(targets!) };
  const all = Array.from(targets ?? []);
  const last = all.findLastIndex(target => target !== IGNORED);
  let first = last;
  while (first > 0 && all[first - 1] !== IGNORED) first--;
  // The token at a place is followed by the place's target.
  return { source: [], ids: Array.from(input_ids.subarray(0, first + 1)), expected: last < 0 ? [] : all.slice(first, last + 1) };
}
