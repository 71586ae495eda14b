/** Singular vectors and QR of weights: what defines them, on matrices of every form. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstOfQr, largestSingular, Matrix, randomizedSingular, type Singular } from '../../src/engine/model/singularVectors';
import { random } from '../../src/engine/random';

const noise = (rows: number, columns: number, seed = 1): Float32Array => { const stream = random(seed, 'noise'); return Float32Array.from({ length: rows * columns }, () => stream.normal()); };
const stream = () => random(7, 'start');
const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i], 0);
const isOrthonormal = (vectors: Float64Array[]): void => vectors.forEach((a, i) => vectors.forEach((b, k) => assert.ok(Math.abs(dot(a, b) - (i === k ? 1 : 0)) < 1e-9, `${i}, ${k}: ${dot(a, b)}`)));

/** W - Σ S U Vᵀ as [rows, columns]. */
function rest(values: Float32Array, columns: number, { U, S, V }: Singular): Float64Array {
  return Float64Array.from(values, (value, at) => U.reduce((sum, u, k) => sum - S[k] * u[Math.floor(at / columns)] * V[k][at % columns], value));
}

test('triples are W v = s u with orthonormal vectors, the largest of all; transposed and flat matrices too', () => {
  for (const [rows, columns, r] of [[30, 20, 3], [20, 30, 3], [64, 64, 8], [5, 40, 5], [7, 1, 1]]) {
    const values = noise(rows, columns);
    const W = new Matrix(values, columns);
    const all = largestSingular(W, Math.min(rows, columns), stream());
    assert.ok(rest(values, columns, all).every(value => Math.abs(value) < 1e-9), 'all triples give W back');
    const found = largestSingular(W, r, stream());
    isOrthonormal(found.U);
    isOrthonormal(found.V);
    found.S.forEach((s, i) => assert.ok(Math.abs(s - all.S[i]) < 1e-8 * all.S[0], `${rows} × ${columns}: ${s}, expected ${all.S[i]}`));
    found.V.forEach((v, i) => W.times(v).forEach((value, o) => assert.ok(Math.abs(value - found.S[i] * found.U[i][o]) < 1e-6 * found.S[0])));
    const flipped = largestSingular(new Matrix(values, columns, true), r, stream());
    flipped.U.forEach((u, i) => assert.ok(Math.abs(Math.abs(dot(u, found.V[i])) - 1) < 1e-6));
  }
});

test('weights of low rank, and of nothing but zeros, have triples too', () => {
  const [a, b] = [noise(24, 2, 2), noise(2, 16, 3)];
  const low = Float32Array.from({ length: 24 * 16 }, (_, at) => a[2 * Math.floor(at / 16)] * b[at % 16] + a[2 * Math.floor(at / 16) + 1] * b[16 + at % 16]);
  const found = largestSingular(new Matrix(low, 16), 4, stream());
  isOrthonormal(found.U);
  isOrthonormal(found.V);
  assert.ok(found.S[1] > 1 && found.S[2] < 1e-5);
  assert.ok(largestSingular(new Matrix(new Float32Array(12), 4), 2, stream()).S.every(s => s === 0));
});

test('power iterations bring the random subspace to the singular vectors', () => {
  const values = noise(40, 24);
  const exact = largestSingular(new Matrix(values, 24), 4, stream());
  const distance = (niter: number): number => Math.max(...randomizedSingular(new Matrix(values, 24), 4, niter, stream()).S.map((s, i) => Math.abs(s - exact.S[i])));
  assert.ok(distance(200) < 1e-6, String(distance(200)));
  assert.ok(distance(2) < distance(0));
  isOrthonormal(randomizedSingular(new Matrix(values, 40), 4, 2, stream()).V);
});

test('Q and R of the QR decomposition', () => {
  const values = noise(12, 20);
  const { Q, R } = firstOfQr(new Matrix(values, 20), 5, stream());
  isOrthonormal(Q);
  // R is upper triangular, and Q R has the first columns of W.
  R.forEach((row, k) => row.slice(0, k).forEach(value => assert.ok(Math.abs(value) < 1e-9)));
  for (let at = 0; at < values.length; at++) {
    if (at % 20 >= 5) continue;
    assert.ok(Math.abs(Q.reduce((sum, q, k) => sum + q[Math.floor(at / 20)] * R[k][at % 20], 0) - values[at]) < 1e-9);
  }
});
