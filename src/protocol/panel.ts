/**
 * Messages between the extension host and the experiment panel, sent as JSON-RPC 2.0 over the webview's postMessage.
 * The host owns all state. The panel says `ready`, receives everything, then gets what changes.
 */
import type { AdapterSettings } from './adapterMath';
import type { BaseDropout, Completion, ErrorReport, ModuleInfo, Prediction, Progress, RunStarted, RunState } from './engine';
import type { DatasetSettings, Experiment, Problem, SettingChange } from './experiment';
import type { GenerationSettings } from './generation';
import type { MemoryView } from './memory';
import type { SweepSize } from './memoryEstimate';
import type { MetricRecord, Summary, SweepMember, TelemetrySample } from './metrics';

/** Values as far as the file could be read: a key with a problem holds its default, `target_modules` is as written. */
export type ExperimentValues = Omit<Experiment, 'lora'> & { lora: Experiment['lora'] & AdapterSettings; sweep?: SweepSize };

export interface ModelView {
  folder: string;
  model_type: string;
  modules: ModuleInfo[];
  base_parameters: number;
  default_target_modules: string[];
  labels: string[];
  dropout?: BaseDropout;
  heads?: number;
  data_bytes?: number | null;
}

/** The experiment as the panel shows it. */
export interface ExperimentView {
  /** Absolute path of the experiment file. */
  file: string;
  /** File name without `.lora.json`. */
  name: string;
  values: ExperimentValues;
  problems: Problem[];
  /** Null until the checkpoint has been read. */
  model: ModelView | null;
  model_error: ErrorReport | null;
  memory: MemoryView;
  /** False in a restricted workspace, where nothing may be run. */
  trusted: boolean;
}

/** `elsewhere`: another process trains it, which the panel follows by its log. */
export type RunStatus = 'none' | RunState | 'elsewhere' | 'finished' | 'stopped' | 'failed';
/** Whether this window trains it, and can steer it. */
export const isActive = (status: RunStatus): boolean => !['none', 'elsewhere', 'finished', 'stopped', 'failed'].includes(status);
/** Whether it is trained, here or elsewhere: it grows. */
export const isTraining = (status: RunStatus): boolean => isActive(status) || status === 'elsewhere';

/** A sweep as the panel shows it, the best member first. */
export interface SweepView {
  members: SweepMember[];
  /** The member whose metrics are shown. */
  shown: string | null;
  /** Training losses of each member by step, thinned out. */
  curves: Record<string, [step: number, loss: number][]>;
}

/** The experiment's latest run, without its metrics. */
export interface RunView {
  /** Which Start of this window led to the status, of all experiments together; 0 for what an earlier window left. */
  attempt: number;
  status: RunStatus;
  started: Omit<RunStarted, 'history'> | null;
  progress: Progress | null;
  error: ErrorReport | null;
  /** What the run waits for, while it is paused by itself: Resume tries again. */
  blocked: ErrorReport | null;
  /** The GPU does not answer: it is slow, or hangs. Stop then ends the engine. */
  silent: ErrorReport | null;
  summary: Summary | null;
  /** Absolute path of the run folder, once known. */
  folder: string | null;
  /** PEFT folder that can be tried, saved and merged. */
  adapter: string | null;
  /** What is tried instead of the run's own adapter, until another run is shown or begins. */
  chosen: ChosenAdapter | null;
  /** A checkpoint exists from which an ended run can go on. */
  resumable: boolean;
  /** True while a checkpoint is written on request. */
  saving: boolean;
  /** The process that trains a run `elsewhere`, and whether that is the experiment's own run, which then cannot be started here; null of others. */
  elsewhere: { pid: number; own: boolean } | null;
  /** Where the experiment is a sweep; the rest is then said of the member that is shown. */
  sweep: SweepView | null;
}

/** `telemetry` holds the last minutes of the run that is going on. */
export interface PanelView { experiment: ExperimentView | null; run: RunView; metrics: MetricRecord[]; telemetry?: TelemetrySample[]; tried?: Tried | null }

/** Samples that host and panel keep. */
export const TELEMETRY_KEPT = 300;

/** What the panel's buttons ask for. Each is a command of the extension. */
export const PANEL_ACTIONS = [
  'start', 'pause', 'resume', 'stop', 'saveCheckpoint', 'continueRun', 'saveAdapter', 'mergeAdapter', 'openFile', 'openRunFolder', 'copyMetrics', 'selectTargets',
  'pickExperiment', 'newExperiment', 'showLog', 'installRuntime', 'previewData', 'refreshModel',
] as const;
export type PanelAction = (typeof PANEL_ACTIONS)[number];

export interface TryResult { base: Prediction[]; adapter: Prediction[] }

/** What a language model has written so far. */
export interface Written {
  text: string;
  /** `end`: the model ended its text. `length`: `max_new_tokens`, or the model's positions, were reached. `stopped`: the person stopped it. Null while it writes. */
  stopped: Completion['stopped'] | 'stopped' | null;
}
export interface WrittenPair { base: Written; adapter: Written }
export type WriteSettings = Partial<GenerationSettings>;

