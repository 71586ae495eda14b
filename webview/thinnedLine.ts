/** The points of a line that grows, thinned as it does, so that a redraw costs the same however long the run is. Pure. */

/** A point of a chart; `y` is NaN where the logged value was not finite, which draws a gap. */
export interface Point { x: number; y: number }

/** More points than this no chart is wide enough to show. */
export const MOST_POINTS = 800;
/** The same of a chart that is half as wide. */
export const FEWER_POINTS = 300;

/**
 * Keeps every point up to `most`; then of each stretch of equal length the first, lowest, highest and last one, and the first
 * gap. Peaks and gaps therefore never vanish. Stretches double as often as it takes, so that adding a point costs the same at any length.
 */
export class ThinnedLine {
  /** What is kept of each complete stretch. */
  private stretches: Point[][] = [];
  private kept = 0;
  private size = 1;
  /** What is kept of the last stretch, and the points that it holds so far. */
  private open: Point[] = [];
  private opened = 0;

  constructor(private readonly most = MOST_POINTS) {}

  /** What is to be drawn, in order: a list of its own. */
  get points(): Point[] { return [...this.stretches.flat(), ...this.open]; }

  push(point: Point): void {
    this.open.push(point);
    this.opened += 1;
    if (this.opened === this.size) this.close();
    else if (this.open.length > 8) this.open = thin(this.open);
  }

  clear(): void {
    this.stretches = [];
    this.open = [];
    this.kept = this.opened = 0;
    this.size = 1;
  }

  private close(): void {
    const last = thin(this.open);
    this.stretches.push(last);
    this.kept += last.length;
    this.open = [];
    this.opened = 0;
    if (this.kept <= this.most) return;
    while (this.kept > this.most / 2) this.double();
  }

  private double(): void {
    const { stretches } = this;
    this.stretches = Array.from({ length: Math.floor(stretches.length / 2) }, (_, i) => thin([...stretches[2 * i], ...stretches[2 * i + 1]]));
    if (stretches.length % 2) {
      this.open = [...stretches[stretches.length - 1], ...this.open];
      this.opened += this.size;
    }
    this.size *= 2;
    this.kept = this.stretches.reduce((sum, stretch) => sum + stretch.length, 0);
  }
}

/** The first, lowest, highest, last and first missing point, in order. */
function thin(points: Point[]): Point[] {
  if (points.length < 3) return points;
  let [low, high, gap] = [0, 0, -1];
  for (const [i, { y }] of points.entries()) {
    if (Number.isNaN(y)) gap = gap < 0 ? i : gap;
    else {
      if (!(points[low].y <= y)) low = i;
      if (!(points[high].y >= y)) high = i;
    }
  }
  return [...new Set([0, low, high, points.length - 1, ...(gap < 0 ? [] : [gap])])].sort((a, b) => a - b).map(i => points[i]);
}
