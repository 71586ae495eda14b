/** Metric records as the points that charts draw. Pure. */
import { isEvalRecord, type EvalRecord, type MetricRecord, type TrainRecord } from '../src/protocol/metrics';
import { FEWER_POINTS, ThinnedLine } from './thinnedLine';

/** Latest speeds that are kept one by one. */
export const LATEST_SPEEDS = 120;

/** The smoothed loss averages over about this many steps, or over this share of a long run, whose noise is drawn closer together. */
const SMOOTHED_STEPS = 10;
const SMOOTHED_SHARE = 1 / 50;

/** Everything that the charts of one run show; grows by appending. */
export class MetricSeries {
  readonly loss = new ThinnedLine();
  readonly smoothed = new ThinnedLine();
  readonly evalLoss = new ThinnedLine();
  readonly learningRate = new ThinnedLine(FEWER_POINTS);
  readonly gradientNorm = new ThinnedLine(FEWER_POINTS);
  readonly speed = new ThinnedLine(FEWER_POINTS);
  /** Tokens per second of the last steps. */
  latestSpeeds: number[] = [];
  readonly evaluations: EvalRecord[] = [];
  lastTrain: TrainRecord | undefined;
  length = 0;
  /** Changes whenever the points do, so that nothing is drawn twice. */
  version = 0;
  /** Changes when the points become those of another run. */
  history = 0;
  private average = smoothing();

  /** The last step that a chart shows; 0 before the first. */
  get lastStep(): number { return Math.max(this.lastTrain?.step ?? 0, this.lastEval?.step ?? 0); }
  get lastEval(): EvalRecord | undefined { return this.evaluations[this.evaluations.length - 1]; }

  clear(): void {
    for (const line of [this.loss, this.smoothed, this.evalLoss, this.learningRate, this.gradientNorm, this.speed]) line.clear();
    this.evaluations.length = 0;
    this.latestSpeeds = [];
    this.lastTrain = undefined;
    this.length = 0;
    this.version += 1;
    this.history += 1;
    this.average = smoothing();
  }

  append(records: readonly MetricRecord[]): void {
    for (const record of records) {
      if (isEvalRecord(record)) this.appendEval(record);
      else this.appendTrain(record);
    }
    this.length += records.length;
    this.latestSpeeds = this.latestSpeeds.slice(-LATEST_SPEEDS);
    if (records.length) this.version += 1;
  }

  private appendTrain(record: TrainRecord): void {
    const { step } = record;
    const loss = numeric(record.loss);
    this.loss.push({ x: step, y: loss });
    this.smoothed.push({ x: step, y: this.average.next(loss) });
    this.learningRate.push({ x: step, y: record.learning_rate });
    this.gradientNorm.push({ x: step, y: numeric(record.grad_norm) });
    this.speed.push({ x: step, y: record.tokens_per_second });
    this.latestSpeeds.push(record.tokens_per_second);
    this.lastTrain = record;
  }

  private appendEval(record: EvalRecord): void {
    this.evalLoss.push({ x: record.step, y: numeric(record.eval_loss) });
    this.evaluations.push(record);
  }
}

/**
 * Exponential average without the pull towards zero of its first values, over about `least` values or the last `share` of all.
 * A value that is not finite leaves it as it is.
 */
export class RunningAverage {
  private sum = 0;
  private weight = 0;
  private count = 0;

  constructor(private readonly least: number, private readonly share: number) {}

  next(value: number): number {
    if (Number.isFinite(value)) {
      this.count += 1;
      const part = 1 / Math.max(this.least, this.share * this.count);
      this.sum += part * (value - this.sum);
      this.weight += part * (1 - this.weight);
    }
    return this.weight > 0 ? this.sum / this.weight : NaN;
  }
}

/** As losses are smoothed. */
export const smoothing = (): RunningAverage => new RunningAverage(SMOOTHED_STEPS, SMOOTHED_SHARE);

const numeric = (value: number | string): number => (typeof value === 'number' && Number.isFinite(value) ? value : NaN);
