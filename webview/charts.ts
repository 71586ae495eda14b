/** chart.js for the panel: only the components that are used, no animation, colours of the theme. */
import { Chart, LinearScale, LineController, LineElement, PointElement, Tooltip, type ChartDataset, type ChartOptions, type Plugin } from 'chart.js';
import { axisStart, fits } from './axis';
import { formatNumber } from './format';
import { roundNumbers } from './ranges';
import type { Point } from './thinnedLine';
import { onThemeChange, readTheme, type Theme } from './theme';

Chart.register(LineController, LineElement, PointElement, LinearScale, Tooltip);
Chart.defaults.animation = false;

/** About what the y axis's labels take of a chart: how many numbers the x axis has is not to hang on how long they are, so that charts of one width have the same ones. */
const Y_LABELS = 40;

/** Where a chart has no points. */
export const NOTHING_LOGGED = 'Nothing logged yet';

/** How one line is drawn. Lines of one chart differ in width, dash and marks as well as in colour. */
export interface LineStyle {
  label: string;
  colour: keyof Pick<Theme, 'blue' | 'yellow' | 'green' | 'purple'>;
  width: number;
  dash?: number[];
  /** Radius of the mark on each point. */
  mark?: number;
  faint?: boolean;
}

export interface ChartTexts {
  xTick?: (value: number) => string;
  /** Places of the x axis's labels, from its lowest and highest value; without it round numbers. */
  xTicks?: (low: number, high: number) => number[];
  yTick?: (value: number) => string;
  title: (x: number) => string;
  value?: (y: number) => string;
  /** The y axis begins at zero. */
  fromZero?: boolean;
  /** The y axis begins at zero where the lowest value is near it: nothing lies below, and the axis must not say so. */
  zeroIfNear?: boolean;
  /** Where the x axis begins, if not at the first point. */
  xMin?: number;
}

/** A chart of lines over a common x; later lines lie over earlier ones. */
export class LineChart {
  private readonly chart: Chart<'line', Point[]>;
  private theme = readTheme();
  private readonly unfollowTheme: () => void;
  /** The axes are to be laid out anew, whatever the points are. */
  private stale = true;

  /** `markedX` names an x at which an upright line is drawn. */
  constructor(canvas: HTMLCanvasElement, private readonly styles: readonly LineStyle[], private readonly texts: ChartTexts, private readonly markedX?: () => number | undefined) {
    this.chart = new Chart(canvas, { type: 'line', data: { datasets: this.datasets() }, options: this.options(), plugins: [this.mark()] });
    this.unfollowTheme = onThemeChange(() => this.restyle());
  }

  /** Lets go of the canvas and the theme. */
  destroy(): void {
    this.unfollowTheme();
    this.chart.destroy();
  }

  /**
   * Draws other points: one list for each style, up to an x of `end`, or of the last point. While they are `growing` the axes are kept until a point
   * lies outside of them or `end` is another: laying them out takes four times what the lines take. Lines of an `other` run get axes of their own.
   */
  draw(lines: readonly Point[][], { growing = false, other = false, end }: { growing?: boolean; other?: boolean; end?: number } = {}): void {
    const { chart } = this;
    lines.forEach((points, i) => { chart.data.datasets[i].data = points; });
    const start = this.texts.zeroIfNear ? axisStart(lines) : undefined;
    const { x, y } = chart.scales;
    if (growing && !other && !this.stale && end === chart.options.scales!.x!.max && start === chart.options.scales!.y!.min && fits(lines, x, y)) return this.redraw();
    if (this.texts.zeroIfNear) chart.options.scales!.y!.min = start;
    chart.options.scales!.x!.max = end;
    chart.update('none');
    this.stale = !growing;
  }

  /** The lines over the axes as they are. */
  private redraw(): void {
    const { chart } = this;
    for (let i = 0; i < chart.data.datasets.length; i++) {
      const { controller } = chart.getDatasetMeta(i);
      controller.buildOrUpdateElements();
      controller.update('none');
    }
    chart.draw();
  }