/** What the panel asks base and adapter, `pairs` being the second texts, and what was shown with it (`of`): the answer belongs there alone. */
export interface TryRequest { of: string; texts: string[]; pairs?: string[] }
/** What has come of it so far. The host keeps it: the page of a panel that is hidden is no longer there, and made anew when it is back. */
export interface Tried extends TryRequest {
  classes: TryResult | null;
  written: WrittenPair | null;
  error: ErrorReport | null;
  /** It goes on. */
  busy: boolean;
}
/** The columns of pairs of texts. */
export type TextPair = [first: string, second: string];
export const textPair = ({ text_column = 'text', text_pair_column }: Partial<Pick<DatasetSettings, 'text_column' | 'text_pair_column'>>): TextPair | null => (text_pair_column ? [text_column, text_pair_column] : null);

/** An adapter that was chosen in the Runs tree: its PEFT folder, its task, null where its config does not say, and the pairs that it was trained on, null for single texts, undefined where its folder does not say. */
export interface ChosenAdapter { folder: string; task: string | null; pair?: TextPair | null }

type Empty = Record<string, never>;
/** The file of the experiment that the panel showed when it asked, null for none. */
interface OfExperiment { experiment: string | null }

/** Requests by name: [parameters, result]. */
export type Calls<R> = { [K in keyof R]: [params: unknown, result: unknown] };

/** Requests, panel → host: name → [parameters, result]. */
export interface PanelRequests {
  ready: [Empty, PanelView];
  /** Changes an experiment file as one edit: the one that was shown, which another may have followed meanwhile. */
  edit: [OfExperiment & { changes: SettingChange[] }, null];
  act: [OfExperiment & { action: PanelAction }, null];
  /** Asks for the folder or file that the path at a key names, and writes it into the experiment file. */
  browse: [OfExperiment & { path: string[] }, null];
  /** Classifies texts. What comes of it is told by `tried`, as with `write`. */
  predict: [TryRequest, null];
  /** Measures the memory of one step; answers when it has, or was cancelled. */
  measure: [OfExperiment, null];
  cancelMeasure: [Empty, null];
  /** Starts a run that was held back because memory is short. */
  startAnyway: [OfExperiment, null];
  /** Continues a prompt, the only text, with the adapter and then with the base. */
  write: [TryRequest & { settings: WriteSettings }, null];
  /** Ends what `write` does; what has been written is its result. */
  stopWriting: [Empty, null];
  /** Opens a file of an error report at its place. */
  open: [{ file: string; where?: string }, null];
}

/** Notifications, host → panel: name → parameters. */
export interface PanelNotifications {
  experiment: { experiment: ExperimentView | null };
  run: { run: RunView };
  /** Appended records and samples, everything since the last such message; `reset` replaces all that was shown. */
  metrics: { records: MetricRecord[]; samples: TelemetrySample[]; reset: boolean };
  tried: Tried;
  /** A checkpoint that was asked for in the panel has been written: the name of its folder. */
  saved: { checkpoint: string };
  /** Puts the cursor into the Try box. */
  focusTry: Empty;
}

/** Why the settings of an experiment cannot be changed, or undefined if they can. A run that is trained, here or elsewhere, could not go on with others. */
export function settingsFixed({ status, elsewhere }: RunView): ErrorReport | undefined {
  if (isActive(status)) return { code: 'run.active', cause: 'settings are fixed while a run is active', action: 'stop it to change them' };
  return elsewhere?.own ? { code: 'run.active', cause: 'settings are fixed while another process trains', action: 'stop it there to change them' } : undefined;
}

/** Why no adapter can be set up. */
export const WHOLE_MODEL: ErrorReport = {
  code: 'lora.whole-model', where: 'lora', cause: 'the experiment says "lora": null: the whole model is trained, without an adapter', action: 'write "lora": {} to train an adapter',
};

export const EMPTY_RUN: RunView = {
  attempt: 0, status: 'none', started: null, progress: null, error: null, blocked: null, silent: null, summary: null, folder: null, adapter: null, chosen: null, resumable: false, saving: false, elsewhere: null, sweep: null,
};

/** Metrics as CSV (RFC 4180, lines end in \n) with one column for every key that occurs, in the order of first occurrence; `eval_f1_per_class` has one for each class. */
export function metricsCsv(records: readonly MetricRecord[]): string {
  const rows = records.map(record => new Map(Object.entries(record).flatMap(([key, value]): [string, unknown][] =>
    (typeof value === 'object' && value !== null ? Object.entries(value).map(([name, part]) => [`${key}.${name}`, part]) : [[key, value]]))));
  const columns = [...new Set(rows.flatMap(row => [...row.keys()]))];
  return [columns, ...rows.map(row => columns.map(column => row.get(column) ?? ''))].map(fields => `${fields.map(csvField).join(',')}\n`).join('');
}

const csvField = (value: unknown): string => (/[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));

/** Line of a report's `where`, counted from 0, if it names one: `line 12`, `12`, `line 12, column 3`. */
export function lineOf(where: string | undefined): number | undefined {
  const match = where?.match(/(?:^|\bline\s+)(\d+)/i);
  return match ? Math.max(0, Number(match[1]) - 1) : undefined;
}

/** `file: where: cause. Action.` on one line. */
export function formatReport(report: ErrorReport): string {
  const place = [report.file, report.where].filter(Boolean).join(': ');
  return `${place ? `${place}: ${report.cause}` : capital(report.cause)}. ${sentence(report.action)}`;
}

/** A part of a report as a sentence of its own. */
export const sentence = (text: string): string => `${capital(text)}${/[.?!]$/.test(text) ? '' : '.'}`;
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
