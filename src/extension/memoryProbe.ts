/** What runs need in memory: measured in an engine of its own, learnt from runs, remembered, and asked before a run begins. */
import { totalmem } from 'node:os';
import type { Memento } from 'vscode';
import type { ErrorReport } from '../protocol/engine';
import type { ExperimentValues, ModelView } from '../protocol/panel';
import { deviceOf, measuredOn, neededMemory, sameMemory, settingsOf, TRUSTED, type HeldRun, type MeasuredMemory, type MemoryView } from '../protocol/memory';
import { silentReport } from '../protocol/silentGpu';
import { availableMemory } from '../machine/memory';
import { EngineClient, type EngineOptions } from './engineClient';
import { ReportedError } from './reports';

/** What is measured: an experiment that is on disk, on its checkpoint and data. */
export interface MemorySubject { file: string; values: ExperimentValues; model: ModelView; data: string }

/** How the measurement of a step ended. */
export type Measuring = 'measured' | 'cancelled' | 'exceeded';

type Remembered = MeasuredMemory & { subject: string };

const KEY = 'memory.measured';
const KEPT = 60;
const WATCH_MS = 100;

export class MemoryProbe {
  private going: { file: string; values: string; why: 'asked' | 'start'; engine: EngineClient | undefined; exceeded: boolean; silent: ErrorReport | null } | undefined;
  private held: { file: string; values: string; run: HeldRun } | undefined;
  /** What is free, and what a step must leave: before the system ends something else, the step is ended. Tests say otherwise. */
  machine = { available: availableMemory, spared: Math.max(200e6, 0.02 * totalmem()) };

  /** `changed` is called when a measurement begins or ends, and when something else than the settings decides what is shown. */
  constructor(private readonly memento: Memento, private readonly changed: () => void) {}

  /** Of an experiment on its model; without one nothing is known. */
  view(subject?: MemorySubject): MemoryView {
    const own = subject && subjectKey(subject);
    return {
      available_bytes: this.machine.available(), measuring: this.going?.file === subject?.file && this.going?.why || false, silent: this.going?.file === subject?.file && this.going?.silent || null, held: this.held?.file === subject?.file && this.held?.run || null,
      measured: own === undefined ? [] : this.remembered().filter(record => record.subject === own).map(({ settings, result, of }) => ({ settings, result, of })),
    };
  }

  /** Runs one step. Throws a ReportedError if it could not be run. */
  async measure(subject: MemorySubject, options: EngineOptions, why: 'asked' | 'start' = 'asked'): Promise<Measuring> {
    this.cancel();
    const own: NonNullable<typeof this.going> = this.going = { file: subject.file, values: JSON.stringify(subject.values), why, engine: undefined, exceeded: false, silent: null };
    const watch = setInterval(() => {
      if (this.machine.available() > this.machine.spared) return;
      own.exceeded = true;
      own.engine?.kill();
    }, WATCH_MS);
    this.changed();
    try {
      own.engine = await EngineClient.start(options);
      if (this.going !== own) return 'cancelled';
      own.engine.on('silent', ({ since }) => {
        own.silent = since === null ? null : silentReport(since, 'cancel it', 'the measurement');
        if (this.going === own) this.changed();
      });
      const result = await own.engine.request('measure', { experiment_file: subject.file });
      if (this.going !== own) return 'cancelled';
      await this.remember(subject, { settings: settingsOf(subject.values), result, of: 'step' });
      return 'measured';
    } catch (error) {
      // An engine that was ended on purpose has nothing to report.
      if (this.going !== own) return 'cancelled';
      if (own.exceeded) return 'exceeded';
      throw error;
    } finally {
      clearInterval(watch);
      own.engine?.kill();
      if (this.going === own) {
        this.going = undefined;
        this.changed();
      }
    }
  }

