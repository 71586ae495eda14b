/**
 * ROUGE (Lin 2004, https://aclanthology.org/W04-1013) and exact match of written texts, as Python's `rouge_score` package computes it without
 * stemming: words are the runs of a–z and 0–9 of the lower-cased text; each score is an F-measure from 0 to 1.
 */

export interface TextScores { exact_match: number; rouge1: number; rouge2: number; rougeL: number }

/** Words of a text. Whatever is neither a letter a–z nor a digit separates them. */
export const words = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? [];

/** ROUGE-N: common n-grams, each counted as often as both texts have it. */
export function rougeN(expected: readonly string[], written: readonly string[], n: number): number {
  const [a, b] = [grams(expected, n), grams(written, n)];
  let common = 0;
  for (const [gram, count] of a) common += Math.min(count, b.get(gram) ?? 0);
  return fMeasure(common, Math.max(0, expected.length - n + 1), Math.max(0, written.length - n + 1));
}

/** ROUGE-L: the longest sequence of words that both texts have in the same order, gaps allowed. */
export function rougeL(expected: readonly string[], written: readonly string[]): number {
  let row = new Uint32Array(written.length + 1);
  for (const word of expected) {
    const next = new Uint32Array(written.length + 1);
    for (let j = 0; j < written.length; j++) next[j + 1] = word === written[j] ? row[j] + 1 : Math.max(row[j + 1], next[j]);
    row = next;
  }
  return fMeasure(row[written.length], expected.length, written.length);
}

/** Means over pairs of expected and written texts, at least one. Texts match exactly if they are equal but for white space at their ends. */
export function scoreTexts(pairs: readonly { expected: string; written: string }[]): TextScores {
  const sum: TextScores = { exact_match: 0, rouge1: 0, rouge2: 0, rougeL: 0 };
  for (const { expected, written } of pairs) {
    const [a, b] = [words(expected), words(written)];
    sum.exact_match += expected.trim() === written.trim() ? 1 : 0;
    sum.rouge1 += rougeN(a, b, 1);
    sum.rouge2 += rougeN(a, b, 2);
    sum.rougeL += rougeL(a, b);
  }
  return Object.fromEntries(Object.entries(sum).map(([name, value]) => [name, value / pairs.length])) as unknown as TextScores;
}

function grams(all: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= all.length; i++) {
    const gram = all.slice(i, i + n).join(' ');
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** 2PR / (P + R) of precision and recall; 0 where nothing is common. */
const fMeasure = (common: number, expected: number, written: number): number => (common === 0 ? 0 : (2 * common) / (expected + written));
