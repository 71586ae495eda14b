/** Run folders on disk, read as the engine writes them. Never writes. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { hasEnded, isOnThisMachine, LOCK_NAME, parseOwner } from '../machine/folderOwner';
import { newestRun } from '../protocol/defaultRuns';
import type { Experiment } from '../protocol/experiment';
import { isEvalRecord, shownMetrics, type ShownMetric, type MetricRecord, type Summary, type SweepSummary } from '../protocol/metrics';
import { textPair, type TextPair } from '../protocol/panel';

/** Enough of `metrics.jsonl` for the last train and evaluation lines. */
const TAIL_BYTES = 64 * 1024;

export const CHECKPOINT_NAME = /^checkpoint-(\d+)$/;

export interface Checkpoint { folder: string; step: number }

export interface RunFolder {
  folder: string;
  name: string;
  /** `failed`: it ended without a summary. Runs of this window are `active` whatever the folder says, others while a process of this machine holds the folder. */
  status: 'finished' | 'stopped' | 'failed' | 'active';
  last_loss: number | null;
  /** Of what is saved, or of the last evaluation. */
  metrics: ShownMetric[];
  steps: number;
  checkpoints: Checkpoint[];
  /** PEFT folders that can be tried, saved or merged. */
  adapter: string | null;
  /** Milliseconds since 1970 of the last change. */
  time: number;
}

/** Reads one run folder; undefined if it is none. */
export async function readRunFolder(folder: string): Promise<RunFolder | undefined> {
  const names = await fs.readdir(folder).catch(() => [] as string[]);
  if (!names.includes('experiment.json') && !names.includes('metrics.jsonl')) return undefined;
  const [summary, records, status, owner] = await Promise.all([readSummary(folder), tailMetrics(folder), fs.stat(folder), names.includes(LOCK_NAME) ? ownerOf(folder) : undefined]);
  const train = records.filter(record => !isEvalRecord(record)).at(-1);
  const evaluated = records.filter(isEvalRecord).at(-1);
  const loss = train && 'loss' in train ? Number(train.loss) : summary?.train_loss;
  return {
    folder, name: path.basename(folder),
    status: owner !== undefined ? 'active' : summary ? summary.state : 'failed',
    last_loss: loss ?? null,
    metrics: summary?.eval ? shownMetrics(summary.eval) : evaluated ? shownMetrics(evaluated) : [],
    steps: summary?.steps ?? train?.step ?? 0,
    checkpoints: await readCheckpoints(folder, names),
    adapter: names.includes('adapter') && await isAdapter(path.join(folder, 'adapter')) ? path.join(folder, 'adapter') : null,
    time: status.mtimeMs,
  };
}

/** The process of this machine that writes in a folder, as the engine's lock tells it; undefined if there is none, or it has ended. */
export async function ownerOf(folder: string): Promise<number | undefined> {
  const owner = parseOwner(await fs.readFile(path.join(folder, LOCK_NAME), 'utf8').catch(() => ''));
  return owner && isOnThisMachine(owner) && !hasEnded(owner) ? owner.pid : undefined;
}

/** Run folders among `folders` and directly inside `parents`, newest first. */
export async function listRunFolders(folders: readonly string[], parents: readonly string[]): Promise<RunFolder[]> {
  const all = [...new Set([...folders, ...await foldersInside(parents)])];
  const runs = await Promise.all(all.map(folder => readRunFolder(folder).catch(() => undefined)));
  return runs.filter(run => run !== undefined).sort((a, b) => b.time - a.time);
}

async function foldersInside(parents: readonly string[]): Promise<string[]> {
  const inside = await Promise.all(parents.map(async parent => {
    const entries = await fs.readdir(parent, { withFileTypes: true }).catch(() => []);
    return entries.filter(e => e.isDirectory() && !e.name.startsWith('.')).map(e => path.join(parent, e.name));
  }));
  return inside.flat();
}

/** Where the runs of experiments lie that name no folder. */
export const defaultRuns = (folder: string): string => path.join(folder, '.lora', 'runs');

/** The run of an experiment without `output_dir` that Continue goes on with: the newest below the folder that the engine works in; undefined if there is none. */
export async function newestDefaultRun(experiment: string, folder: string | undefined): Promise<string | undefined> {
  if (folder === undefined) return undefined;
  const runs = defaultRuns(folder);
  const newest = newestRun(experiment, await fs.readdir(runs).catch(() => []));
  return newest && path.join(runs, newest);
}

