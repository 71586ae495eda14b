/** What hovers say, as Markdown. Pure: no editor, no files. */
import { countAdapter, formatCount, formatInteger, type AdapterCount, type AdapterSettings, type AdapterShape, type ModelShape } from '../protocol/adapterMath';
import { settingAt, valueProblem, type Setting } from '../protocol/experiment';
import { keywordArguments, pythonLiteral, pythonTokens } from './pythonLiteral';

/** Keys that change which modules are adapted, or what is trained. */
const SHAPING = ['layers_to_transform', 'layers_pattern', 'use_dora', 'lora_bias', 'bias', 'modules_to_save', 'use_rslora'];
/** Rows of a table of adapted modules; the rest is counted. */
const MOST_ROWS = 8;

/** Name, type, range and default of one key of the experiment file; undefined if there is no such key. */
export function settingTitle(path: readonly (string | number)[]): string | undefined {
  const setting = settingAt(path);
  if (!setting) return undefined;
  const standard = setting.default === undefined ? 'required' : setting.default === null ? 'optional' : `default \`${JSON.stringify(setting.default)}\``;
  return `**${path.join('.')}** · ${kindOf(setting)} · ${standard}`;
}

/** The title with the documentation, for languages without our JSON schema, which says it by itself. */
export function settingHover(path: readonly (string | number)[]): string | undefined {
  const title = settingTitle(path);
  return title && `${title}\n\n${settingAt(path)!.doc}`;
}

/** What a LoRA configuration does to a model. `key` decides what comes first. */
export function loraHover(key: string, model: ModelShape, lora: AdapterSettings): string | undefined {
  if (!['target_modules', 'exclude_modules', 'r', 'lora_alpha', 'rank_pattern', 'alpha_pattern', ...SHAPING].includes(key)) return undefined;
  const count = countAdapter(model, lora);
  const notes = count.unmatched.map(name => `\n\n**${code(name)} matches no linear layer or embedding.**`).join('');
  const scaling = ['lora_alpha', 'alpha_pattern', 'use_rslora'].includes(key) ? `\n\n${scalingLine(count.adapters)}` : '';
  return `${adaptersTable(count.adapters)}${notes}${scaling}\n\n${costLine(count)}`;
}

/** Kinds of adapted modules (the same place in every layer) with the shapes of A and B. */
export function adaptersTable(adapters: readonly AdapterShape[]): string {
  if (adapters.length === 0) return 'No module is matched.';
  const kinds = new Map<string, AdapterShape[]>();
  for (const adapter of adapters) {
    const kind = `${adapter.name.replace(/^.*?\.\d+\./, '')} ${adapter.A} ${adapter.B}`;
    kinds.set(kind, [...kinds.get(kind) ?? [], adapter]);
  }
  const rows = [...kinds.values()].map(same => {
    const [{ name, A, B, parameters }] = same;
    const label = same.length === 1 ? name : name.replace(/^.*?\.\d+\./, '');
    return `| ${code(label)} | ${same.length} | \`[${A.join(', ')}]\` | \`[${B.join(', ')}]\` | ${formatInteger(parameters * same.length)} |`;
  });
  const more = rows.length > MOST_ROWS ? `\n\n… and ${rows.length - MOST_ROWS} more kinds` : '';
  const sum = adapters.reduce((total, a) => total + a.parameters, 0);
  return `**${adapters.length} modules**, ${formatInteger(sum)} adapter parameters\n\n| module | count | A [r, in] | B [out, r] | parameters |\n|---|--:|---|---|--:|\n${rows.slice(0, MOST_ROWS).join('\n')}${more}`;
}

function scalingLine(adapters: readonly AdapterShape[]): string {
  const root = adapters.some(a => a.scaling !== a.lora_alpha / a.r) ? '√' : '';
  const values = [...new Set(adapters.map(a => `${a.lora_alpha} / ${root}${a.r} = ${Number(a.scaling.toPrecision(4))}`))];
  return values.length ? `scaling alpha / ${root}r: ${values.slice(0, 4).join('; ')}${values.length > 4 ? '; …' : ''}` : '';
}

