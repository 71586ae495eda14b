/** The largest singular values of a weight with their vectors, in double precision, without decomposing all of it. */
import type { Random } from '../random';

/** W [rows, columns], or its transpose, as an operator on vectors. */
export class Matrix {
  readonly rows: number;
  readonly columns: number;
  constructor(private readonly values: Float32Array, private readonly width: number, private readonly transposed = false) {
    const height = values.length / width;
    [this.rows, this.columns] = transposed ? [width, height] : [height, width];
  }

  transpose(): Matrix { return new Matrix(this.values, this.width, !this.transposed); }

  /** W x. x [columns] → [rows] */
  times(x: Float64Array): Float64Array {
    const { values, width } = this;
    const height = values.length / width;
    const y = new Float64Array(this.rows);
    for (let row = 0, at = 0; row < height; row++) {
      if (this.transposed) for (let i = 0, factor = x[row]; i < width; i++, at++) y[i] += factor * values[at];
      else { let sum = 0; for (let i = 0; i < width; i++, at++) sum += x[i] * values[at]; y[row] = sum; }
    }
    return y;
  }

  column(index: number): Float64Array { return this.times(Float64Array.from({ length: this.columns }, (_, i) => (i === index ? 1 : 0))); }
}

/** W ≈ Σ S[i] U[i] V[i]ᵀ, largest S first. U[i] [rows], V[i] [columns] */
export interface Singular { U: Float64Array[]; S: number[]; V: Float64Array[] }

/** Residual relative to the largest singular value at which a triple counts as found. */
const TOLERANCE = 1e-9;

/**
 * The `r` largest singular triples, by Golub-Kahan-Lanczos bidiagonalization with full reorthogonalization (Golub and Van Loan,
 * Matrix Computations, 10.4): W V = U B with a small bidiagonal B, which grows until its largest triples are those of W.
 */
export function largestSingular(W: Matrix, r: number, random: Random): Singular {
  // With columns ≤ rows the process ends exactly at the last column.
  if (W.columns > W.rows) return swapped(largestSingular(W.transpose(), r, random));
  const transposed = W.transpose();
  const U: Float64Array[] = [], V: Float64Array[] = [], diagonal: number[] = [], above: number[] = [];
  let v = nextVector(random, W.columns, V);
  for (let check = Math.min(W.columns, 2 * r + 10); ; ) {
    V.push(v);
    const { unit: u, length: alpha } = orthonormal(W.times(v), U, random);
    U.push(u);
    diagonal.push(alpha);
    const size = U.length;
    if (size === W.columns) above.push(0);
    else {
      const next = orthonormal(transposed.times(u), V, random);
      above.push(next.length);
      v = next.unit;
    }
    if (size < check) continue;
    const B = Array.from({ length: size }, (_, j) => Float64Array.from({ length: size }, (_, i) => (i === j ? diagonal[i] : i === j - 1 ? above[i] : 0)));
    const { S, left, right } = decompose(B);
    if (size === W.columns || left.slice(0, r).every(vector => above[size - 1] * Math.abs(vector[size - 1]) <= TOLERANCE * S[0])) {
      return { U: left.slice(0, r).map(weights => combine(U, weights)), S: S.slice(0, r), V: right.slice(0, r).map(weights => combine(V, weights)) };
    }
    check = Math.min(W.columns, Math.ceil(1.5 * check));
  }
}

/** `r` approximate triples from a random subspace and `niter` power iterations (Halko et al. 2009, https://arxiv.org/abs/0909.4061), as torch.svd_lowrank. */
export function randomizedSingular(W: Matrix, r: number, niter: number, random: Random): Singular {
  if (W.rows < W.columns) return swapped(randomizedSingular(W.transpose(), r, niter, random));
  const transposed = W.transpose();
  const basis = (vectors: Float64Array[]): Float64Array[] => vectors.reduce<Float64Array[]>((found, vector) => [...found, orthonormal(vector, found, random).unit], []);
  let Q = basis(Array.from({ length: r }, () => W.times(Float64Array.from({ length: W.columns }, () => random.normal()))));
  for (let i = 0; i < niter; i++) Q = basis(basis(Q.map(q => transposed.times(q))).map(v => W.times(v)));
  const { S, left, right } = decompose(Q.map(q => transposed.times(q)));
  return { U: right.map(weights => combine(Q, weights)), S, V: left };
}

