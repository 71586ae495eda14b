/** Reading and editing experiment files as text, so that comments and layout survive. Pure. */
import { getNodeValue, parse, parseTree, printParseErrorCode, stripComments, type Node, type ParseError } from 'jsonc-parser';
import { defaultStrategy } from '../protocol/evaluations';
import { parseExperiment, SECTIONS, settingAt, SETTINGS, valueProblem, type Problem, type SettingChange } from '../protocol/experiment';
import { faultInWords } from '../protocol/jsonFault';
import { parseSweep, sweepSize } from '../protocol/sweep';
import type { ExperimentValues } from '../protocol/panel';

/** Characters from `start` to before `end`. */
export interface Span { start: number; end: number }
export interface PlacedProblem extends Problem { span: Span }
export interface Reading { values: ExperimentValues; problems: PlacedProblem[]; syntaxError: boolean; sweep: boolean }

const PARSE_OPTIONS = { allowTrailingComma: true, disallowComments: false };

/** Reads an experiment file as far as it can be read. Every problem comes with the place to underline. */
export function readExperiment(text: string): Reading {
  const errors: ParseError[] = [];
  const json: unknown = parse(text, errors, PARSE_OPTIONS);
  const tree = parseTree(text, [], PARSE_OPTIONS);
  const syntax = errors.map(error => ({
    path: [], cause: `not valid JSON: ${faultInWords(printParseErrorCode(error.error))}`, action: 'correct the text at this place',
    span: { start: error.offset, end: error.offset + Math.max(1, error.length) },
  }));
  const { sweep, problems: ofSweep } = parseSweep(json);
  const problems = [...parseExperiment(json).problems, ...ofSweep];
  const placed = problems.map(problem => ({ ...problem, span: spanOf(tree, problem.path) }));
  const values = lenientValues(json, problems);
  return { values: sweep ? { ...values, sweep: sweepSize(sweep, values.lora.r) } : values, problems: syntax.length ? syntax : placed, syntaxError: syntax.length > 0, sweep: sweep !== null };
}

/** Applies changes to JSON text one after the other. A value of undefined removes its key. */
export function editJson(text: string, changes: readonly SettingChange[]): string {
  return changes.reduce(editOne, text);
}

function editOne(text: string, { path, value }: SettingChange): string {
  if (value === undefined) {
    // A key that stands twice is there until both are gone.
    for (let node = nodeAt(text, path); node; node = nodeAt(text, path)) text = removeEntry(text, node.parent!);
    return text;
  }
  for (let length = 0; length < path.length; length++) {
    const holder = nodeAt(text, path.slice(0, length))!;
    // The parser takes a section that is null for an empty one.
    if (holder.type !== 'object') text = replace(text, holder, '{}');
    if (!nodeAt(text, path.slice(0, length + 1))) text = appendEntry(text, nodeAt(text, path.slice(0, length))!, `${JSON.stringify(path[length])}: null`);
  }
  const node = nodeAt(text, path)!;
  return changeEntries(text, path, value) ?? replace(text, node, printValue(value, lineIndent(text, node.offset), layoutOf(text)));
}

/**
 * Changes a list or object with comments entry by entry, so that those of the entries that stay do, too. The order of a list has no meaning in an experiment. Undefined where that of
 * an object would become another, as of patterns of which the first one counts, where keys stand twice, and where there are no comments.
 */
function changeEntries(text: string, path: readonly string[], value: unknown): string | undefined {
  const node = nodeAt(text, path)!;
  const before = text.slice(node.offset, node.offset + node.length);
  if (stripComments(before) === before || node.type !== (Array.isArray(value) ? 'array' : isObject(value) ? 'object' : undefined)) return undefined;
  const entries = printEntries(value as object);
  const present = printEntries(getNodeValue(node) as object);
  if (present.length !== node.children!.length) return undefined;
  const added = entries.filter(entry => !present.includes(entry));
  if (node.type === 'object' && [...present.filter(entry => entries.includes(entry)), ...added].join() !== entries.join()) return undefined;
  for (const index of [...present.keys()].reverse()) if (!entries.includes(present[index])) text = removeEntry(text, nodeAt(text, path)!.children![index]);
  for (const entry of added) text = appendEntry(text, nodeAt(text, path)!, entry);
  return text;
}

/** Puts an entry after the last one of an object or list: on a line of its own, behind a comment at the last one's, where that begins a line. */
function appendEntry(text: string, holder: Node, entry: string): string {
  const { step, eol } = layoutOf(text);
  const last = holder.children?.at(-1);
  if (!last) {
    const indent = lineIndent(text, holder.offset), close = holder.offset + holder.length - 1;
    return `${text.slice(0, close).trimEnd()}${eol}${indent}${step}${entry}${eol}${indent}${text.slice(close)}`;
  }
  const end = last.offset + last.length, comma = endOf(COMMA, text, end);
  const line = beginsLine(text, last.offset) ? endOf(REST_OF_LINE, text, comma ?? end) : undefined;
  const at = line ?? comma ?? end;
  const space = line === undefined ? ' ' : eol + lineIndent(text, last.offset);
  return `${text.slice(0, end)}${comma ? '' : ','}${text.slice(end, at)}${space}${entry}${comma ? ',' : ''}${text.slice(at)}`;
}

