/** Numbers as a person reads them. Pure. */

/** A loss, norm or rate: four significant digits, exponents only where they are shorter; not-a-number as it was logged. */
export function formatNumber(value: number | string | null | undefined): string {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'string') return value;
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
  return String(Number(value.toPrecision(4)));
}

/** `0.27 %`, with as many digits as say something. */
export function formatPercent(percent: number): string {
  return `${percent >= 10 ? percent.toFixed(1) : percent >= 0.1 ? percent.toFixed(2) : percent.toFixed(4)} %`;
}

/** A share from 0 to 1 as `97.3 %`. */
export const formatShare = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** `8 s`, `1 min 12 s`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '–';
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return joined(Math.floor(whole / 60), 'min', whole % 60, 's');
  const minutes = Math.round(whole / 60);
  return joined(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
}

const joined = (large: number, unit: string, small: number, smaller: string): string => `${large} ${unit}${small ? ` ${small} ${smaller}` : ''}`;

/** `1 step`, `188 steps`. */
export const counted = (count: number | string, noun: string): string => `${count} ${noun}${String(count) === '1' ? '' : 's'}`;

/** Bytes to two digits, as an estimate deserves: `57 MB`, `2.4 GB`. */
export function roughBytes(bytes: number): string {
  const [size, unit] = bytes >= 1e9 ? [1e9, 'GB'] as const : [1e6, 'MB'] as const;
  const value = bytes / size;
  return `${value >= 10 ? Math.round(value) : Number(value.toFixed(1))} ${unit}`;
}

/** Markdown's code marks and emphasis removed: tooltips are plain text. */
export const plainText = (markdown: string): string => markdown.replace(/[`*]/g, '');

/** The end of a long path: `…/model`, at most `length` characters. */
export function shortPath(path: string, length = 48): string {
  if (path.length <= length) return path;
  const parts = path.split(/[\\/]/);
  let tail = parts.pop() ?? '';
  while (parts.length && tail.length + parts[parts.length - 1].length + 3 <= length) tail = `${parts.pop()}/${tail}`;
  return `…/${tail}`;
}
