/** The records of a run, and the last of each kind without a search: the status bar and the run's row ask every second, however many steps there have been. Pure. */
import { isEvalRecord, type EvalRecord, type MetricRecord, type TrainRecord } from '../protocol/metrics';

export class RunHistory {
  private all: MetricRecord[] = [];
  private last: { trained?: TrainRecord; evaluated?: EvalRecord } = {};

  get records(): readonly MetricRecord[] { return this.all; }
  /** The latest step, where there has been one. */
  get trained(): TrainRecord | undefined { return this.last.trained; }
  /** The latest evaluation. */
  get evaluated(): EvalRecord | undefined { return this.last.evaluated; }

  append(records: readonly MetricRecord[]): void {
    for (const record of records) {
      this.all.push(record);
      if (isEvalRecord(record)) this.last.evaluated = record;
      else this.last.trained = record;
    }
  }

  replace(records: readonly MetricRecord[]): void {
    this.all = [];
    this.last = {};
    this.append(records);
  }
}
