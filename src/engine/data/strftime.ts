/** Dates and times as Python's `datetime.strftime` writes them in the C locale, which chat templates ask for by `strftime_now`. */

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

/** What stands for others. */
const FORMATS: Record<string, string> = { c: '%a %b %e %H:%M:%S %Y', D: '%m/%d/%y', F: '%Y-%m-%d', h: '%b', r: '%I:%M:%S %p', R: '%H:%M', T: '%H:%M:%S', x: '%m/%d/%y', X: '%H:%M:%S' };
const TEXTS: Record<string, (moment: Date) => string> = {
  a: moment => DAYS[moment.getDay()].slice(0, 3), A: moment => DAYS[moment.getDay()],
  b: moment => MONTHS[moment.getMonth()].slice(0, 3), B: moment => MONTHS[moment.getMonth()],
  p: moment => (moment.getHours() < 12 ? 'AM' : 'PM'), n: () => '\n', t: () => '\t', '%': () => '%',
  // A time of no zone.
  z: () => '', Z: () => '',
};
/** Value, digits, and what fills them up. */
const NUMBERS: Record<string, (moment: Date) => [number, number, ('0' | ' ')?]> = {
  d: moment => [moment.getDate(), 2], e: moment => [moment.getDate(), 2, ' '], H: moment => [moment.getHours(), 2], I: moment => [hour12(moment), 2],
  k: moment => [moment.getHours(), 2, ' '], l: moment => [hour12(moment), 2, ' '], j: moment => [dayOfYear(moment), 3], m: moment => [moment.getMonth() + 1, 2], M: moment => [moment.getMinutes(), 2],
  S: moment => [moment.getSeconds(), 2], f: moment => [1000 * moment.getMilliseconds(), 6], u: moment => [moment.getDay() || 7, 1], w: moment => [moment.getDay(), 1], y: moment => [moment.getFullYear() % 100, 2], Y: moment => [moment.getFullYear(), 1],
};

const hour12 = (moment: Date): number => moment.getHours() % 12 || 12;
const dayOfYear = (moment: Date): number => Math.round((Date.UTC(moment.getFullYear(), moment.getMonth(), moment.getDate()) - Date.UTC(moment.getFullYear(), 0, 0)) / 86_400_000);

/** Local time in the given format; `-`, `_`, `0` and `^` behind a % count as in glibc. Throws an Error for a directive that is not among those above. */
export function strftime(moment: Date, format: string): string {
  return format.replace(/%([-_0^]?)([A-Za-z%])/g, (directive, flag: string, name: string) => {
    const text = FORMATS[name] !== undefined ? strftime(moment, FORMATS[name]) : TEXTS[name]?.(moment);
    if (text !== undefined) return flag === '^' ? text.toUpperCase() : text;
    const number = NUMBERS[name]?.(moment);
    if (!number) throw new Error(`strftime_now does not know "${directive}"`);
    const [value, digits, fill = '0'] = number;
    return flag === '-' ? String(value) : String(value).padStart(digits, flag === '_' ? ' ' : flag === '0' ? '0' : fill);
  });
}

/** A moment as it is kept: in local time without a zone, so that it is the same day and hour wherever it is read again. */
export const stamp = (moment: Date): string => strftime(moment, '%FT%T.%f');

/** The moment that `stamp` wrote; undefined where an earlier version wrote none. */
export const momentOf = (text: string | undefined): Date | undefined => (text === undefined ? undefined : new Date(text));
