/** A preview of data as a text to read: what is learned stands on lines of its own, so that it takes no colours to see it. */
import * as path from 'node:path';
import type { Preview, PreviewExample, PreviewToken } from '../protocol/engine';

/** Offsets of characters, [begin, end). */
export type Span = [number, number];

export interface PreviewText {
  text: string;
  /** Tokens that are learned. */
  learned: Span[];
  special: Span[];
}

/** Characters of a line, its mark aside. */
const WIDTH = 80;
const MOST_CLASSES = 20;

/** `name` is that of the experiment. */
export function previewText(preview: Preview, name: string): PreviewText {
  const runs = preview.examples.map(example => runsOf(example, preview));
  const page = new Page(Math.max(...runs.flat().map(({ mark }) => mark.length)));
  page.line(`Data of ${name}, as training reads it`);
  page.line();
  for (const [key, value] of summary(preview)) page.line(`${key.padEnd(8)} ${value}`);
  page.line();
  page.line('· space, ↵ line end, → tab; ¦ between two tokens that no space separates');
  preview.examples.forEach((example, i) => {
    page.line();
    page.line(`Example ${i + 1}, ${heading(example, preview)}`);
    for (const run of runs[i]) page.run(run);
  });
  return { text: page.text, learned: page.learned, special: page.special };
}

const number = (value: number): string => value.toLocaleString('en-US');
const percent = (part: number, whole: number): string => `${Math.round(100 * part / Math.max(1, whole))} %`;

function summary(preview: Preview): [string, string][] {
  const { rows, all_rows, tokens, mean, longest, longest_target, cut, max_length, max_target_length, learned_tokens, nothing_learned, classes, packed_rows } = preview;
  const limit = `max_length ${number(max_length)}${max_target_length === null ? '' : `, targets at ${number(max_target_length)}`}`;
  const lines: [string, string][] = [
    ['file', `${path.basename(preview.file)}, ${all_rows ? '' : 'of more than these the first '}${number(rows)} ${rows === 1 ? 'row' : 'rows'}`],
    ['task', preview.problem_type ? `${preview.task}, ${preview.problem_type}` : preview.task],
    ['tokens', `${number(tokens)} in all, ${number(mean)} on average, ${longest_target === null ? `${number(longest)} in the longest` : `${number(longest)} in the longest source, ${number(longest_target)} in the longest target`}`],
    ['cut', `${cut === 0 ? 'none' : `${number(cut)} of ${number(rows)} examples (${percent(cut, rows)})`} at ${limit}${cut === 0 ? '' : `, ${preview.truncation_side === 'left' ? 'at their beginning' : 'at their end'}`}`],
  ];
  if (learned_tokens !== null) lines.push(['learned', `${number(learned_tokens)} tokens (${percent(learned_tokens, tokens)})${nothing_learned ? `; of ${number(nothing_learned)} ${nothing_learned === 1 ? 'example' : 'examples'} nothing` : ''}`]);
  if (classes) {
    const all = classes.reduce((sum, { count }) => sum + count, 0);
    const shown = classes.slice(0, MOST_CLASSES).map(({ name, count }) => `${visible(name)} ${number(count)} (${percent(count, all)})`);
    lines.push([preview.task === 'TOKEN_CLS' ? 'tags' : 'classes', `${shown.join(', ')}${classes.length > MOST_CLASSES ? `, … (${number(classes.length)} in all)` : ''}`]);
  }
  if (packed_rows !== null) lines.push(['packing', `examples share ${number(packed_rows)} ${packed_rows === 1 ? 'row' : 'rows'} of up to ${number(max_length)} tokens, ${percent(tokens, packed_rows * max_length)} full; below each stands by itself`]);
  return [...lines, ...preview.notes.map((note): [string, string] => ['note', note])];
}

function heading({ line, tokens, cut, label, input, target }: PreviewExample, { file, task }: Preview): string {
  const learned = [...input, ...target ?? []].filter(token => token.learned || token.tag !== undefined).length;
  const what = Array.isArray(label) ? (label.length ? `labels ${label.map(visible).join(', ')}` : 'no label') : label === undefined ? `${number(learned)} learned` : typeof label === 'number' ? `value ${label}` : `label ${visible(label)}`;
  return `${/\.parquet$/i.test(file) ? 'row' : 'line'} ${line}: ${number(tokens)} tokens, ${what}${task === 'TOKEN_CLS' ? ' (the first token of each word)' : ''}${cut ? ', cut' : ''}`;
}

/** Tokens one after the other of which the same is to be said. */
interface Run { mark: string; tokens: PreviewToken[]; learned: boolean }

function runsOf({ input, target }: PreviewExample, { task }: Preview): Run[] {
  if (target) return [{ mark: 'source', tokens: input, learned: false }, { mark: 'learned', tokens: target, learned: true }];
  const runs: Run[] = [];
  for (const token of input) {
    const learned = token.learned === true || token.tag !== undefined;
    const mark = token.tag !== undefined ? visible(token.tag) : task === 'TOKEN_CLS' ? 'no tag' : learned ? 'learned' : 'read';
    const last = runs.at(-1);
    // Each tag is that of one token.
    if (last?.mark === mark && token.tag === undefined) last.tokens.push(token);
    else runs.push({ mark, tokens: [token], learned });
  }
  return runs;
}

class Page {
  text = '';
  readonly learned: Span[] = [];
  readonly special: Span[] = [];

  /** `mark_width`: of the longest mark. */
  constructor(private readonly mark_width: number) {}

  line(text = ''): void { this.text += `${text}\n`; }

  run({ mark, tokens, learned }: Run): void {
    this.text += `  ${mark.padEnd(this.mark_width)}  `;
    let begin = this.text.length;
    const end = (): void => { if (learned && this.text.length > begin) this.learned.push([begin, this.text.length]); };
    const wrap = (): void => {
      end();
      this.text += `\n${' '.repeat(this.mark_width + 4)}`;
      begin = this.text.length;
    };
    let ended = false;
    tokens.forEach((token, i) => {
      if (i > 0 && touch(tokens[i - 1], token)) this.text += '¦';
      for (const part of visible(token.text).split('\n').filter(part => part !== '')) {
        if (ended || this.text.length > begin && this.text.length + part.length > begin + WIDTH) wrap();
        if (token.special) this.special.push([this.text.length, this.text.length + part.length]);
        this.text += part;
        ended = part.endsWith('↵');
      }
    });
    end();
    this.text += '\n';
  }
}

/** Whether nothing that is seen stands between two tokens. */
const touch = (before: PreviewToken, token: PreviewToken): boolean =>
  !before.special && !token.special && /\S$/u.test(before.text) && /^\S/u.test(token.text);

/** White space that can be seen; a line end still ends the line. */
const visible = (text: string): string =>
  text.replace(/[\s\p{Cc}\p{Cf}]/gu, character => VISIBLE[character] ?? `⟨U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}⟩`);

const VISIBLE: Record<string, string> = { ' ': '·', '\n': '↵\n', '\t': '→', '\r': '␍' };
