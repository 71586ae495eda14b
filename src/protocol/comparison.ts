/** Several runs beside each other, and the messages between the host and the page that shows them, sent as those of panel.ts. */

/** Lines of one chart, that can be told apart by colour and dash. */
export const MOST_COMPARED = 12;

/** What curves can be drawn over: optimizer steps, passes over the training data, or seconds since the start of the run. */
export const COMPARED_OVER = ['step', 'epoch', 'time'] as const;
export type ComparedOver = (typeof COMPARED_OVER)[number];

export type ComparedPoint = Record<ComparedOver, number> & { value: number };

/** What the evaluations of all runs have measured; `share`: from 0 to 1, and told in per cent. */
export interface ComparedMetric { name: string; greater_is_better: boolean; share: boolean }

export interface ComparedRun {
  /** Absolute path. */
  folder: string;
  /** Of its folder, with that of the folder above it where several runs have one name. */
  name: string;
  experiment: string | null;
  state: 'finished' | 'stopped' | 'failed' | 'running' | 'waiting' | 'deleted';
  steps: number;
  /** One text for each of the comparison's `settings`; null where the run does not say. */
  settings: (string | null)[];
  trainable_parameters: number | null;
  /** The last one that was logged; `NaN` and the like as text. */
  train_loss: number | string | null;
  /** Of the comparison's metric: the last evaluation and the best one. */
  last: ComparedPoint | null;
  best: ComparedPoint | null;
  seconds: number | null;
  peak_memory_bytes: number | null;
  /** Training losses, thinned out; none where nothing was logged. */
  losses: ComparedPoint[];
  evaluations: ComparedPoint[];
}

export interface Comparison {
  runs: ComparedRun[];
  /** Keys of the experiment file whose values are not the same in all runs, as `lora.r`. */
  settings: string[];
  /** Null where no run was evaluated. */
  metric: ComparedMetric | null;
}

/** What the page leaves with VS Code, for when it is made anew: hidden and shown again, or in a window that was reloaded. */
export interface KeptComparison { over: ComparedOver; runs: Pick<ComparedRun, 'folder' | 'experiment'>[] }

type Empty = Record<string, never>;

/** Requests, page → host: name → [parameters, result]. */
export interface ComparisonRequests {
  ready: [Empty, Comparison];
  /** Shows a run in the experiment panel. */
  openRun: [{ folder: string }, null];
}

/** Notifications, host → page: name → parameters. */
export interface ComparisonNotifications { comparison: Comparison }
