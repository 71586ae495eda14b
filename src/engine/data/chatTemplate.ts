/** Chat templates: Jinja programs in a checkpoint that write a conversation as the text the model was trained on. */
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { LabError } from '../errors';
import { lookUp, readText } from '../files';
import { strftime } from './strftime';
import { specialToken } from './tokenizer';

export interface Message { role: string; content: string }

export interface ChatTemplate {
  /** Writes messages as one text; with `add_generation_prompt` also what stands before the assistant's next turn. */
  (messages: readonly Message[], add_generation_prompt: boolean): string;
  /** Where the template itself marks by `{% generation %}` what the assistant writes: the text, and the places `[begin, end)` in it. */
  marked?(messages: readonly Message[]): { text: string; places: [number, number][] };
}

/** Stand for the two tags in a rendered text: characters that no text holds. */
const [BEGIN, END] = ['\ufdd0', '\ufdd1'];

/** The library declares a `strftime_now` that writes months in the system's language. It takes no variable of a name that it has, so the template itself sets another. */
const [OWN_CLOCK, SET_CLOCK] = ['lab_strftime_now', '{% set strftime_now = lab_strftime_now %}\n'];

const LARGEST_TEMPLATE = 1 << 20;
const SPECIAL_TOKENS = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'];

/**
 * The checkpoint's template: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json` (the one named "default" of a list). What
 * it writes of the date and time is that of `moment`.
 * Errors: `tokenizer.no-chat-template`, `tokenizer.chat-template` if it is no valid Jinja.
 */
export function loadChatTemplate(folder: string, config: Record<string, unknown>, moment = new Date()): ChatTemplate {
  const file = join(folder, 'chat_template.jinja');
  const own = lookUp(file)?.isFile === true;
  const source = own ? readText(file, LARGEST_TEMPLATE) : fromConfig(config.chat_template);
  const place = own ? file : join(folder, 'tokenizer_config.json');
  if (source === undefined) throw new LabError({ code: 'tokenizer.no-chat-template', file: folder, cause: 'the checkpoint has no chat template', action: 'use a checkpoint that was made for conversations, or write the data as prompt_column and completion_column' });
  let template: Template, marking: Template | undefined;
  try {
    template = new Template(SET_CLOCK + source);
    const marked = markGenerations(source);
    if (marked !== source) marking = new Template(SET_CLOCK + marked);
  } catch (error) {
    throw new LabError({ code: 'tokenizer.chat-template', file: place, where: 'chat_template', cause: `is not a template that can be used: ${(error as Error).message}`, action: 'use the chat template that belongs to this checkpoint' }, { cause: error });
  }
  const tokens = Object.fromEntries(SPECIAL_TOKENS.flatMap(name => { const token = specialToken(config, name); return token === null ? [] : [[`${name}_token`, token]]; }));
  const render = (by: Template, messages: readonly Message[], add_generation_prompt: boolean): string =>
    by.render({ ...tokens, messages: structuredClone(messages), tools: null, documents: null, add_generation_prompt, [OWN_CLOCK]: (format: string) => strftime(moment, format) });
  return Object.assign((messages: readonly Message[], prompt: boolean) => render(template, messages, prompt), marking && { marked: (messages: readonly Message[]) => placesOf(render(marking, messages, false)) });
}

/**
 * The tags as expressions that leave a mark. The library drops the tags; as of any block, white space before one at the beginning of a line
 * and the line end after it do not count.
 */
function markGenerations(source: string): string {
  return source.replace(/(^[ \t]*)?\{%(-?)\s*(end)?generation\s*(-?)%\}\n?/gm, (_, _before: string | undefined, left: string, end: string | undefined, right: string) => `{{${left} '${end ? END : BEGIN}' ${right}}}`);
}

function placesOf(marked: string): { text: string; places: [number, number][] } {
  const places: [number, number][] = [];
  let text = '';
  for (const piece of marked.split(/([\ufdd0\ufdd1])/)) {
    if (piece === BEGIN) places.push([text.length, text.length]);
    else if (piece === END) places.at(-1)![1] = text.length;
    else text += piece;
  }
  return { text, places };
}

function fromConfig(template: unknown): string | undefined {
  if (typeof template === 'string') return template;
  if (!Array.isArray(template)) return undefined;
  const named = template as { name?: unknown; template?: unknown }[];
  const chosen = (named.find(({ name }) => name === 'default') ?? (named.length === 1 ? named[0] : undefined))?.template;
  return typeof chosen === 'string' ? chosen : undefined;
}
