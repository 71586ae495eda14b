/** Numbers as people type them, whatever their language writes between thousands and before a fraction. */

/** Digits in groups of three, as `1,000` or `1.000`. No group of thousands begins with 0: `0,001` is a decimal fraction. */
const GROUPED = { ',': /^[+-]?[1-9]\d{0,2}(?:,\d{3})+$/, '.': /^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$/ };

/**
 * A number with a decimal point or comma, or with commas between thousands; NaN for what is none.
 * What may be a thousand or one, as `1,000` where a fraction is possible, and `1.000` where it is not, is wrong.
 */
export function readNumber(text: string, whole: boolean): { value: number } | { wrong: string } {
  const trimmed = text.trim();
  const grouped = GROUPED[','].test(trimmed);
  const plain = trimmed.replaceAll(',', '');
  if (grouped && !whole && trimmed.split(',').length === 2) return { wrong: `give ${plain} or ${trimmed.replace(',', '.')}, without a comma` };
  if (whole && GROUPED['.'].test(trimmed)) return { wrong: `give ${trimmed.replaceAll('.', '')}${/^[^.]*\.0+$/.test(trimmed) ? ` or ${Number(trimmed)}` : ''}, without a point` };
  return { value: trimmed === '' ? NaN : Number(grouped ? plain : trimmed.replace(',', '.')) };
}

/** What is typed for the rank, at most `limit`, or the alpha of some modules, and what to give in its place where it cannot be used. */
export function readOverride(key: 'r' | 'lora_alpha', text: string, limit: number): { value?: number; wrong?: string } {
  const read = readNumber(text, key === 'r');
  return 'wrong' in read ? read : { value: read.value, wrong: wrongOverride(key, read.value, limit) };
}

/** What to give in the place of a rank or an alpha that cannot be used; undefined if it can. */
export function wrongOverride(key: 'r' | 'lora_alpha', value: number, limit: number): string | undefined {
  if (key === 'r') return Number.isInteger(value) && value >= 1 && value <= limit ? undefined : `give a whole number from 1 to ${limit}`;
  return Number.isFinite(value) && value > 0 ? undefined : 'give a number above 0';
}
