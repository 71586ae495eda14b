/**
 * The section `sweep` of an experiment file: several experiments that differ in a few settings, on the same base, data and target modules.
 * Keys are those of the experiment, with the section before them: `{ "lora.r": [4, 8], "training.learning_rate": [1e-4, 3e-4] }`.
 */
import type { SweepSize } from './memoryEstimate';
import { nearest, settingAt, valueProblem, type Experiment, type Problem } from './experiment';

/** What a member has in place of the experiment's own values: `{ "lora.r": 4 }`. */
export type Changes = Record<string, string | number | boolean>;

export interface Halving {
  /** One in so many members goes on. */
  eta: number;
  /** Epochs after which members are compared for the first time; then after eta times as many, and so on. */
  min_epochs: number;
}

export interface Sweep { members: Changes[]; halving: Halving | null }

/** Settings that may differ: none of them changes data, order of the data, base, target modules or what the step computes on the way. */
export const SWEEP_KEYS = [
  'lora.r', 'lora.lora_alpha', 'lora.use_rslora',
  ...['learning_rate', 'loraplus_lr_ratio', 'lr_scheduler_type', 'warmup_steps', 'weight_decay', 'adam_beta1', 'adam_beta2', 'adam_epsilon', 'max_grad_norm'].map(key => `training.${key}`),
] as const;

export const SWEEP_DOCS = {
  sweep: 'Several experiments in one run of `lab -- sweep`, which share base, batches and what the frozen layers compute: every combination of the values listed here by key, or the list in `members`.',
  members: 'The experiments one by one: a list of objects such as `{ "lora.r": 4, "training.learning_rate": 3e-4 }`, in place of lists by key.',
  halving: 'Successive halving: the members are compared by `metric_for_best_model` after `min_epochs`, then after `eta` times as many epochs, and so on; each time the best 1 in `eta` go on.',
  eta: 'One in so many members goes on.',
  min_epochs: 'Epochs before the first comparison.',
};

const MOST_MEMBERS = 256;

/** The sweep of a parsed experiment file; null if it has none. Every problem names its key. */
export function parseSweep(json: unknown): { sweep: Sweep | null; problems: Problem[] } {
  const section = isObject(json) ? json.sweep ?? null : null;
  if (section === null) return { sweep: null, problems: [] };
  const problems: Problem[] = [];
  const wrong = (path: string[], cause: string, action: string): void => { problems.push({ path: ['sweep', ...path], cause, action }); };
  if (!isObject(section)) {
    wrong([], 'is not an object', 'write "sweep": { "lora.r": [4, 8] }');
    return { sweep: null, problems };
  }
  const { members: listed, halving, ...grid } = section;
  const full = (json as Record<string, unknown>).lora === null;
  for (const [key, values] of Object.entries(grid)) {
    const unusable = keyProblem(key, full);
    if (unusable) wrong([key], ...unusable);
    else if (!Array.isArray(values) || values.length === 0) wrong([key], 'is not a list of values', 'list the values to try');
    else values.forEach(value => { const expected = valueProblem(key.split('.'), value); if (expected) wrong([key], `holds ${JSON.stringify(value)}`, expected); });
  }
  if (listed !== undefined) checkListed(listed, Object.keys(grid), full, wrong);
  const members = problems.length ? [] : listed === undefined ? combinations(grid as Record<string, Changes[string][]>) : listed as Changes[];
  if (!problems.length && members.length < 2) wrong([], `makes ${members.length} experiment${members.length === 1 ? '' : 's'}`, 'list two values or more');
  if (members.length > MOST_MEMBERS) wrong([], `makes ${members.length} experiments`, `make at most ${MOST_MEMBERS}`);
  const changes = members.map(member => JSON.stringify(Object.entries(member).sort()));
  const same = changes.findIndex((change, i) => changes.indexOf(change) < i);
  if (same > 0) wrong(listed === undefined ? [] : ['members'], `makes one experiment twice: ${memberName(same, members[same])}`, 'remove one of them');
  return { sweep: problems.length ? null : { members, halving: parseHalving(halving, wrong) }, problems };
}

