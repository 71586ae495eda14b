/** Where the axes of a chart begin and end. Pure. */
import type { Point } from './thinnedLine';

/** The x axis of a run that grows ends at one of these times a power of ten, and so rarely at another one. */
const ENDS = [1, 1.5, 2, 3, 4, 6, 8, 10];
/** At the least. */
const LEAST_END = 10;

/** Values below this share of the highest one are near zero. */
const NEAR_ZERO = 0.25;

/** 0 for an axis that begins at zero, or undefined to leave it to the values. None of them is negative. */
export function axisStart(lines: readonly (readonly Point[])[]): 0 | undefined {
  let [low, high] = [Infinity, -Infinity];
  for (const points of lines) for (const { y } of points) if (Number.isFinite(y)) [low, high] = [Math.min(low, y), Math.max(high, y)];
  return low <= NEAR_ZERO * high ? 0 : undefined;
}

/** Where the x axes of a run that grows end, from its last step: not beyond `most`, where that is known, unless the run is. */
export function axisEnd(last: number, most = Infinity): number {
  const span = Math.max(LEAST_END, last);
  const power = 10 ** Math.floor(Math.log10(span));
  return Math.max(last, Math.min(most, power * ENDS.find(end => end * power >= span)!));
}

/** Whether all points lie within the axes. */
export function fits(lines: readonly (readonly Point[])[], x: { min: number; max: number }, y: { min: number; max: number }): boolean {
  return lines.every(points => points.length === 0 || points[0].x >= x.min && points.at(-1)!.x <= x.max
    && points.every(point => Number.isNaN(point.y) || point.y >= y.min && point.y <= y.max));
}
