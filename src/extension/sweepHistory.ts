/** The metrics of every member of a sweep, and what the panel shows of them. Pure. */
import { isEvalRecord, type MetricRecord, type SweepMember, type TrainRecord } from '../protocol/metrics';
import type { SweepView } from '../protocol/panel';

/** Points of one member's curve: enough to compare it with the others. */
const MOST_POINTS = 200;

export class SweepHistory {
  private readonly records = new Map<string, MetricRecord[]>();
  private shown: string | null = null;

  /** The member that later records belong to. */
  show(name: string | null): void { this.shown = name; }

  of(name: string): readonly MetricRecord[] { return this.records.get(name) ?? []; }

  append(records: readonly MetricRecord[]): void {
    if (this.shown === null) return;
    if (!this.records.has(this.shown)) this.records.set(this.shown, []);
    const shown = this.records.get(this.shown)!;
    // As many as a whole log may come at once: more than a call may have arguments.
    for (const record of records) shown.push(record);
  }

  /** All records of a member; undefined stands for the one that is shown. */
  replace(name: string | undefined, records: readonly MetricRecord[]): void {
    const member = name ?? this.shown;
    if (member !== null) this.records.set(member, [...records]);
  }

  view(members: SweepMember[]): SweepView {
    return { members, shown: this.shown, curves: Object.fromEntries(members.map(({ name }) => [name, curve(this.of(name))])) };
  }
}

const curve = (records: readonly MetricRecord[]): [step: number, loss: number][] => lossCurve(records).map(({ record, loss }) => [record.step, loss]);

/** Means of the training loss over stretches of equal length, so that curves of many steps can be told apart, each with the record at which its stretch ends. */
export function lossCurve(records: readonly MetricRecord[]): { record: TrainRecord; loss: number }[] {
  const trained = records.filter((record): record is TrainRecord => !isEvalRecord(record) && Number.isFinite(Number(record.loss)));
  const size = Math.max(1, Math.ceil(trained.length / MOST_POINTS));
  return Array.from({ length: Math.ceil(trained.length / size) }, (_, i) => {
    const stretch = trained.slice(i * size, (i + 1) * size);
    return { record: stretch.at(-1)!, loss: stretch.reduce((sum, { loss }) => sum + Number(loss), 0) / stretch.length };
  });
}
