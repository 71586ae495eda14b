/** Python source as far as it is literals. Pure. */

const STRING = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/.source;
/** Strings and brackets of Python source, and whatever else `more` names. */
export const pythonTokens = (more: string): RegExp => new RegExp(`${STRING}|[()[\\]{}]|${more}`, 'g');
const LITERAL = new RegExp(`([rR]?)(${STRING})|(,\\s*(?=[\\])}]))|\\b(True|False|None)\\b|\\b(\\d[\\d_]*(?:\\.\\d*)?(?:[eE][-+]?\\d+)?)(?!\\w)|[-,:()[\\]{}\\s]`, 'g');
const WORDS: Record<string, string> = { True: 'true', False: 'false', None: 'null' };

/** The value of a literal, tuples and sets as lists; undefined of any other expression. */
export function pythonLiteral(source: string): unknown {
  if (source.replace(LITERAL, '') !== '') return undefined;
  const brackets = source.replace(LITERAL, (token: string, _raw, string) => (string ? '' : token)).includes(':') ? ['{', '}'] : ['[', ']'];
  const json = source.replace(LITERAL, (token: string, raw: string, string?: string, last?: string, word?: string, number?: string) => {
    if (string) return JSON.stringify(raw ? string.slice(1, -1) : string.slice(1, -1).replace(/\\(["'\\])/g, '$1'));
    if (last) return '';
    if (word) return WORDS[word];
    if (number) return String(Number(number.replaceAll('_', '')));
    return ({ '(': '[', ')': ']', '{': brackets[0], '}': brackets[1] })[token] ?? token;
  });
  try { return JSON.parse(json); } catch { return undefined; }
}

/** The keyword arguments of a call, as they are written, from the text between its brackets without comments. */
export function keywordArguments(call: string): Map<string, string> {
  const commas = [-1];
  let depth = 0;
  for (const { 0: token, index } of call.matchAll(pythonTokens(','))) {
    if ('([{'.includes(token)) depth++;
    else if (')]}'.includes(token)) depth--;
    else if (token === ',' && depth === 0) commas.push(index);
  }
  const parts = commas.map((comma, i) => call.slice(comma + 1, commas[i + 1]));
  return new Map(parts.flatMap(part => {
    const [, name, value] = /^\s*([A-Za-z_]\w*)\s*=(?!=)([^]*)$/.exec(part) ?? [];
    return name === undefined ? [] : [[name, value] as const];
  }));
}
