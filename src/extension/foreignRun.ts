/** A run that another process trains, as its folder tells of it: a terminal's, another window's, or that of an engine of this window before it was reloaded. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunStarted } from '../protocol/engine';
import { isEvalRecord, type MetricRecord, type SweepMember, type TrainRecord } from '../protocol/metrics';
import { MetricsTail } from './metricsTail';
import { ownerOf, readMetrics, readSweep } from './runFolders';

/** A folder that is moved aside for a new run has no lock for a moment. */
const NO_LOCK_MS = 200;

/** What the folder of a run that has no summary yet tells of its start; what it does not tell is 0 or empty. */
export type Plan = Omit<RunStarted, 'history'>;

export interface News {
  /** The process that trains; undefined once the run has ended. */
  owner: number | undefined;
  /** Logged since the last look; with `reset` all that there is. */
  records: MetricRecord[];
  reset: boolean;
  /** Null until the first step tells how many an epoch has. */
  started: Plan | null;
  /** Of a sweep: the member that the rest is said of, how all of them stand, and what the others have logged. Absent where nothing of it has changed. */
  sweep?: { shown: string | null; members: SweepMember[]; others: [name: string, records: MetricRecord[]][] };
}

export class ForeignRun {
  private log: MetricsTail;
  private started: Plan | null = null;
  /** Of a sweep: the member whose log is read, when its ranking was written, and that. */
  private member: string | null = null;
  private ranked: number | undefined;
  private members: SweepMember[] | undefined;

  constructor(private readonly folder: string) {
    this.log = new MetricsTail(logIn(folder));
  }

  /** Whether it is still trained; and with `metrics`, or when it has ended, what it has logged meanwhile. Never rejects. */
  async look(metrics: boolean): Promise<News> {
    const owner = await ownerOf(this.folder) ?? await sleep(NO_LOCK_MS).then(() => ownerOf(this.folder));
    if (!metrics && owner !== undefined) return { owner, records: [], reset: false, started: this.started };
    const before = this.member;
    const sweep = await this.sweep();
    // The owner was asked before: all that a run has logged is there once it has ended.
    const { records, reset } = await this.log.read();
    const other = reset || this.member !== before;
    if (other) this.started = null;
    const trained = records.find(record => !isEvalRecord(record));
    if (trained && !this.started) this.started = await this.plan(trained as TrainRecord);
    return { owner, records, reset: other, started: this.started, sweep };
  }

  /** How the members of a sweep stand, where that has changed. The one that logs is that which is trained: the ranking is written when a member pauses or ends. */
  private async sweep(): Promise<News['sweep']> {
    const file = path.join(this.folder, 'sweep.json');
    const written = await lastChange(file);
    const changed = written !== this.ranked;
    const members = changed ? (await readSweep(this.folder))?.members : this.members;
    if (written === undefined || !members) return undefined;
    [this.ranked, this.members] = [written, members];
    const open = members.filter(({ state }) => ['waiting', 'running', 'stopped'].includes(state));
    const logs = await Promise.all(open.map(async ({ name }) => ({ name, time: await lastChange(logIn(path.join(this.folder, name))) ?? 0 })));
    const newest = logs.reduce((a, b) => (b.time > a.time ? b : a), { name: this.member, time: 0 });
    if (!changed && newest.name === this.member) return undefined;
    if (newest.name !== null && newest.name !== this.member) this.log = new MetricsTail(logIn(path.join(this.folder, newest.name)));
    this.member = newest.name;
    // Whatever the others have logged until they paused or ended.
    const others = members.filter(({ name }) => name !== this.member).map(async ({ name }): Promise<[string, MetricRecord[]]> => [name, await readMetrics(path.join(this.folder, name))]);
    return { shown: this.member, members, others: await Promise.all(others) };
  }

  /** Steps and epochs of the run, from its settings and from how far a step of it goes. */
  private async plan({ step, epoch }: TrainRecord): Promise<Plan | null> {
    const text = await fs.readFile(path.join(this.folder, this.member ?? '', 'experiment.json'), 'utf8').catch(() => '{}');
    const { max_steps, num_train_epochs } = trainingOf(text);
    // The last step of an epoch may have fewer batches than the others; the quotient is not exact.
    const inEpoch = Math.ceil(step / epoch - 1e-6);
    const total = max_steps > 0 ? max_steps : Math.ceil(num_train_epochs * inEpoch);
    if (!(total > 0) || !Number.isFinite(total)) return null;
    return {
      run_folder: this.folder, total_steps: total, num_train_epochs: Math.ceil(total / inEpoch), trainable_parameters: 0, all_parameters: 0, device: '', half_precision: false,
      train_examples: 0, eval_examples: 0, longest: 0, labels: [],
    };
  }
}

const logIn = (folder: string): string => path.join(folder, 'metrics.jsonl');
const lastChange = async (file: string): Promise<number | undefined> => (await fs.stat(file).catch(() => undefined))?.mtimeMs;

function trainingOf(text: string): { max_steps: number; num_train_epochs: number } {
  try {
    const { training } = JSON.parse(text) as { training?: Record<string, unknown> };
    return { max_steps: Number(training?.max_steps ?? -1), num_train_epochs: Number(training?.num_train_epochs ?? 0) };
  } catch { return { max_steps: -1, num_train_epochs: 0 }; }
}
