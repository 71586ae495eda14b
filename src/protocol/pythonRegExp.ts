/** Python regular expressions, as adapter configurations contain them, for JavaScript. */

/** A JavaScript expression equal to `re.match(prefix + pattern + suffix)`. Throws SyntaxError with the reason if there is none. */
export function pythonRegExp(pattern: string, prefix = '', suffix = ''): RegExp {
  const { body, flags } = translate(pattern);
  return new RegExp(`^(?:${prefix}(?:${body})${suffix})`, flags);
}

/** `re.fullmatch(pattern, text)`. */
export const fullMatcher = (pattern: string): ((text: string) => boolean) => {
  const expression = pythonRegExp(pattern, '', '$');
  return text => expression.test(text);
};

/** Forms that differ, each tried at the places outside of character classes. The rest is the same in both languages. */
const FORMS: [RegExp, string | ((match: RegExpExecArray) => string)][] = [
  [/\\A/y, '^'],
  [/\\Z/y, '$'],
  [/\\[^]/y, match => match[0]],
  [/\(\?P</y, '(?<'],
  [/\(\?P=(\w+)\)/y, match => `\\k<${match[1]}>`],
  [/\(\?#[^)]*\)/y, ''],
  [/\{,(\d+)\}/y, match => `{0,${match[1]}}`],
  // In Python a bracket that comes first in a class stands for itself.
  [/\[(\^?)\]/y, match => `[${match[1]}\\]`],
];

function translate(pattern: string): { body: string; flags: string } {
  const [inline, letters] = /^\(\?([aiLmsux]+)\)/.exec(pattern) ?? ['', ''];
  if (/[Lx]/.test(letters)) throw new SyntaxError(`the flag in "${inline}" is not supported`);
  let body = '';
  let inClass = false;
  for (let at = inline.length; at < pattern.length;) {
    const form = FORMS.map(([expression, to]) => {
      if (inClass && !expression.source.startsWith('\\\\[^]')) return undefined;
      expression.lastIndex = at;
      const match = expression.exec(pattern);
      return match && { length: match[0].length, text: typeof to === 'string' ? to : to(match), opens: match[0].startsWith('[') };
    }).find(found => found);
    if (form) {
      body += form.text;
      at += form.length;
      inClass ||= form.opens;
      continue;
    }
    if (!inClass && pattern.startsWith('(?(', at)) throw new SyntaxError('conditional groups are not supported');
    if (pattern[at] === '[') inClass = true;
    else if (pattern[at] === ']') inClass = false;
    body += pattern[at++];
  }
  return { body, flags: [...new Set(letters)].filter(flag => 'ims'.includes(flag)).join('') };
}
