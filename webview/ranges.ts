/** The positions of the panel's sliders. Values such as a rank double rather than add up, so a slider moves over stops, not over numbers. Pure. */

/** 1, 2, 3, 4 … 8, 10, 12, 14, 16, 20 … : four stops between a power of two and the next, up to `limit`, which is the last stop. */
export function rankStops(limit: number): number[] {
  const stops: number[] = [];
  for (let power = 1; power <= limit; power *= 2) {
    for (const part of power < 4 ? (power === 1 ? [1] : [1, 1.5]) : [1, 1.25, 1.5, 1.75]) {
      if (part * power <= limit) stops.push(part * power);
    }
  }
  if (limit >= 1 && stops[stops.length - 1] !== limit) stops.push(limit);
  return stops;
}

/** Powers of two from `low` to `high`. */
export function doublings(low: number, high: number): number[] {
  const stops: number[] = [];
  for (let value = low; value <= high; value *= 2) stops.push(value);
  return stops;
}

/** 1, 2, 3, 5, 7 times each power of ten from 10^`low` to 10^`high`. */
export function decades(low: number, high: number): number[] {
  const stops: number[] = [];
  for (let exponent = low; exponent < high; exponent++) {
    for (const mantissa of [1, 2, 3, 5, 7]) stops.push(Number(`${mantissa}e${exponent}`));
  }
  return [...stops, Number(`1e${high}`)];
}

/** `count` + 1 evenly spaced stops from 0 to `high`. */
export function evenly(high: number, count: number): number[] {
  return Array.from({ length: count + 1 }, (_, i) => Number(((high * i) / count).toFixed(6)));
}

/** About `count` round numbers between `low` and `high`: multiples of 1, 2 or 5 times a power of ten, whole ones only. */
export function roundNumbers(low: number, high: number, count: number): number[] {
  const rough = Math.max(1, (high - low) / count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(part => part * power).find(size => size >= rough * 0.999)!;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, i) => (first + i) * step);
}

/** Index of the stop that is nearest to `value`. */
export function nearestStop(stops: readonly number[], value: number): number {
  let best = 0;
  for (let i = 1; i < stops.length; i++) {
    if (Math.abs(stops[i] - value) < Math.abs(stops[best] - value)) best = i;
  }
  return best;
}
