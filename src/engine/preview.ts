/** What training would read of an experiment's data: its first examples token by token, and figures of the file. */
import type { LanguageTokenizer } from './data/tokenizer';
import { readExperimentFile } from './experimentFile';
import { openBase, openData, packedRows, type TrainingData } from './prepare';
import { withPlace } from './run';
import { IGNORED, tokensOf, type Example } from './training/step.types';
import type { EngineRequests, Preview, PreviewExample, PreviewToken } from '../protocol/engine';
import { hasClasses } from '../protocol/experiment';

/** Rows that are counted: about a second of work, where a whole file may take minutes. */
const MOST_ROWS = 10_000;

/**
 * The first `examples` (5) of the training file as `prepare` makes them, and figures of its first `most_rows`. Reads no weights and writes nothing.
 * Errors: those of a run about experiment, checkpoint, tokenizer and data.
 */
export function previewData({ experiment_file, examples: shown = 5 }: EngineRequests['preview'][0], most_rows = MOST_ROWS): Preview {
  const source = readExperimentFile(experiment_file);
  const { experiment: { task, training } } = source;
  const notes: string[] = [];
  try {
    const data = openData(source, openBase(source), { progress: () => {}, log: ({ message }) => notes.push(message) });
    const lines: { line: number; cut: boolean }[] = [];
    // One row more tells whether there are more.
    const most = Math.max(most_rows, shown);
    const set = data.load(data.files.train, undefined, { most: most + 1, onExample: example => lines.push(example) });
    const all = Array.from({ length: Math.min(most, set.length) }, (_, i) => set.get(i));
    const tokens = sum(all.map(tokensOf));
    const learned = hasClasses(task) ? null : all.map(({ targets }) => count(targets!, target => target !== IGNORED));
    return {
      file: data.files.train, task, problem_type: task === 'SEQ_CLS' ? data.base.problem_type : null,
      max_length: training.max_length, max_target_length: data.base.family.seq2seq ? training.max_target_length ?? training.max_length : null, truncation_side: data.tokenizer.truncation_side,
      rows: all.length, all_rows: all.length === set.length, tokens, mean: Math.round(10 * tokens / all.length) / 10, longest: longest(all.map(({ input_ids }) => input_ids)),
      longest_target: data.base.family.seq2seq ? longest(all.map(({ targets }) => targets!)) : null,
      cut: count(lines.slice(0, most), ({ cut }) => cut), learned_tokens: learned && sum(learned), nothing_learned: learned && count(learned, number => number === 0),
      classes: classesOf(all, data), packed_rows: training.packing ? packedRows({ ...set, length: all.length }, training.max_length).length : null, notes,
      examples: all.slice(0, shown).map((example, i) => ({ ...lines[i], ...shownExample(example, data) })),
    };
  } catch (error) { throw withPlace(error, source); }
}

function shownExample(example: Example, data: TrainingData): Omit<PreviewExample, 'line' | 'cut'> {
  const { tokenizer, base: { task, problem_type } } = data;
  const { input_ids, targets } = example;
  const input = pieces(input_ids, tokenizer);
  const tokens = tokensOf(example);
  const name = (number: number): string => data.labels!.names[number];
  if (task === 'TOKEN_CLS') return { tokens, input: input.map((token, i) => (targets![i] === IGNORED ? token : { ...token, tag: name(targets![i]) })) };
  if (task === 'SEQ_CLS') return { tokens, input, label: problem_type === 'regression' ? example.label : example.classes ? Array.from(example.classes, name) : name(example.label) };
  const learned = (token: PreviewToken): PreviewToken => ({ ...token, learned: true });
  if (example.decoder_input_ids) return { tokens, input, target: pieces(targets!, tokenizer).map(learned) };
  // The target of a position is the token after it.
  return { tokens, input: input.map((token, i) => (i > 0 && targets![i - 1] !== IGNORED ? learned(token) : token)) };
}

const pieces = (ids: Int32Array, tokenizer: LanguageTokenizer): PreviewToken[] =>
  tokenizer.pieces(ids).map(({ text, special }, i) => ({ id: ids[i], text, ...(special ? { special } : {}) }));

/** How many examples, or words, have each class; null where there are none. */
function classesOf(examples: readonly Example[], { labels, base: { task, problem_type } }: TrainingData): Preview['classes'] {
  if (!labels || problem_type === 'regression') return null;
  const counts = labels.names.map(name => ({ name, count: 0 }));
  for (const { label, classes, targets } of examples) {
    for (const number of task === 'TOKEN_CLS' ? targets! : classes ?? [label]) if (number !== IGNORED) counts[number].count += 1;
  }
  return counts;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
const longest = (all: readonly ArrayLike<number>[]): number => all.reduce((most, { length }) => Math.max(most, length), 0);

function count<T>(values: Iterable<T>, has: (value: T) => boolean): number {
  let number = 0;
  for (const value of values) if (has(value)) number += 1;
  return number;
}