/** Removes an entry of an object or list with its comma: the whole lines, with the comment at their end, where it has them for itself. */
function removeEntry(text: string, entry: Node): string {
  const { offset, children } = entry.parent!;
  const end = entry.offset + entry.length, comma = endOf(COMMA, text, end), begins = beginsLine(text, entry.offset);
  const line = begins ? endOf(REST_OF_LINE, text, comma ?? end) : undefined;
  const previous = children![children!.indexOf(entry) - 1] as Node | undefined;
  let kept = text.slice(0, line === undefined ? entry.offset : lineStart(text, entry.offset)), rest = text.slice(line ?? comma ?? end);
  if (line !== undefined) rest = rest.replace(/^\r?\n/, '');
  else if (begins) rest = rest.replace(/^[ \t]+/, '');
  else kept = kept.replace(/[ \t]+$/, '');
  if (previous && !comma) {
    const last = endOf(COMMA, text, previous.offset + previous.length)!;
    kept = kept.slice(0, last - 1) + kept.slice(last);
  }
  const empty = children!.length === 1 && kept.slice(offset + 1).trim() === '' && /^\s*[}\]]/.test(rest);
  return empty ? kept.slice(0, offset + 1) + rest.trimStart() : kept + rest;
}

/** JSON in one line where it fits, as people write `["query", "value"]`, else one entry a line. */
function printValue(value: unknown, indent: string, { step, eol }: Layout): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = printEntries(value);
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) return open + close;
  const line = entries.join(', ');
  if (line.length <= 100) return Array.isArray(value) ? `[${line}]` : `{ ${line} }`;
  return `${open}${eol}${entries.map(entry => indent + step + entry).join(`,${eol}`)}${eol}${indent}${close}`;
}

const printEntries = (value: object): string[] =>
  (Array.isArray(value) ? value.map(v => JSON.stringify(v)) : Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${JSON.stringify(v)}`));

/** The characters that a problem is about: the value at its path, or the nearest object that should have held it. */
function spanOf(tree: Node | undefined, path: readonly string[]): Span {
  for (let length = path.length; tree && length > 0; length--) {
    const node = nodeIn(tree, path.slice(0, length));
    if (!node) continue;
    const property = node.parent?.type === 'property' ? node.parent : node;
    // A missing key is marked at the name of its section, not over the whole section.
    const marked = length === path.length ? property : property.children?.[0] ?? property;
    return { start: marked.offset, end: marked.offset + marked.length };
  }
  return { start: tree?.offset ?? 0, end: (tree?.offset ?? 0) + 1 };
}

/**
 * Every value that is right by itself, and defaults in place of the others; an empty `target_modules` stays empty. One that only does not go with another is shown as it is: a choice that
 * had the default in its place could not be set to that.
 */
function lenientValues(json: unknown, problems: readonly Problem[]): ExperimentValues {
  const copy = isObject(json) ? structuredClone(json) : {};
  for (const { path } of problems) {
    const parent = path.slice(0, -1).reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), copy);
    const key = path[path.length - 1];
    if (isObject(parent) && !(settingAt(path) && valueProblem(path, parent[key]) === undefined)) delete parent[key];
  }
  const section = (name: 'experiment' | (typeof SECTIONS)[number]): Record<string, unknown> => {
    const given = name === 'experiment' ? copy : copy[name];
    return Object.fromEntries(Object.entries(SETTINGS[name]).map(([key, setting]) => {
      const value = isObject(given) && Object.hasOwn(given, key) ? given[key] : undefined;
      return [key, value === undefined ? setting.default ?? null : value];
    }));
  };
  const values = { ...section('experiment'), ...Object.fromEntries(SECTIONS.map(name => [name, section(name)])) } as unknown as ExperimentValues;
  const targets = isObject(json) && isObject(json.lora) ? json.lora.target_modules : undefined;
  if (Array.isArray(targets) && targets.length === 0) values.lora.target_modules = [];
  if (isObject(json) && json.lora === null) values.lora.full = true;
  if (!isObject(copy.training) || copy.training.eval_strategy === undefined) values.training.eval_strategy = defaultStrategy(values.dataset.eval);
  return values;
}

const nodeAt = (text: string, path: readonly string[]): Node | undefined => nodeIn(parseTree(text, [], PARSE_OPTIONS), path);

/** The value at a path: of a key that stands twice the last one, which is the one that counts. */
const nodeIn = (tree: Node | undefined, path: readonly string[]): Node | undefined =>
  path.reduce<Node | undefined>((node, key) => (node?.type === 'object' ? node.children!.findLast(property => property.children![0].value === key)?.children![1] : undefined), tree);

const replace = (text: string, { offset, length }: Node, by: string): string => text.slice(0, offset) + by + text.slice(offset + length);

/** A step of indentation, and the end of a line. */
interface Layout { step: string; eol: string }
const layoutOf = (text: string): Layout =>
  ({ step: /^\t/m.test(text) ? '\t' : ' '.repeat(/^( +)\S/m.exec(text)?.[1].length ?? 2), eol: text.includes('\r\n') ? '\r\n' : '\n' });

/** To the comma after an entry, over comments. */
const COMMA = /(?:\s|\/\/[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*,/y;
/** To the end of a line on which nothing but comments comes. */
const REST_OF_LINE = /(?:[ \t]|\/\*(?:[^*\n]|\*(?!\/))*\*\/)*(?:\/\/[^\n]*?)?(?=\r?\n|$)/y;
/** Where a sticky pattern that is held against `text` at `offset` ends; undefined if it does not match. */
function endOf(pattern: RegExp, text: string, offset: number): number | undefined {
  pattern.lastIndex = offset;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}

const lineStart = (text: string, offset: number): number => text.lastIndexOf('\n', offset - 1) + 1;
const beginsLine = (text: string, offset: number): boolean => text.slice(lineStart(text, offset), offset).trim() === '';
const lineIndent = (text: string, offset: number): string => /^[ \t]*/.exec(text.slice(lineStart(text, offset)))![0];
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
