/** Metric records as the points that charts draw. Pure. */
import { isEvalRecord, type EvalRecord, type MetricRecord, type TrainRecord } from '../src/protocol/metrics';

/** A point of a chart; `y` is NaN where the logged value was not finite, which draws a gap. */
export interface Point { x: number; y: number }

/** The smoothed loss averages over about this many steps, or over this share of a long run, whose noise is drawn closer together. */
const SMOOTHED_STEPS = 10;
const SMOOTHED_SHARE = 1 / 50;

/** Everything that the charts of one run show; grows by appending. */
export class MetricSeries {
  readonly loss: Point[] = [];
  readonly smoothed: Point[] = [];
  readonly evalLoss: Point[] = [];
  readonly learningRate: Point[] = [];
  readonly gradientNorm: Point[] = [];
  readonly speed: Point[] = [];
  readonly evaluations: EvalRecord[] = [];
  lastTrain: TrainRecord | undefined;
  length = 0;
  /** Changes whenever the points do, so that nothing is drawn twice. */
  version = 0;
  private average = new RunningAverage(SMOOTHED_STEPS, SMOOTHED_SHARE);

  get lastEval(): EvalRecord | undefined { return this.evaluations[this.evaluations.length - 1]; }

  clear(): void {
    for (const points of [this.loss, this.smoothed, this.evalLoss, this.learningRate, this.gradientNorm, this.speed, this.evaluations]) points.length = 0;
    this.lastTrain = undefined;
    this.length = 0;
    this.version += 1;
    this.average = new RunningAverage(SMOOTHED_STEPS, SMOOTHED_SHARE);
  }

  append(records: readonly MetricRecord[]): void {
    for (const record of records) {
      if (isEvalRecord(record)) this.appendEval(record);
      else this.appendTrain(record);
    }
    this.length += records.length;
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

/**
 * At most about `target` points that look the same when drawn: of each stretch its first, lowest, highest and last point.
 * Peaks therefore never vanish, and neither do gaps.
 */
export function downsample(points: readonly Point[], target: number): readonly Point[] {
  if (points.length <= target) return points;
  const kept: Point[] = [];
  const stretches = Math.max(1, Math.floor(target / 4));
  const edge = (stretch: number): number => Math.floor((stretch * points.length) / stretches);
  for (let stretch = 0; stretch < stretches; stretch++) {
    for (const index of extremes(points, edge(stretch), edge(stretch + 1))) kept.push(points[index]);
  }
  return kept;
}

/** Indices of the first, lowest, highest, last and first missing point of a stretch, in order. */
function extremes(points: readonly Point[], begin: number, end: number): number[] {
  let [low, high, gap] = [begin, begin, -1];
  for (let i = begin; i < end; i++) {
    const { y } = points[i];
    if (Number.isNaN(y)) gap = gap < 0 ? i : gap;
    else {
      if (!(points[low].y <= y)) low = i;
      if (!(points[high].y >= y)) high = i;
    }
  }
  return [...new Set([begin, low, high, end - 1, ...(gap < 0 ? [] : [gap])])].sort((a, b) => a - b);
}

const numeric = (value: number | string): number => (typeof value === 'number' && Number.isFinite(value) ? value : NaN);