function costLine(count: AdapterCount): string {
  const saved = count.saved.length ? `, among them ${count.saved.map(code).join(', ')}, trained whole` : '';
  return `\`${formatCount(count)}\`${saved}`;
}

/** A `LoraConfig(...)` call around a place in Python source, as far as its arguments are literals. */
export interface PythonConfig { key: string; lora: AdapterSettings }

/**
 * The keyword under `offset` inside a `LoraConfig(...)` call, with the call's settings; undefined elsewhere.
 * Arguments that are no literals keep PEFT's defaults.
 */
export function pythonLoraConfig(text: string, offset: number): PythonConfig | undefined {
  for (const match of text.matchAll(/\bLoraConfig\s*\(/g)) {
    const start = match.index + match[0].length;
    if (start > offset) return undefined;
    const end = closingBracket(text, start);
    if (offset > end) continue;
    const call = blankComments(text.slice(start, end));
    const key = keywordAt(call, offset - start);
    return key === undefined ? undefined : { key, lora: settingsOf(call) };
  }
  return undefined;
}

/** What the call gives as a literal that the key can have, and PEFT's defaults. */
function settingsOf(call: string): AdapterSettings {
  const given = [...keywordArguments(call)].map(([key, source]) => [key, pythonLiteral(source)] as const).filter(([key, value]) => isPossible(key, value));
  return { r: 8, lora_alpha: 8, target_modules: null, ...Object.fromEntries(given) as Partial<AdapterSettings> };
}

/** An empty list of targets is one that matches nothing, not the default. */
function isPossible(key: string, value: unknown): boolean {
  if (value === undefined || !settingAt(['lora', key])) return false;
  return valueProblem(['lora', key], value) === undefined || key === 'target_modules' && Array.isArray(value) && value.length === 0;
}

/** The same text with spaces in place of comments, so that offsets stay. */
function blankComments(python: string): string {
  return python.replace(pythonTokens('#[^\\n]*'), token => (token.startsWith('#') ? ' '.repeat(token.length) : token));
}

/** The keyword whose name or value stands at `offset` of a call's arguments. */
function keywordAt(call: string, offset: number): string | undefined {
  const keywords = [...call.matchAll(/\b([A-Za-z_]\w*)\s*=(?!=)/g)];
  return keywords.filter(m => m.index <= offset).at(-1)?.[1];
}

/** Offset of the bracket that closes the call, or the end of the text while it is being typed. Skips strings and comments. */
function closingBracket(text: string, start: number): number {
  let depth = 1;
  for (const token of text.slice(start).matchAll(pythonTokens('#[^\\n]*'))) {
    if ('([{'.includes(token[0])) depth++;
    else if (')]}'.includes(token[0]) && --depth === 0) return start + token.index;
  }
  return text.length;
}

function kindOf(setting: Setting<unknown>): string {
  if (setting.choices && setting.type !== 'choices') return [...setting.choices, ...(setting.example === undefined ? [] : [setting.example])].map(choice => `\`${choice}\``).join(' | ');
  const bounds = [
    setting.minimum !== undefined && `≥ ${setting.minimum}`,
    setting.exclusiveMinimum !== undefined && `> ${setting.exclusiveMinimum}`,
    setting.maximum !== undefined && `≤ ${setting.maximum}`,
  ].filter(Boolean);
  const kind = { text: setting.path ? 'path' : 'text', names: 'names or expression', overrides: 'object of numbers', number: 'number', integer: 'whole number', integers: 'whole number or list', boolean: 'true or false', choice: '', choices: 'list of names', tokens: 'list of token numbers, or an object of them' }[setting.type];
  return bounds.length ? `${kind} ${bounds.join(', ')}` : kind;
}

const code = (text: string): string => `\`${text.replace(/[`|\n]/g, '')}\``;
