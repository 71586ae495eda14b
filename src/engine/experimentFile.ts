/** Reading an experiment file: JSON with comments, checked key by key. */
import { basename, dirname, resolve } from 'node:path';
import { parseTree, getNodeValue, findNodeAtLocation, getNodePath, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';
import { LabError } from './errors';
import { lookUp, readText } from './files';
import { parseExperiment, type Experiment, type Problem } from '../protocol/experiment';
import { faultInWords } from '../protocol/jsonFault';
import { parseSweep, type Sweep } from '../protocol/sweep';

const LIMIT = 1 << 20;

export interface ExperimentFile {
  /** Absolute path. */
  file: string;
  /** File name without `.lora.json`. */
  name: string;
  experiment: Experiment;
  /** Null if it is a single experiment. */
  sweep: Sweep | null;
  /** The absolute path of a path that is written relative to the file. */
  resolve(path: string): string;
  /** A key such as `lora.r` with the line that it stands on; anything else as it is. */
  place(where: string | undefined): string | undefined;
  /** Whether the file itself gives a key such as `training.max_length`. */
  gives(key: string): boolean;
}

/**
 * Reads and checks an experiment. Errors: `experiment.no-file`, `experiment.not-json` and `experiment.twice` with the line, `experiment.problem`
 * with line and key of the first problem and the number of the others.
 */
export function readExperimentFile(path: string): ExperimentFile {
  const file = resolve(path);
  const info = lookUp(file);
  if (!info?.isFile) {
    throw new LabError({ code: 'experiment.no-file', file, cause: info ? 'it is not a file' : 'there is no such file', action: 'give the path of an experiment file (*.lora.json)' });
  }
  const text = readText(file, LIMIT);
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, { allowTrailingComma: true });
  if (errors.length || !tree) {
    const offset = errors[0]?.offset ?? 0;
    const reason = text.trim() ? faultInWords(printParseErrorCode(errors[0].error)) : 'the file is empty';
    throw new LabError({ code: 'experiment.not-json', file, where: `line ${lineAt(text, offset)}, column ${offset - text.lastIndexOf('\n', offset - 1)}`, cause: `is not valid JSON: ${reason}`, action: 'correct the file' });
  }
  const again = repeated(tree);
  if (again) throw new LabError({ code: 'experiment.twice', file, where: `line ${lineAt(text, again.offset)}, ${getNodePath(again.children![1]).join('.')}`, cause: 'is given a second time, and one of the two would not count', action: 'keep one of them' });
  const json: unknown = getNodeValue(tree);
  const { experiment, problems: own } = parseExperiment(json);
  const { sweep, problems: ofSweep } = parseSweep(json);
  const problems: Problem[] = [...own, ...ofSweep];
  if (!experiment || problems.length) {
    const [first] = problems;
    const line = lineAt(text, placeOf(tree, first)?.offset ?? 0);
    const others = problems.length > 1 ? ` (and ${problems.length - 1} more problem${problems.length > 2 ? 's' : ''})` : '';
    throw new LabError({ code: 'experiment.problem', file, where: `line ${line}, ${first.path.join('.') || 'file'}`, cause: `${first.cause}${others}`, action: first.action });
  }
  const place = (where: string | undefined): string | undefined => {
    const node = where && /^\w+(\.\w+)*$/.test(where) ? findNodeAtLocation(tree, where.split('.')) : undefined;
    return node ? `line ${lineAt(text, node.offset)}, ${where}` : where;
  };
  return {
    file, name: basename(file).replace(/(\.lora)?\.json$/, ''), experiment, sweep, resolve: relative => resolve(dirname(file), relative), place,
    gives: key => findNodeAtLocation(tree, key.split('.')) !== undefined,
  };
}

/** The first property below a node whose key stands before it in the same object. */
function repeated({ type, children = [] }: Node): Node | undefined {
  const keys = type === 'object' ? children.map(({ children: [key] = [] }) => key.value as string) : [];
  const second = keys.findIndex((key, i) => keys.indexOf(key) < i);
  return second < 0 ? children.map(repeated).find(Boolean) : children[second];
}

/** The key's own node, or that of the nearest object around a key that is missing. */
function placeOf(tree: ReturnType<typeof parseTree>, { path }: Problem) {
  for (let length = path.length; tree && length > 0; length--) {
    const node = findNodeAtLocation(tree, path.slice(0, length));
    if (node) return node;
  }
  return tree;
}

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;
