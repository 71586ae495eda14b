/** What the run takes of the machine, as it runs: one cell each for memory, processor, GPU and speed, with the last minutes as a line. */
import { formatInteger } from '../src/protocol/adapterMath';
import type { TelemetrySample } from '../src/protocol/metrics';
import { h, setAttributes, setText, show } from './dom';
import { formatShare, roughBytes } from './format';
import { LATEST_SPEEDS } from './series';
import type { Part, View } from './view';

/** Samples that a line shows, one a second; of the speed the last steps. */
const SHOWN = LATEST_SPEEDS;
const SVG = 'http://www.w3.org/2000/svg';

interface Cell {
  name: string;
  id: string;
  /** Whose it is, where that differs from machine to machine. */
  title?(sample: TelemetrySample): string;
  /** Undefined where the platform does not tell. */
  value(sample: TelemetrySample): number | undefined;
  /** What the top of the line stands for; the highest value where there is no limit. */
  limit?(sample: TelemetrySample): number | undefined;
  text(value: number, sample: TelemetrySample): string;
  peak(value: number, sample: TelemetrySample): string;
  /** Of the whole run, where that is known: the samples are those of the last minutes. */
  most?(sample: TelemetrySample): number;
}

const OWNERS = { process: 'this run', card: 'whole card' } as const;

const CELLS: Cell[] = [
  { name: 'Memory', id: 'memory', value: s => s.memory_bytes, most: s => s.peak_memory_bytes, limit: s => s.machine_memory_bytes, text: (v, s) => `${roughBytes(v)} of ${roughBytes(s.machine_memory_bytes)}`, peak: roughBytes },
  { name: 'Processor', id: 'cpu', value: s => s.cpu_cores, limit: s => s.cores, text: (v, s) => `${v.toFixed(1)} of ${s.cores} cores`, peak: v => `${v.toFixed(1)} cores` },
  {
    name: 'GPU memory', id: 'gpu-memory', title: s => (s.gpu!.of === 'process' ? 'What this run has of the GPU\'s memory' : 'Memory of the whole card that is in use, by all programs'), value: s => s.gpu?.memory_bytes, limit: s => s.gpu?.memory_total_bytes ?? undefined,
    text: (v, s) => (s.gpu?.memory_total_bytes ? `${roughBytes(v)} of ${roughBytes(s.gpu.memory_total_bytes)}` : roughBytes(v)), peak: (v, s) => `${roughBytes(v)}, ${OWNERS[s.gpu!.of]}`,
  },
  { name: 'GPU', id: 'gpu', title: s => `Time for which the GPU worked, for ${s.gpu!.of === 'process' ? 'this run' : 'all that runs on it'}`, value: s => s.gpu?.utilization ?? undefined, limit: () => 1, text: v => formatShare(v).replace('.0 %', ' %'), peak: v => formatShare(v).replace('.0 %', ' %') },
];

/** The strip; hidden while no run is active or nothing has been measured yet. */
export function telemetryStrip(): Part {
  const cells = CELLS.map(cell => ({ cell, ...drawCell(cell.name, cell.id) }));
  const speed = drawCell('Speed', 'speed');
  const element = h('section', { class: 'telemetry', id: 'telemetry', 'aria-label': 'What the run takes of this machine' }, ...cells.map(c => c.element), speed.element);
  let drawnFor: TelemetrySample | undefined;
  return {
    element,
    update({ active, telemetry, series }: View) {
      const last = telemetry.at(-1);
      show(element, active && last !== undefined);
      // Steps may come far more often than samples.
      if (!active || !last || drawnFor === last) return;
      drawnFor = last;
      for (const { cell, ...drawn } of cells) {
        // The card's figures and those of the run alone are not comparable.
        const values = telemetry.flatMap(sample => (!cell.title || sample.gpu?.of === last.gpu?.of ? cell.value(sample) ?? [] : []));
        show(drawn.element, cell.value(last) !== undefined);
        if (cell.value(last) === undefined) continue;
        const peak = values.reduce((most, value) => Math.max(most, value), 0);
        if (cell.title) setAttributes(drawn.element, { title: cell.title(last) });
        drawn.set(cell.text(cell.value(last)!, last), `peak ${cell.peak(cell.most?.(last) ?? peak, last)}`, values.slice(-SHOWN), cell.limit?.(last) ?? peak);
      }
      const speeds = series.latestSpeeds;
      show(speed.element, speeds.length > 0);
      if (speeds.length) speed.set(`${formatInteger(Math.round(speeds.at(-1)!))} tokens/s`, '', speeds, Math.max(...speeds));
    },
  };
}

function drawCell(name: string, id: string): { element: HTMLElement; set(text: string, detail: string, values: readonly number[], top: number): void } {
  const value = h('span', { class: 'value' });
  const detail = h('span', { class: 'detail' });
  const svg = document.createElementNS(SVG, 'svg');
  setAttributes(svg, { viewBox: `0 0 ${SHOWN - 1} 20`, preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false' });
  const line = document.createElementNS(SVG, 'polyline');
  svg.append(line);
  return {
    element: h('div', { class: 'cell', 'data-cell': id }, h('div', { class: 'cell-text' }, h('span', { class: 'name' }, name), value, detail), svg as unknown as HTMLElement),
    set(text, small, values, top) {
      setText(value, text);
      setText(detail, small);
      // The newest value stands at the right edge; one alone is a level line.
      const drawn = values.length === 1 ? [values[0], values[0]] : values;
      setAttributes(line, { points: drawn.map((v, i) => `${SHOWN - drawn.length + i},${(19 - 18 * Math.min(1, top > 0 ? v / top : 0)).toFixed(1)}`).join(' ') });
    },
  };
}
