import assert from 'node:assert/strict';

/** Fails unless all numbers are within `tolerance` times the largest expected one. */
export function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  const largest = Array.from(expected, Math.abs).reduce((a, b) => Math.max(a, b), 1e-6);
  for (let i = 0; i < actual.length; i++) assert.ok(Math.abs(actual[i] - expected[i]) <= tolerance * largest, `${what}[${i}]: ${actual[i]} instead of ${expected[i]}`);
}
