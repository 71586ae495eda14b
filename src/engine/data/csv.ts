/**
 * Records of a csv or tsv file as RFC 4180 quotes them. Written here because the packages that can be driven synchronously
 * in bounded memory (csv-parse's core) tell neither the line on which a record starts nor the one where a quote opened.
 * Looser than the RFC in one point: a quote inside an unquoted field is an ordinary character.
 */
import { LabError } from '../errors';
import { LONGEST_LINE, readLines } from './lines';

export interface CsvRecord {
  fields: string[];
  /** Line on which the record starts, counted from 1. */
  line: number;
}

/** Blank lines between records are skipped. Errors: `dataset.bad-line`, and those of `readLines`. */
export function* readCsv(file: string, delimiter: ',' | '\t', onRead?: (fraction: number) => void): Generator<CsvRecord> {
  let fields: string[] = [];
  let start = 0;
  /** A quoted field that goes on over line ends: its characters so far and the line of its opening quote. */
  let quoted: { text: string; line: number } | null = null;
  for (const { text, line } of readLines(file, onRead)) {
    if (quoted === null) {
      if (text.trim() === '' && !text.includes(delimiter)) continue;
      fields = [];
      start = line;
    }
    let at = 0;
    for (let more = true; more;) {
      if (quoted === null && text[at] !== '"') {
        const end = text.indexOf(delimiter, at);
        more = end >= 0;
        fields.push(more ? text.slice(at, end) : withoutReturn(text.slice(at)));
        at = end + 1;
        continue;
      }
      if (quoted === null) {
        quoted = { text: '', line };
        at += 1;
      }
      const end = text.indexOf('"', at);
      if (end < 0) {
        quoted.text += `${text.slice(at)}\n`;
        if (quoted.text.length > LONGEST_LINE) throw neverClosed(file, quoted.line, `in ${LONGEST_LINE >> 20} MiB`);
        break;
      }
      if (text[end + 1] === '"') {
        quoted.text += text.slice(at, end + 1);
        at = end + 2;
        continue;
      }
      fields.push(quoted.text + text.slice(at, end));
      quoted = null;
      const rest = withoutReturn(text.slice(end + 1));
      more = rest !== '';
      if (more && rest[0] !== delimiter) throw afterQuote(file, line, fields.length);
      at = end + 2;
    }
    if (quoted === null) yield { fields, line: start };
  }
  if (quoted) throw neverClosed(file, quoted.line, 'before the end of the file');
}

const withoutReturn = (text: string): string => (text.endsWith('\r') ? text.slice(0, -1) : text);

const neverClosed = (file: string, line: number, where: string): LabError => new LabError({
  code: 'dataset.bad-line', file, where: `line ${line}`, cause: `a quoted field begins here and is not closed ${where}`, action: 'close it with ", and write a " inside quotes as ""',
});

const afterQuote = (file: string, line: number, field: number): LabError => new LabError({
  code: 'dataset.bad-line', file, where: `line ${line}`, cause: `field ${field} goes on after its closing quote`, action: 'put the whole field in quotes, and write a " inside quotes as ""',
});
