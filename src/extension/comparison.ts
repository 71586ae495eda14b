/** Several runs beside each other, from what their folders hold. Pure. */
import * as path from 'node:path';
import type { ComparedMetric, ComparedPoint, ComparedRun, Comparison } from '../protocol/comparison';
import { SECTIONS, settingAt } from '../protocol/experiment';
import { greaterIsBetter, isEvalRecord, isShare, shownMetrics, type EvalRecord, type MetricRecord, type Summary } from '../protocol/metrics';
import { lossCurve } from './sweepHistory';

/** What is known of a run. */
export interface RunToCompare extends Pick<ComparedRun, 'folder' | 'experiment' | 'state'> {
  /** The parsed `experiment.json`; undefined where that cannot be read. */
  settings: unknown;
  records: readonly MetricRecord[];
  summary: Summary | null;
}

/** The name of a metric that every evaluation has. */
const EVAL_LOSS = 'eval loss';

export function compare(runs: readonly RunToCompare[]): Comparison {
  const settings = differingSettings(runs.map(run => run.settings));
  const metric = commonMetric(runs.map(run => run.records.filter(isEvalRecord)));
  const names = shortestNames(runs.map(run => run.folder));
  return { settings: settings.map(({ key }) => key), metric, runs: runs.map((run, i) => comparedRun(run, names[i], settings.map(({ texts }) => texts[i]), metric)) };
}

function comparedRun({ folder, experiment, state, records, summary }: RunToCompare, name: string, settings: (string | null)[], metric: ComparedMetric | null): ComparedRun {
  const last = records.at(-1);
  const evaluations = metric ? records.filter(isEvalRecord).flatMap(record => pointOf(record, metric) ?? []) : [];
  const sign = metric?.greater_is_better ? 1 : -1;
  const trained = records.findLast(record => !isEvalRecord(record));
  return {
    folder, name, experiment, state, settings, evaluations,
    steps: summary?.steps ?? last?.step ?? 0,
    trainable_parameters: summary?.trainable_parameters ?? null,
    train_loss: trained && !isEvalRecord(trained) ? trained.loss : null,
    last: evaluations.at(-1) ?? null,
    best: evaluations.reduce<ComparedPoint | null>((best, point) => (best === null || sign * point.value > sign * best.value ? point : best), null),
    seconds: summary?.seconds ?? last?.time ?? null,
    peak_memory_bytes: summary?.peak_memory_bytes ?? null,
    losses: lossCurve(records).map(({ record: { step, epoch, time }, loss }) => ({ step, epoch, time, value: loss })),
  };
}

/** The keys of the experiment file whose values differ, in its order, with the value of each run as text: null where a run has none because it lacks the file or the section. */
export function differingSettings(files: readonly unknown[]): { key: string; texts: (string | null)[] }[] {
  const known = files.map(file => (isObject(file) ? flat(file) : undefined));
  const keys = [...new Set(known.flatMap(values => (values ? [...values.keys()] : [])))];
  return keys.flatMap(key => {
    // Runs of earlier versions lack keys of later ones: they had the default.
    const values = known.map(run => run && (run.has(key) ? run.get(key) : hasSection(run, key) ? settingAt(key.split('.'))?.default ?? null : undefined));
    const texts = values.map(value => (value === undefined ? null : settingText(key, value)));
    return new Set(values.filter(value => value !== undefined).map(value => JSON.stringify(value))).size > 1 ? [{ key, texts: apart(key, values, texts) }] : [];
  });
}

/** Where a run lies is not how it was set. */
const IGNORED = ['output_dir', '$schema', 'sweep'];

function flat(file: Record<string, unknown>): Map<string, unknown> {
  const entries = Object.entries(file).filter(([key]) => !IGNORED.includes(key));
  const ordered = [...entries.filter(([key]) => !isSection(key)), ...entries.filter(([key]) => isSection(key))];
  return new Map(ordered.flatMap(([key, value]): [string, unknown][] => {
    if (!isSection(key)) return [[key, value]];
    // The whole model is trained where `lora` is null.
    if (!isObject(value)) return [[key, 'whole model']];
    return [...(key === 'lora' ? [[key, 'adapter'] as [string, unknown]] : []), ...Object.entries(value).map(([inner, of]): [string, unknown] => [`${key}.${inner}`, of])];
  }));
}

const isSection = (key: string): boolean => (SECTIONS as readonly string[]).includes(key);
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const hasSection = (run: Map<string, unknown>, key: string): boolean => !key.startsWith('lora.') || run.get('lora') !== 'whole model';

function settingText(key: string, value: unknown): string {
  if (value === null) return 'default';
  if (Array.isArray(value)) return value.length ? value.map(String).join(', ') : 'none';
  if (isObject(value)) return Object.entries(value).map(([name, of]) => `${name}: ${of}`).join(', ') || 'none';
  return settingAt(key.split('.'))?.path ? path.basename(String(value)) : String(value);
}

/** Paths in full where their last parts are the same. */
function apart(key: string, values: readonly unknown[], texts: (string | null)[]): (string | null)[] {
  if (new Set(texts).size === new Set(values.map(value => JSON.stringify(value))).size) return texts;
  return settingAt(key.split('.'))?.path ? values.map(value => (value === undefined ? null : value === null ? 'default' : String(value))) : texts;
}

/** The main metric that the evaluations of all runs have which were evaluated; else their loss. Null where there are none. */
function commonMetric(evaluations: readonly (readonly EvalRecord[])[]): ComparedMetric | null {
  const measured = evaluations.flatMap(records => (records.length ? [shownMetrics(records.at(-1)!).map(({ name }) => name)] : []));
  if (!measured.length) return null;
  const name = measured[0].find(one => measured.every(names => names.includes(one))) ?? EVAL_LOSS;
  return { name, greater_is_better: greaterIsBetter(name), share: isShare(name) };
}

function pointOf(record: EvalRecord, { name }: ComparedMetric): ComparedPoint | undefined {
  const value = name === EVAL_LOSS ? Number(record.eval_loss) : shownMetrics(record).find(metric => metric.name === name)?.value ?? NaN;
  return Number.isFinite(value) ? { step: record.step, epoch: record.epoch, time: record.time, value } : undefined;
}

/** The names of folders, with those of the folders above them where they are the same. */
function shortestNames(folders: readonly string[]): string[] {
  const names = folders.map(folder => path.basename(folder));
  return names.map((name, i) => (names.indexOf(name) === names.lastIndexOf(name) ? name : `${path.basename(path.dirname(folders[i]))}/${name}`));
}
