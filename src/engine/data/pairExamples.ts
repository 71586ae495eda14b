/** Training examples of an encoder-decoder: a source text and the target text to be written for it. */
import type { DatasetSettings } from '../../protocol/experiment';
import type { Example } from '../training/step.types';
import { firstOf, readRecords, textColumn } from './dataset';
import { checkIds, checkLength, checkTokens, type ExampleSet, type Looking } from './examples';
import { GrowingIntegers } from './growingIntegers';
import type { LanguageTokenizer } from './tokenizer';

export interface LoadPairsOptions extends Looking {
  file: string;
  dataset: Pick<DatasetSettings, 'source_column' | 'target_column'>;
  tokenizer: LanguageTokenizer;
  /** Number of the token that ends a text. */
  eos: number;
  /** Number of the token that the decoder starts with. */
  start: number;
  /** Longest source in tokens. */
  max_length: number;
  /** Longest target in tokens, its end-of-text token included. */
  max_target_length: number;
  limits: { vocab_size: number; max_positions: number };
  onProgress?: (fraction: number) => void;
}

/**
 * Tokenizes every row of a file. A target ends with the end-of-text token, also where it was cut; the decoder reads the
 * start token and the target without its last token.
 * Errors: `training.max-length`, `dataset.no-tokens`, `dataset.token-beyond-vocabulary`, and those of `readRecords`.
 */
export function loadPairs({ file, dataset, tokenizer, eos, start, max_length, max_target_length, limits, onProgress, most, onExample }: LoadPairsOptions): ExampleSet {
  checkLength(max_length, limits.max_positions);
  const sources = new GrowingIntegers(), source_ends = new GrowingIntegers(), targets = new GrowingIntegers(), target_ends = new GrowingIntegers();
  let cut = 0, longest = 0, longest_target = 0;
  const columns = { source: textColumn(dataset.source_column), target: textColumn(dataset.target_column) };
  for (const { values, line } of firstOf(readRecords({ file, columns, keys: 'dataset.source_column and dataset.target_column', onRead: onProgress }), most)) {
    const source = tokenizer.encode(values.source, max_length);
    checkTokens(source.input_ids, { file, line }, `the text in "${dataset.source_column}" has`, 'a text');
    const target = targetTokens(values.target, tokenizer, eos, max_target_length);
    for (const { input_ids } of [source, target]) checkIds(input_ids, limits.vocab_size, { file, line });
    sources.append(source.input_ids);
    source_ends.push(sources.length);
    targets.append(target.input_ids);
    target_ends.push(targets.length);
    longest_target = Math.max(longest_target, target.input_ids.length);
    longest = Math.max(longest, source.input_ids.length, longest_target);
    if (source.cut || target.cut) cut += 1;
    onExample?.({ line, cut: source.cut || target.cut });
  }
  const part = (all: GrowingIntegers, ends: GrowingIntegers, i: number): Int32Array => all.view(i ? ends.at(i - 1) : 0, ends.at(i));
  return {
    length: source_ends.length, tokens: sources.length + targets.length, longest, longest_target, cut,
    get(i): Example {
      if (!Number.isInteger(i) || i < 0 || i >= source_ends.length) throw new RangeError(`there is no example ${i} of ${source_ends.length}`);
      const target = part(targets, target_ends, i);
      const decoder_input_ids = new Int32Array(target.length);
      decoder_input_ids[0] = start;
      decoder_input_ids.set(target.subarray(0, -1), 1);
      return { input_ids: part(sources, source_ends, i), token_type_ids: null, label: 0, targets: target, decoder_input_ids };
    },
  };
}

/** Tokens of a target. Where the tokenizer's template does not end a text with the end-of-text token, it is appended. */
function targetTokens(text: string, tokenizer: LanguageTokenizer, eos: number, max_length: number): { input_ids: Int32Array; cut: boolean } {
  const whole = tokenizer.encode(text, max_length);
  if (whole.input_ids.at(-1) === eos) return whole;
  const { input_ids, cut } = tokenizer.encode(text, max_length - 1);
  return { input_ids: Int32Array.from([...input_ids, eos]), cut };
}
