/** Reading and editing experiment files as text, so that comments and layout survive. Pure. */
import { findNodeAtLocation, modify, applyEdits, parse, parseTree, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';
import { defaultStrategy } from '../protocol/evaluations';
import { parseExperiment, SECTIONS, settingAt, SETTINGS, valueProblem, type Problem } from '../protocol/experiment';
import { faultInWords } from '../protocol/jsonFault';
import { parseSweep, sweepSize } from '../protocol/sweep';
import type { ExperimentValues } from '../protocol/panel';

export interface Change { path: string[]; value: unknown }
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
export function editJson(text: string, changes: readonly Change[]): string {
  return changes.reduce(editOne, text);
}

function editOne(text: string, { path, value }: Change): string {
  const formattingOptions = { insertSpaces: !/^\t/m.test(text), tabSize: indentOf(text), eol: text.includes('\r\n') ? '\r\n' : '\n' };
  if (value === undefined) {
    const tree = parseTree(text, [], PARSE_OPTIONS);
    return tree && findNodeAtLocation(tree, path) ? applyEdits(text, modify(text, path, undefined, { formattingOptions })) : text;
  }
  let node = nodeAt(text, path);
  const section = path.length > 1 ? nodeAt(text, path.slice(0, -1)) : undefined;
  // The parser takes a section that is null for an empty one.
  if (section?.type === 'null') text = `${text.slice(0, section.offset)}{}${text.slice(section.offset + section.length)}`;
  if (!node) {
    text = applyEdits(text, modify(text, path, null, { formattingOptions }));
    node = nodeAt(text, path)!;
  }
  return text.slice(0, node.offset) + printValue(value, lineIndent(text, node.offset), ' '.repeat(formattingOptions.tabSize)) + text.slice(node.offset + node.length);
}

/** JSON in one line where it fits, as people write `["query", "value"]`, else one entry a line. */
function printValue(value: unknown, indent: string, step: string): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Array.isArray(value) ? value.map(v => JSON.stringify(v)) : Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${JSON.stringify(v)}`);
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) return open + close;
  const line = entries.join(', ');
  if (line.length <= 100) return Array.isArray(value) ? `[${line}]` : `{ ${line} }`;
  return `${open}\n${entries.map(entry => indent + step + entry).join(',\n')}\n${indent}${close}`;
}

/** The characters that a problem is about: the value at its path, or the nearest object that should have held it. */
function spanOf(tree: Node | undefined, path: readonly string[]): Span {
  for (let length = path.length; tree && length > 0; length--) {
    const node = findNodeAtLocation(tree, path.slice(0, length));
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

function nodeAt(text: string, path: readonly string[]): Node | undefined {
  const tree = parseTree(text, [], PARSE_OPTIONS);
  return tree && findNodeAtLocation(tree, [...path]);
}

const indentOf = (text: string): number => /^( +)\S/m.exec(text)?.[1].length ?? 2;
const lineIndent = (text: string, offset: number): string => /^[ \t]*/.exec(text.slice(text.lastIndexOf('\n', offset - 1) + 1))![0];
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
