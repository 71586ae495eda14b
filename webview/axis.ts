/** Where an axis begins. Pure. */
import type { Point } from './series';

/** Values below this share of the highest one are near zero. */
const NEAR_ZERO = 0.25;

/** 0 for an axis that begins at zero, or undefined to leave it to the values. None of them is negative. */
export function axisStart(lines: readonly (readonly Point[])[]): 0 | undefined {
  let [low, high] = [Infinity, -Infinity];
  for (const points of lines) for (const { y } of points) if (Number.isFinite(y)) [low, high] = [Math.min(low, y), Math.max(high, y)];
  return low <= NEAR_ZERO * high ? 0 : undefined;
}