/** The first `r` columns of Q of W = Q R, and the first `r` rows of R, up to signs: Q[i] [rows], R[i] [columns]. */
export function firstOfQr(W: Matrix, r: number, random: Random): { Q: Float64Array[]; R: Float64Array[] } {
  const Q: Float64Array[] = [];
  for (let i = 0; i < r; i++) Q.push(orthonormal(W.column(i), Q, random).unit);
  const transposed = W.transpose();
  return { Q, R: Q.map(q => transposed.times(q)) };
}

const swapped = ({ U, S, V }: Singular): Singular => ({ U: V, S, V: U });
const dot = (a: Float64Array, b: Float64Array): number => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };

/** Σ weights[i] vectors[i] */
function combine(vectors: Float64Array[], weights: Float64Array): Float64Array {
  const sum = new Float64Array(vectors[0].length);
  vectors.forEach((vector, k) => { for (let i = 0; i < sum.length; i++) sum[i] += weights[k] * vector[i]; });
  return sum;
}

/** The part of a vector that is orthogonal to `others`, as a unit vector and its length; a random direction where nothing is left. */
function orthonormal(vector: Float64Array, others: Float64Array[], random: Random): { unit: Float64Array; length: number } {
  const before = Math.sqrt(dot(vector, vector));
  // Once more, because rounding leaves a part of the others in.
  for (let pass = 0; pass < 2; pass++) {
    for (const other of others) {
      const share = dot(vector, other);
      for (let i = 0; i < vector.length; i++) vector[i] -= share * other[i];
    }
  }
  const length = Math.sqrt(dot(vector, vector));
  if (length <= 1e-13 * before || before === 0) return { unit: nextVector(random, vector.length, others), length: 0 };
  return { unit: vector.map(value => value / length), length };
}

const nextVector = (random: Random, size: number, others: Float64Array[]): Float64Array => orthonormal(Float64Array.from({ length: size }, () => random.normal()), others, random).unit;

/**
 * M = Σ S[i] left[i] right[i]ᵀ by one-sided Jacobi rotations of its columns (Golub and Van Loan, 8.6.3). Columns of M are changed in place.
 */
function decompose(M: Float64Array[]): { S: number[]; left: Float64Array[]; right: Float64Array[] } {
  const size = M.length;
  const R = M.map((_, j) => Float64Array.from({ length: size }, (_, i) => (i === j ? 1 : 0)));
  const rotate = (a: Float64Array, b: Float64Array, c: number, s: number): void => {
    for (let i = 0; i < a.length; i++) [a[i], b[i]] = [c * a[i] - s * b[i], s * a[i] + c * b[i]];
  };
  for (let turned = true, sweep = 0; turned && sweep < 60; sweep++) {
    turned = false;
    for (let p = 0; p < size - 1; p++) {
      for (let q = p + 1; q < size; q++) {
        const [pp, qq, pq] = [dot(M[p], M[p]), dot(M[q], M[q]), dot(M[p], M[q])];
        if (Math.abs(pq) <= 1e-15 * Math.sqrt(pp * qq)) continue;
        turned = true;
        const tau = (qq - pp) / (2 * pq);
        const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau));
        const c = 1 / Math.hypot(1, t);
        rotate(M[p], M[q], c, c * t);
        rotate(R[p], R[q], c, c * t);
      }
    }
  }
  const norms = M.map(column => Math.sqrt(dot(column, column)));
  const order = norms.map((_, i) => i).sort((a, b) => norms[b] - norms[a]);
  return { S: order.map(i => norms[i]), left: order.map(i => M[i].map(value => value / (norms[i] || 1))), right: order.map(i => R[i]) };
}