function checkListed(listed: unknown, keys: string[], full: boolean, wrong: (path: string[], cause: string, action: string) => void): void {
  if (keys.length) wrong(['members'], `stands beside lists by key (${keys[0]})`, 'give one of the two');
  if (!Array.isArray(listed) || !listed.every(isObject)) { wrong(['members'], 'is not a list of objects', 'write "members": [{ "lora.r": 4 }, { "lora.r": 8 }]'); return; }
  for (const [key, value] of listed.flatMap(member => Object.entries(member))) {
    const unusable = keyProblem(key, full);
    const expected = unusable ? undefined : valueProblem(key.split('.'), value);
    if (unusable) wrong(['members'], `"${key}" ${unusable[0]}`, unusable[1]);
    else if (expected) wrong(['members'], `${key} is ${JSON.stringify(value)}`, expected);
  }
}

function parseHalving(halving: unknown, wrong: (path: string[], cause: string, action: string) => void): Halving | null {
  if (halving === undefined || halving === null) return null;
  if (!isObject(halving)) { wrong(['halving'], 'is not an object', 'write "halving": { "eta": 2, "min_epochs": 1 }'); return null; }
  const { eta = 2, min_epochs = 1, ...others } = halving;
  for (const key of Object.keys(others)) wrong(['halving', key], 'unknown key', 'known keys: eta, min_epochs');
  if (!Number.isSafeInteger(eta) || (eta as number) < 2) wrong(['halving', 'eta'], `is ${JSON.stringify(eta)}`, 'give a whole number of at least 2');
  if (!Number.isSafeInteger(min_epochs) || (min_epochs as number) < 1) wrong(['halving', 'min_epochs'], `is ${JSON.stringify(min_epochs)}`, 'give a whole number of at least 1');
  return { eta: eta as number, min_epochs: min_epochs as number };
}

/** Why a key cannot be swept, and what to do; undefined if it can. `full`: the whole model is trained. */
function keyProblem(key: string, full: boolean): [cause: string, action: string] | undefined {
  const ofAdapters = key.startsWith('lora.') || key === 'training.loraplus_lr_ratio';
  if ((SWEEP_KEYS as readonly string[]).includes(key)) return full && ofAdapters ? ['means nothing where "lora" is null: there are no A and B', 'sweep over keys of "training", or train adapters'] : undefined;
  const near = nearest(key, SWEEP_KEYS);
  if (settingAt(key.split('.')) === undefined) return ['is no setting', near ? `did you mean "${near}"?` : 'write it with its section, such as "lora.r"'];
  return ['may not differ within a sweep, whose members share data, base and target modules', `sweep over some of: ${SWEEP_KEYS.join(', ')}`];
}

/** Every combination, the last key changing fastest. */
function combinations(grid: Record<string, Changes[string][]>): Changes[] {
  let members: Changes[] = [{}];
  for (const [key, values] of Object.entries(grid)) members = members.flatMap(member => values.map(value => ({ ...member, [key]: value })));
  return Object.keys(grid).length ? members : [];
}

/** `03-r-4-learning_rate-0.0003`: the folder of a member. */
export function memberName(index: number, changes: Changes): string {
  const parts = Object.entries(changes).map(([key, value]) => `${key.split('.').pop()}-${value}`);
  return [String(index + 1).padStart(2, '0'), ...parts].join('-').replace(/[^\w.+-]/g, '_').slice(0, 120);
}

/** The place of a member in its sweep, from 1. */
export const memberNumber = (name: string): number => Number.parseInt(name, 10);

/** What the memory of a sweep depends on, where the experiment itself has this rank. */
export const sweepSize = ({ members }: Sweep, rank: number): SweepSize => ({ members: members.length, r: Math.max(...members.map(member => Number(member['lora.r'] ?? rank))) });

/** The experiment of a member. */
export function memberExperiment(experiment: Experiment, changes: Changes, output_dir: string): Experiment {
  const member = { ...experiment, lora: { ...experiment.lora }, training: { ...experiment.training }, output_dir };
  for (const [path, value] of Object.entries(changes)) {
    const [section, key] = path.split('.') as ['lora' | 'training', string];
    (member[section] as Record<string, unknown>)[key] = value;
  }
  return member;
}

/** Epochs after which a halving compares the members, rising, all before the end. */
export function rungs({ eta, min_epochs }: Halving, epochs: number): number[] {
  const result: number[] = [];
  for (let at = min_epochs; at < epochs; at *= eta) result.push(at);
  return result;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
