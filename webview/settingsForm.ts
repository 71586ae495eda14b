/** What a person types into a field, as the value of a key of the experiment file. Pure. */
import { settingAt, type Problem } from '../src/protocol/experiment';
import { readNumber } from '../src/protocol/typedNumber';

/** The dotted path of a key, as in `data-key`. */
export const keyOf = (path: readonly string[]): string => path.join('.');
export const pathOf = (key: string): string[] => key.split('.');

export type Read = { value: unknown } | { wrong: string };

/** The value that `text` gives a key, or what is wrong with it. */
export function readText(path: readonly string[], text: string): Read {
  const setting = settingAt(path)!;
  const trimmed = text.trim();
  if (setting.type !== 'number' && setting.type !== 'integer') return trimmed ? { value: trimmed } : setting.nullable ? { value: null } : { wrong: 'give a text' };
  if (trimmed === '' && setting.nullable) return { value: null };
  const read = readNumber(trimmed, setting.type === 'integer');
  if ('wrong' in read) return read;
  const { value } = read;
  const { minimum, exclusiveMinimum, maximum } = setting;
  if (!Number.isFinite(value)) return { wrong: 'give a number' };
  if (setting.type === 'integer' && !Number.isSafeInteger(value)) return { wrong: 'give a whole number' };
  if (minimum !== undefined && value < minimum) return { wrong: `give at least ${minimum}` };
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) return { wrong: `give a number above ${exclusiveMinimum}` };
  if (maximum !== undefined && value > maximum) return { wrong: `give at most ${maximum}` };
  return { value };
}

/** A value as a field shows it: `5e-5` rather than `0.00005`. */
export function showValue(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'number') return String(value);
  const plain = String(value);
  const short = value.toExponential().replace('e+', 'e');
  return value !== 0 && Math.abs(value) < 0.01 && short.length < plain.length ? short : plain;
}

/** The value at a path such as `['lora', 'r']`. */
export function valueAt(values: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], values);
}

/** A copy of `values` with another value at `path`; `undefined` stands for the key's default. */
export function withValue<T>(values: T, path: readonly string[], value: unknown): T {
  const given = value === undefined ? settingAt(path)?.default : value;
  const [first, ...rest] = path;
  const inner = (values as Record<string, unknown>)[first];
  return { ...values, [first]: rest.length ? withValue(inner as object, rest, given) : given };
}

/** Problems of the file by the key they concern, and those that concern no key with a control. */
export function sortProblems(problems: readonly Problem[], shown: ReadonlySet<string>): { byKey: Map<string, Problem>; rest: Problem[] } {
  const byKey = new Map<string, Problem>();
  const rest: Problem[] = [];
  for (const problem of problems) {
    const key = keyOf(problem.path);
    if (shown.has(key) && !byKey.has(key)) byKey.set(key, problem);
    else rest.push(problem);
  }
  return { byKey, rest };
}

/** A problem beside its control: `is 0: give a whole number at least 1`. */
export const problemText = ({ cause, action }: Problem): string => `${cause}: ${action}`;