/** Every line of `metrics.jsonl` that can be read. A torn last line is what a killed run leaves; it is dropped. */
export async function readMetrics(folder: string): Promise<MetricRecord[]> {
  const text = await fs.readFile(path.join(folder, 'metrics.jsonl'), 'utf8').catch(() => '');
  return parseLines(text);
}

/** What a JSON file of a folder holds; undefined where it is not there or cannot be read. */
export const readJson = (folder: string, name: string): Promise<unknown> => fs.readFile(path.join(folder, name), 'utf8').then(parseJson, () => undefined);

export async function readSummary(folder: string): Promise<Summary | null> {
  return await readJson(folder, 'summary.json') as Summary | undefined ?? null;
}

/** What stands in the folder of a sweep; null if it is none. */
export async function readSweep(folder: string): Promise<SweepSummary | null> {
  return await readJson(folder, 'sweep.json') as SweepSummary | undefined ?? null;
}

/** The folders of sweeps among `folders` and directly inside `parents`, newest first; `held` are those that a process still works in. */
export async function listSweepFolders(folders: readonly string[], parents: readonly string[]): Promise<{ folder: string; sweep: SweepSummary; time: number; held: boolean }[]> {
  const all = [...new Set([...folders, ...await foldersInside(parents)])];
  const found = await Promise.all(all.map(async folder => {
    const [sweep, status, owner] = await Promise.all([readSweep(folder), fs.stat(folder).catch(() => undefined), ownerOf(folder)]);
    return sweep && status ? [{ folder, sweep, time: status.mtimeMs, held: owner !== undefined }] : [];
  }));
  return found.flat().sort((a, b) => b.time - a.time);
}

/** True for a folder in PEFT format. */
export async function isAdapter(folder: string): Promise<boolean> {
  const names = await fs.readdir(folder).catch(() => [] as string[]);
  return names.includes('adapter_config.json') && names.includes('adapter_model.safetensors');
}

/** The task that an adapter's config names; null if it names none. */
export async function taskOfAdapter(folder: string): Promise<string | null> {
  const json = await readJson(folder, 'adapter_config.json') as Record<string, unknown> | undefined;
  return typeof json?.task_type === 'string' ? json.task_type : null;
}

/** The pairs of texts that the run of an adapter was trained on; null for single texts, undefined where none is beside it. */
export async function pairOfAdapter(folder: string): Promise<TextPair | null | undefined> {
  const json = await readJson(path.dirname(folder), 'experiment.json') as Partial<Experiment> | undefined;
  return json?.dataset && textPair(json.dataset);
}

/** True for a folder that may be a base checkpoint. */
export async function isCheckpointFolder(folder: string): Promise<boolean> {
  return fs.access(path.join(folder, 'config.json')).then(() => true, () => false);
}

/**
 * The base model that an adapter was trained on: what its `adapter_config.json` names, looked for from the adapter's folder,
 * the run folder and the workspace; undefined if none of these is a folder with a checkpoint.
 */
export async function baseOfAdapter(adapter: string, from: readonly string[]): Promise<string | undefined> {
  for (const [place, file] of [[adapter, 'adapter_config.json'], [path.dirname(adapter), 'experiment.json']]) {
    const json = await readJson(place, file) as Record<string, unknown> | undefined;
    const name = json?.base_model_name_or_path ?? json?.base_model;
    if (typeof name !== 'string' || name === '') continue;
    for (const start of [place, ...from]) {
      const folder = path.resolve(start, name);
      if (await isCheckpointFolder(folder)) return folder;
    }
  }
  return undefined;
}

async function readCheckpoints(folder: string, names: readonly string[]): Promise<Checkpoint[]> {
  return names
    .flatMap(name => {
      const match = CHECKPOINT_NAME.exec(name);
      return match ? [{ folder: path.join(folder, name), step: Number(match[1]) }] : [];
    })
    .sort((a, b) => a.step - b.step);
}

async function tailMetrics(folder: string): Promise<MetricRecord[]> {
  const file = await fs.open(path.join(folder, 'metrics.jsonl')).catch(() => undefined);
  if (!file) return [];
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    const text = buffer.subarray(0, bytesRead).toString('utf8');
    return parseLines(start > 0 ? text.slice(text.indexOf('\n') + 1) : text);
  } finally {
    await file.close();
  }
}

/** Records of whole lines; what is none is dropped. */
export function parseLines(text: string): MetricRecord[] {
  return text.split('\n').map(line => parseJson(line) as MetricRecord | undefined).filter(record => typeof record?.step === 'number') as MetricRecord[];
}

function parseJson(text: string): unknown {
  try {
    return text.trim() === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
