/** Edits on their way to the experiment file. What a person sets shows at once and stays until the file says the same. */
import type { ErrorReport } from '../src/protocol/engine';
import { settingAt, type Problem, type SettingChange } from '../src/protocol/experiment';
import type { ExperimentValues } from '../src/protocol/panel';
import { keyOf, valueAt, withValue } from './settingsForm';

interface Edit extends SettingChange { sent: boolean; answered: boolean }

/** Waits this long for the next movement of a slider before the file is changed. */
const DEBOUNCE_MS = 150;
/** The host tells of a change it made within this time of answering. */
const SETTLE_MS = 1000;

export class Edits {
  private readonly edits = new Map<string, Edit>();
  private readonly failures = new Map<string, ErrorReport>();
  private file: string | undefined;
  private values: ExperimentValues | undefined;
  /** The file's values and problems, to tell when it has changed. */
  private said = '';
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** What has been sent and is not answered. */
  private readonly sending = new Set<Promise<void>>();

  /** `send` changes a file, as one edit, and rejects with a report; `changed` is called when a failure arrives or an edit is given up. */
  constructor(private readonly send: (file: string, changes: readonly SettingChange[]) => Promise<unknown>, private readonly changed: () => void) {}

  /** Shows values at once and sends them when nothing more has come for a moment, together with what waits. */
  set(changes: readonly SettingChange[]): void {
    for (const { path, value } of changes) {
      this.failures.delete(keyOf(path));
      this.edits.set(keyOf(path), { path, value, sent: false, answered: false });
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.deliver(), DEBOUNCE_MS);
  }

  /** Sends what waits, without waiting longer: a run is about to read the file. False if the file could not be changed. */
  async flush(): Promise<boolean> {
    await Promise.all([this.deliver(), ...this.sending]);
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

  /** Takes up what the file says now; edits that it holds are over, and so are the failures of a text that is no longer the same. True if it says something new. */
  settle(values: ExperimentValues | undefined, problems: readonly Problem[] = []): boolean {
    this.values = values;
    const said = JSON.stringify([values, problems]);
    const news = said !== this.said;
    if (news) this.failures.clear();
    this.said = said;
    for (const [key, edit] of this.edits) {
      if (edit.sent && (edit.answered || this.holds(edit))) this.edits.delete(key);
    }
    return news;
  }

  /** Another file is shown. What still waits is sent to the one that it was set in, and forgotten. */
  follow(file: string | undefined): void {
    void this.deliver();
    this.edits.clear();
    this.failures.clear();
    this.file = file;
  }

  /** The file's values with what the person has set since. */
  apply(values: ExperimentValues): ExperimentValues {
    return [...this.edits.values()].reduce((result, { path, value }) => withValue(result, path, value), values);
  }

  has(path: readonly string[]): boolean { return this.edits.has(keyOf(path)); }
  failure(path: readonly string[]): ErrorReport | undefined { return this.failures.get(keyOf(path)); }

  private deliver(): Promise<void> {
    clearTimeout(this.timer);
    const waiting = [...this.edits].filter(([, edit]) => !edit.sent);
    if (!waiting.length || this.file === undefined) return Promise.resolve();
    for (const [, edit] of waiting) edit.sent = true;
    const sent = this.deliverTo(this.file, waiting).finally(() => this.sending.delete(sent));
    this.sending.add(sent);
    return sent;
  }

  private async deliverTo(file: string, waiting: readonly [string, Edit][]): Promise<void> {
    try {
      await this.send(file, waiting.map(([, { path, value }]) => ({ path, value })));
      for (const [key, edit] of waiting) {
        edit.answered = true;
        if (this.holds(edit)) this.drop(key, edit);
        // A host that changed nothing, because the text already said so, sends no notification either.
        else setTimeout(() => this.drop(key, edit), SETTLE_MS);
      }
    } catch (error) {
      for (const [key, edit] of waiting) {
        if (this.edits.get(key) === edit) this.failures.set(key, error as ErrorReport);
        this.drop(key, edit);
      }
    }
  }

  private drop(key: string, edit: Edit): void {
    if (this.edits.get(key) !== edit) return;
    this.edits.delete(key);
    this.changed();
  }

  private holds({ path, value = settingAt(path)?.default }: Edit): boolean {
    return this.values !== undefined && JSON.stringify(valueAt(this.values, path)) === JSON.stringify(value);
  }
}
