/** Training examples of a language model: whole texts, prompts with completions, or conversations. */
import type { DatasetSettings } from '../../protocol/experiment';
import { LabError } from '../errors';
import { IGNORED } from '../training/step.types';
import type { ChatTemplate, Message } from './chatTemplate';
import { describe, firstOf, problem, readRecords, textColumn, textOf, type Column, type Place } from './dataset';
import { checkIds, checkLength, type ExampleSet, type Looking } from './examples';
import { LearnedTokens } from './learnedTokens';
import type { LanguageTokenizer } from './tokenizer';
import { keptRange, type Side } from './truncation';

export type LanguageForm = 'text' | 'completion' | 'messages';
type LanguageColumns = Pick<DatasetSettings, 'text_column' | 'prompt_column' | 'completion_column' | 'messages_column'>;

export interface LoadTextsOptions extends Looking {
  file: string;
  dataset: LanguageColumns;
  tokenizer: LanguageTokenizer;
  /** Number of the token that ends a text. */
  eos: number;
  /** Only for conversations. */
  template: ChatTemplate | null;
  /** Longest example in tokens. */
  max_length: number;
  limits: { vocab_size: number; max_positions: number };
  onProgress?: (fraction: number) => void;
}

/** Which columns are read. Error `dataset.columns`: the keys contradict each other. */
export function languageForm({ prompt_column, completion_column, messages_column }: LanguageColumns): LanguageForm {
  const bad = (where: string, cause: string, action: string): LabError => new LabError({ code: 'dataset.columns', where: `dataset.${where}`, cause, action });
  if (messages_column !== null && (prompt_column ?? completion_column) !== null) throw bad('messages_column', 'is given together with prompt_column or completion_column', 'remove one of the two forms');
  if ((prompt_column === null) !== (completion_column === null)) {
    const [given, other] = prompt_column === null ? ['completion_column', 'prompt_column'] : ['prompt_column', 'completion_column'];
    throw bad(given, `is given without ${other}`, `name both columns, or use text_column alone`);
  }
  return messages_column !== null ? 'messages' : prompt_column !== null ? 'completion' : 'text';
}

/** Tokens of one example, how many special tokens stand before its text, and for each token whether it is learned. */
interface Learned { ids: number[]; before?: number; learned: (i: number) => boolean }

/**
 * Tokenizes every row of a file. The end-of-text token follows every text that does not end with it, and is learned, even where it is the padding token too.
 * Position t is to predict token t + 1 where that token is learned: all of a text, the completion, the assistant's turns or what the chat template marks by `{% generation %}`.
 * Errors: `training.max-length`, `dataset.columns`, `dataset.nothing-to-learn`, `dataset.chat-template`, `dataset.token-beyond-vocabulary`, and those of `readRecords`.
 */
export function loadTexts(options: LoadTextsOptions): ExampleSet {
  const { file, max_length, limits, most = Infinity, onExample } = options;
  checkLength(max_length, limits.max_positions);
  const examples = new LearnedTokens();
  const { truncation_side } = options.tokenizer;
  for (const { example: { ids, before = 0, learned }, line } of firstOf(learnedRows(options), most)) {
    checkIds(ids, limits.vocab_size, { file, line });
    const length = Math.min(ids.length, max_length);
    const [cut] = keptRange(ids.length, max_length, truncation_side);
    /** Of a token that is left, its place in the whole text. As tokenizers have it, special tokens before the text stay. */
    const placeOf = (i: number): number => (i < before ? i : cut + i);
    const next = Int32Array.from({ length }, (_, i) => (i + 1 < length && learned(placeOf(i + 1)) ? ids[placeOf(i + 1)] : IGNORED));
    const some = next.some(target => target !== IGNORED);
    if (!some && length === ids.length) throw problem('dataset.nothing-to-learn', { file, line }, 'the example has no token that is learned', 'give it a text, a completion or a turn of the assistant');
    examples.add(Int32Array.from({ length }, (_, i) => ids[placeOf(i)]), next, length < ids.length);
    onExample?.({ line, cut: length < ids.length });
  }
  if (examples.nothing && examples.length < most) {
    throw new LabError({ code: 'dataset.nothing-to-learn', file, cause: `nothing is left to learn: ${nothingLeft(truncation_side, max_length)}`, action: 'raise training.max_length, or shorten the prompts' });
  }
  return examples.set();
}

/** Why nothing is learned of texts that were cut. */
export const nothingLeft = (side: Side, max_length: number): string => (side === 'left' ? `the last ${max_length} tokens of a text hold none that is learned` : `the prompt alone is longer than max_length ${max_length}`);