  private datasets(): ChartDataset<'line', Point[]>[] {
    return this.styles.map((style, i) => {
      const colour = this.theme[style.colour];
      return {
        label: style.label, data: [], order: this.styles.length - i, parsing: false, normalized: true, spanGaps: false,
        borderColor: style.faint ? faint(colour, this.theme) : colour, borderWidth: style.width, borderDash: style.dash, borderJoinStyle: 'round',
        pointRadius: style.mark ?? 0, pointHoverRadius: (style.mark ?? 0) + 2, pointHitRadius: 6,
        // A mark at the end of an axis is drawn whole.
        clip: style.mark === undefined ? undefined : style.mark + 2,
        backgroundColor: colour, pointBackgroundColor: colour, pointBorderColor: colour,
      };
    });
  }

  private options(): ChartOptions<'line'> {
    const { theme, texts } = this;
    const font = { family: theme.font, size: 11 };
    const scale = (tick: ((value: number) => string) | undefined) => ({
      type: 'linear' as const,
      grid: { color: theme.grid, lineWidth: theme.highContrast ? 0.5 : 1, drawTicks: false },
      border: { display: false },
      ticks: { color: theme.muted, font, padding: 6, maxRotation: 0, callback: (value: string | number) => (tick ?? formatNumber)(Number(value)) },
    });
    const x = scale(texts.xTick);
    const y = scale(texts.yTick);
    return {
      animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
      interaction: { mode: 'nearest', axis: 'x', intersect: false },
      layout: { padding: { top: 4, right: 6 } },
      scales: {
        x: {
          ...x, bounds: 'data', min: texts.xMin, grid: { ...x.grid, display: false }, ticks: { ...x.ticks, autoSkip: false },
          afterBuildTicks: axis => { axis.ticks = (texts.xTicks ?? ((low, high) => roundNumbers(low, high, (axis.chart.width - Y_LABELS) / 70)))(axis.min, axis.max).map(value => ({ value })); },
        },
        y: { ...y, beginAtZero: texts.fromZero, grace: '4%', ticks: { ...y.ticks, maxTicksLimit: 5 } },
      },
      plugins: {
        tooltip: {
          backgroundColor: theme.background, borderColor: theme.border, borderWidth: 1, titleColor: theme.text, bodyColor: theme.text,
          titleFont: font, bodyFont: font, cornerRadius: 3, padding: 8, boxWidth: 8, boxHeight: 8, boxPadding: 4, multiKeyBackground: 'transparent',
          callbacks: {
            title: items => (items.length ? texts.title(items[0].parsed.x!) : ''),
            label: item => `${item.dataset.label}: ${(texts.value ?? formatNumber)(item.parsed.y!)}`,
          },
        },
      },
    };
  }

  /** The upright line at `markedX`. */
  private mark(): Plugin<'line'> {
    return {
      id: 'mark',
      beforeDatasetsDraw: ({ ctx, chartArea, scales }) => {
        const x = this.markedX?.();
        if (x === undefined) return;
        const at = scales.x.getPixelForValue(x);
        ctx.save();
        ctx.strokeStyle = this.theme.muted;
        ctx.setLineDash([2, 3]);
        ctx.beginPath();
        ctx.moveTo(at, chartArea.top);
        ctx.lineTo(at, chartArea.bottom);
        ctx.stroke();
        ctx.restore();
      },
    };
  }

  private restyle(): void {
    this.theme = readTheme();
    const fresh = this.datasets();
    this.chart.data.datasets.forEach((dataset, i) => Object.assign(dataset, { ...fresh[i], data: dataset.data }));
    const { min } = this.chart.options.scales!.y!;
    const { max } = this.chart.options.scales!.x!;
    this.chart.options = this.options();
    this.chart.options.scales!.y!.min = min;
    this.chart.options.scales!.x!.max = max;
    this.chart.update('none');
  }
}

/** A line that stands behind another one of its colour: paler, but in high contrast, where pale blue on black is next to nothing, grey. */
const faint = (colour: string, { highContrast, text }: Theme): string => (highContrast ? translucent(text, 0.6) : translucent(colour, 0.4));

/** The colour at this opacity, whatever its notation. */
function translucent(colour: string, opacity: number): string {
  const hex = /^#([0-9a-f]{6})/i.exec(colour);
  return hex ? `#${hex[1]}${Math.round(255 * opacity).toString(16)}` : `color-mix(in srgb, ${colour} ${100 * opacity}%, transparent)`;
}
