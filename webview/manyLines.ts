/** A chart of one line for each of several runs, which may be other runs with each drawing. */
import { LineChart, NOTHING_LOGGED, type ChartTexts, type LineStyle } from './charts';
import { h, show } from './dom';
import type { Point } from './thinnedLine';

const COLOURS = ['blue', 'green', 'yellow', 'purple'] as const;
const DASHES = [undefined, [5, 4], [2, 3]];

/** One style for each name, by its place: MOST_COMPARED of them can be told apart. */
export const stylesOf = (names: readonly string[], mark?: number): LineStyle[] => names.map((label, i) => ({
  label, colour: COLOURS[i % COLOURS.length], width: 1.5, dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length], mark,
}));

export class ManyLines {
  private readonly empty = h('p', { class: 'chart-empty' }, NOTHING_LOGGED);
  readonly element = h('div', { class: 'plot' }, this.empty);
  private chart: { drawn: LineChart; canvas: HTMLCanvasElement; of: string } | undefined;

  constructor(private readonly label: string, private readonly describedBy: string) {}

  /** `of` says what is drawn: with another one the chart is made anew. The x axis ends at `end`, or at the last point. */
  draw(of: string, styles: readonly LineStyle[], texts: ChartTexts, lines: readonly Point[][], end?: number): void {
    if (this.chart?.of !== of) {
      const canvas = h('canvas', { role: 'img', 'aria-label': this.label, 'aria-describedby': this.describedBy });
      this.chart?.drawn.destroy();
      this.element.replaceChildren(canvas, this.empty);
      this.chart = { of, canvas, drawn: new LineChart(canvas, styles, texts) };
    }
    const nothing = lines.every(points => points.length === 0);
    show(this.empty, nothing);
    this.chart.canvas.classList.toggle('blank', nothing);
    this.chart.drawn.draw(lines, { end });
  }
}