  /**
   * Whether a run may begin. A computed need that is near or above what is free is measured first, which takes some seconds; a run that
   * does not fit is held, and the view says so. Of a GPU too little is known to hold anything.
   */
  async admits(subject: MemorySubject, options: EngineOptions): Promise<boolean> {
    const available = this.machine.available();
    const need = () => neededMemory(subject.model, subject.values, this.view(subject));
    const onCpu = (): boolean => deviceOf(subject.values, this.view(subject)) === 'cpu';
    if (!onCpu()) return true;
    if (need().measured !== 'this' && need().total > (1 - TRUSTED) * available) {
      // Whatever else goes wrong, the run will say it.
      const ended = await this.measure(subject, options, 'start').catch((error: unknown) => (diedOfMemory(error) ? 'exceeded' as const : 'failed' as const));
      if (ended === 'failed') return true;
      if (ended === 'cancelled') return false;
      if (ended === 'exceeded') return this.hold(subject, { needed: Math.max(need().total, available), available, measured: false, exceeded: true });
    }
    const { total, measured } = need();
    return !onCpu() || measured !== 'this' || total <= available || this.hold(subject, { needed: total, available, measured: true, exceeded: false });
  }

  /**
   * Takes up what a whole run or sweep needed. One that was stopped, or that went on from where another one had ended, may not have met its
   * longest batch or its largest member: it counts if it needed more than is known.
   */
  async learn(subject: MemorySubject, result: MeasuredMemory['result'], whole: boolean): Promise<void> {
    const settings = settingsOf(subject.values);
    const view = this.view(subject);
    const known = neededMemory(subject.model, subject.values, view);
    const needed = measuredOn(deviceOf(subject.values, view), result);
    const earlier = view.measured.find(record => sameMemory(record.settings, settings));
    // On the CPU it tells nothing of the run alone.
    if (result.peak_with_fp32 && needed === null) return;
    if (!whole && !(known.measured === 'this' && needed !== null && known.total < needed)) return;
    // Of a short run the GPU told late or never: what it told before with these settings holds.
    const told = earlier?.result.device === result.device ? earlier.result : undefined;
    const gpu_memory_bytes = Math.max(result.gpu_memory_bytes ?? 0, told?.gpu_memory_bytes ?? 0) || null;
    const device_memory_bytes = result.device_memory_bytes ?? told?.device_memory_bytes ?? null;
    await this.remember(subject, { settings, result: { ...result, rows: result.rows ?? earlier?.result.rows, gpu_memory_bytes, device_memory_bytes }, of: 'run' });
    this.changed();
  }

  /** These are the settings of the current experiment: a measurement with others says nothing of them, and a run with them was not held. A run of another experiment may still be about to begin. */
  settingsAre(file: string | undefined, values: ExperimentValues | undefined): void {
    const changed = (known: { file: string; values: string } | undefined): boolean => known?.file === file && known?.values !== JSON.stringify(values);
    if (changed(this.held)) this.held = undefined;
    if (changed(this.going) || this.going?.why === 'asked' && this.going.file !== file) this.cancel();
  }

  /** A start, whatever comes of it: what is measured ends, and what was held is held no longer. */
  release(): void {
    this.held = undefined;
    this.cancel();
  }

  cancel(): void {
    const { going } = this;
    if (!going) return;
    this.going = undefined;
    going.engine?.kill();
    this.changed();
  }

  private hold({ file, values }: MemorySubject, run: HeldRun): false {
    this.held = { file, values: JSON.stringify(values), run };
    this.changed();
    return false;
  }

  private remembered(): Remembered[] { return this.memento.get<Remembered[]>(KEY) ?? []; }

  private async remember(subject: MemorySubject, measured: MeasuredMemory): Promise<void> {
    const key = subjectKey(subject);
    const others = this.remembered().filter(record => record.subject !== key || !sameMemory(record.settings, measured.settings));
    await this.memento.update(KEY, [{ subject: key, ...measured }, ...others].slice(0, KEPT));
  }
}

/** The checkpoint and the data, as far as memory depends on them. */
const subjectKey = ({ model, data }: MemorySubject): string => JSON.stringify([model.folder, model.base_parameters, data, model.data_bytes ?? null]);

/** The system ended the engine, or it was refused memory. */
const diedOfMemory = (error: unknown): boolean => error instanceof ReportedError && ['engine.died', 'engine.internal', 'device.memory'].includes(error.report.code) && /memory|heap|alloc/i.test(error.report.cause);
