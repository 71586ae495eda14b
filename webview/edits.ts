/** Edits on their way to the experiment file. What a person sets shows at once and stays until the file says the same. */
import type { ErrorReport } from '../src/protocol/engine';
import type { Problem } from '../src/protocol/experiment';
import type { ExperimentValues } from '../src/protocol/panel';
import { keyOf, valueAt, withValue } from './settingsForm';

interface Edit { path: string[]; value: unknown; timer: ReturnType<typeof setTimeout> | undefined; answered: boolean }

/** Waits this long for the next movement of a slider before the file is changed. */
const DEBOUNCE_MS = 150;
/** The host tells of a change it made within this time of answering. */
const SETTLE_MS = 1000;

export class Edits {
  private readonly edits = new Map<string, Edit>();
  private readonly failures = new Map<string, ErrorReport>();
  private file: ExperimentValues | undefined;
  /** The file's values and problems, to tell when it has changed. */
  private said = '';

  /** `send` changes the file and rejects with a report; `changed` is called when a failure arrives or an edit is given up. */
  constructor(private readonly send: (path: string[], value: unknown) => Promise<unknown>, private readonly changed: () => void) {}

  /** Shows a value at once and sends it when nothing more has come for a moment. */
  set(path: string[], value: unknown): void {
    const key = keyOf(path);
    clearTimeout(this.edits.get(key)?.timer);
    this.failures.delete(key);
    const edit: Edit = { path, value, timer: undefined, answered: false };
    edit.timer = setTimeout(() => void this.deliver(key, edit), DEBOUNCE_MS);
    this.edits.set(key, edit);
  }

  /** Sends what waits, without waiting longer: a run is about to read the file. False if the file could not be changed. */
  async flush(): Promise<boolean> {
    await Promise.all([...this.edits].filter(([, edit]) => edit.timer !== undefined).map(([key, edit]) => {
      clearTimeout(edit.timer);
      return this.deliver(key, edit);
    }));
    return this.failures.size === 0;
  }

  /**
   * Why the file lacks what a person has set; undefined if it lacks nothing. It is told once: fields show what the file has, so that whoever
   * starts again knowing this starts what he sees.
   */
  takeFailure(): ErrorReport | undefined {
    const [report] = this.failures.values();
    this.failures.clear();
    return report;
  }

  /** Takes up what the file says now; edits that it holds are over, and so are the failures of a text that is no longer the same. */
  settle(values: ExperimentValues | undefined, problems: readonly Problem[] = []): void {
    this.file = values;
    const said = JSON.stringify([values, problems]);
    if (said !== this.said) this.failures.clear();
    this.said = said;
    for (const [key, edit] of this.edits) {
      if (edit.timer === undefined && (edit.answered || this.holds(edit))) this.edits.delete(key);
    }
  }

  /** Forgets everything: another file is shown. */
  reset(): void {
    for (const { timer } of this.edits.values()) clearTimeout(timer);
    this.edits.clear();
    this.failures.clear();
  }

  /** The file's values with what the person has set since. */
  apply(values: ExperimentValues): ExperimentValues {
    return [...this.edits.values()].reduce((result, { path, value }) => withValue(result, path, value), values);
  }

  has(path: readonly string[]): boolean { return this.edits.has(keyOf(path)); }
  failure(path: readonly string[]): ErrorReport | undefined { return this.failures.get(keyOf(path)); }

  private async deliver(key: string, edit: Edit): Promise<void> {
    edit.timer = undefined;
    try {
      await this.send(edit.path, edit.value);
      edit.answered = true;
      if (this.holds(edit)) this.drop(key, edit);
      // A host that changed nothing, because the text already said so, sends no notification either.
      else setTimeout(() => this.drop(key, edit), SETTLE_MS);
    } catch (error) {
      if (this.edits.get(key) === edit) this.failures.set(key, error as ErrorReport);
      this.drop(key, edit);
    }
  }

  private drop(key: string, edit: Edit): void {
    if (this.edits.get(key) !== edit) return;
    this.edits.delete(key);
    this.changed();
  }

  private holds({ path, value }: Edit): boolean {
    return this.file !== undefined && JSON.stringify(valueAt(this.file, path)) === JSON.stringify(value);
  }
}