function* learnedRows({ file, dataset, tokenizer, eos, template, onProgress: onRead }: LoadTextsOptions): Generator<{ example: Learned; line: number }> {
  const form = languageForm(dataset);
  const keys = form === 'messages' ? 'dataset.messages_column' : form === 'completion' ? 'dataset.prompt_column and dataset.completion_column' : 'dataset.text_column';
  if (form === 'messages') {
    for (const { values, line } of readRecords({ file, columns: { messages: messagesColumn(dataset.messages_column!) }, keys, onRead })) yield { example: conversation(values.messages, tokenizer, template!, eos, { file, line }), line };
  } else if (form === 'completion') {
    const columns = { prompt: textColumn(dataset.prompt_column!), completion: textColumn(dataset.completion_column!) };
    for (const { values: { prompt, completion }, line } of readRecords({ file, columns, keys, onRead })) {
      const given = [...tokenizer.before, ...tokenizer.tokens(prompt)];
      const whole = ended([...tokenizer.before, ...tokenizer.tokens(prompt + completion)], eos, given.length);
      const begin = common(whole, given);
      yield { example: { ids: whole, before: tokenizer.before.length, learned: i => i >= begin }, line };
    }
  } else {
    for (const { values: { text }, line } of readRecords({ file, columns: { text: textColumn(dataset.text_column) }, keys, onRead })) yield { example: { ids: ended([...tokenizer.before, ...tokenizer.tokens(text)], eos, tokenizer.before.length), before: tokenizer.before.length, learned: () => true }, line };
  }
}

/** With the end-of-text token behind the last of them, unless the text of more than `before` tokens ends with it itself. */
const ended = (ids: number[], eos: number, before: number): number[] => (ids.length > before && ids.at(-1) === eos ? ids : [...ids, eos]);

/** How many tokens two sequences have in common at their start: a token that joins prompt and completion belongs to the completion. */
function common(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/** What two texts have in common at their end. */
function commonEnd(a: string, b: string): string {
  let length = 0;
  while (length < a.length && length < b.length && a.at(-1 - length) === b.at(-1 - length)) length++;
  return a.slice(a.length - length);
}

/** A conversation whose template marks what the assistant writes: exactly that is learned, each token that has a character of it. */
function markedConversation({ text, places }: { text: string; places: [number, number][] }, tokenizer: LanguageTokenizer): Learned {
  const ids = tokenizer.tokens(text);
  const spans = places.filter(([begin, end]) => begin < end).map(([begin, end]): [number, number] => {
    const before = tokenizer.tokens(text.slice(0, end));
    const same = common(ids, before);
    return [common(ids, tokenizer.tokens(text.slice(0, begin))), same + (same < before.length ? 1 : 0)];
  });
  return { ids, learned: i => spans.some(([begin, end]) => i >= begin && i < end) };
}

/**
 * A conversation as its template writes it. What the template adds when a turn is appended after its generation prompt is the
 * assistant's, end-of-turn mark included. The end-of-text token is appended where the last turn does not hold it.
 */
function conversation(messages: readonly Message[], tokenizer: LanguageTokenizer, template: ChatTemplate, eos: number, at: Place): Learned {
  const render = (count: number, prompt: boolean, turns = messages): string => {
    try { return template(turns.slice(0, count), prompt); } catch (error) {
      throw problem('dataset.chat-template', at, `the chat template refuses the conversation: ${(error as Error).message}`, 'write the turns in the order and with the roles that the template expects');
    }
  };
  const text = render(messages.length, false);
  if (template.marked) return markedConversation(template.marked(messages), tokenizer);
  const ids = tokenizer.tokens(text);
  const place = (prefix: string): number | undefined => (text.startsWith(prefix) ? common(ids, tokenizer.tokens(prefix)) : undefined);
  /** Where an earlier turn ends of which the template writes more while nothing follows it, as Qwen3's does the reasoning: what stands behind its content is the same in both. */
  const endWithin = (turn: number): number | undefined => {
    const other = messages.map((message, i) => (i === turn ? { ...message, content: /x\s*$/.test(message.content) ? 'y' : 'x' } : message));
    const behind = (count: number): string => commonEnd(render(count, false), render(count, false, other));
    const [last, rest] = [behind(turn + 1), behind(messages.length)];
    return rest.startsWith(last) ? place(text.slice(0, text.length - rest.length + last.length)) : undefined;
  };
  const spans = messages.flatMap(({ role }, turn): [number, number][] => {
    if (role !== 'assistant') return [];
    const begin = place(render(turn, true)) ?? (turn > 0 ? place(render(turn, false)) : 0);
    const end = turn === messages.length - 1 ? ids.length : place(render(turn + 1, false)) ?? endWithin(turn);
    if (begin !== undefined && end !== undefined) return [[begin, end]];
    throw problem('dataset.chat-template', at, 'the chat template writes earlier turns differently once later ones follow, so that the assistant\'s turns cannot be told apart', 'give one turn of the assistant per example, as the last message');
  });
  const last = spans.at(-1);
  if (last && messages.at(-1)!.role === 'assistant' && !ids.slice(...last).includes(eos)) {
    last[1] = ids.length + 1;
    ids.push(eos);
  }
  return { ids, learned: i => spans.some(([begin, end]) => i >= begin && i < end) };
}

const messagesColumn = (name: string): Column<Message[]> => ({
  name,
  read(value, column, at) {
    const wrong = (what: string): LabError => problem('dataset.wrong-type', at, `${what} in "${column}"`, 'give a list of {"role": "user", "content": "…"} and {"role": "assistant", "content": "…"} in a .jsonl or .parquet file');
    if (!Array.isArray(value)) throw wrong(`there is ${describe(value)} instead of a list of messages`);
    if (!value.length) throw wrong('there is an empty list of messages');
    return value.map((message: unknown) => {
      if (typeof message !== 'object' || message === null || typeof (message as Message).role !== 'string') throw wrong(`there is ${describe(message)} instead of a message`);
      return { ...message as Message, content: textOf((message as Message).content, `${column}.content`, at) };
    });
  },
});
