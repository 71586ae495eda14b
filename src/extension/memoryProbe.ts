/** Measures what a run of the current experiment needs: one step in an engine of its own, ended at once when the settings change. */
import { freemem } from 'node:os';
import type { ExperimentValues } from '../protocol/panel';
import { settingsOf, type MemoryView } from '../protocol/memory';
import { EngineClient, type EngineOptions } from './engineClient';

export class MemoryProbe {
  private measured: MemoryView['measured'] = null;
  private going: { values: string; engine: EngineClient | undefined } | undefined;

  /** `changed` is called when a measurement begins or ends. */
  constructor(private readonly changed: () => void) {}

  get view(): MemoryView { return { available_bytes: freemem(), measuring: this.going !== undefined, measured: this.measured }; }

  /** Returns when the step has run or was cancelled. Throws a ReportedError if it could not run. */
  async measure(experiment_file: string, values: ExperimentValues, trainable: number, options: EngineOptions): Promise<void> {
    this.cancel();
    const own: NonNullable<typeof this.going> = this.going = { values: JSON.stringify(values), engine: undefined };
    this.changed();
    try {
      own.engine = await EngineClient.start(options);
      if (this.going !== own) return;
      const result = await own.engine.request('measure', { experiment_file });
      if (this.going === own) this.measured = { values: settingsOf(values), trainable, result };
    } catch (error) {
      // An engine that was ended on purpose has nothing to report.
      if (this.going === own) throw error;
    } finally {
      own.engine?.kill();
      if (this.going === own) {
        this.going = undefined;
        this.changed();
      }
    }
  }

  /** A measurement with other settings than these says nothing of them. */
  settingsAre(values: ExperimentValues | undefined): void {
    if (this.going && this.going.values !== JSON.stringify(values)) this.cancel();
  }

  cancel(): void {
    const { going } = this;
    if (!going) return;
    this.going = undefined;
    going.engine?.kill();
    this.changed();
  }
}
