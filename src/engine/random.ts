/**
 * Seeded random numbers. Every use has its own stream, named after what it is for, so that adding one never changes
 * the others and nothing but (seed, stream) has to be saved to repeat it.
 *
 * Generator: xoshiro128** (Blackman and Vigna), its state filled by splitmix32 from a 32-bit FNV-1a hash of seed and name.
 */
export interface Random {
  /** Uniform in [0, 1) with 32 random bits. */
  next(): number;
  /** Standard normal, by Box and Muller. */
  normal(): number;
  /** A random order of 0 … n - 1, by Fisher and Yates. */
  shuffle(n: number): Uint32Array;
}

/** The stream of random numbers that belongs to a seed (0 … 2³²-1) and a name. */
export function random(seed: number, stream: string): Random {
  const state = initialState(seed, stream);
  let [a, b, c, d] = state;
  let spare: number | undefined;

  function next32(): number {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a; d ^= b; b ^= c; a ^= d; c ^= t;
    d = rotate(d, 11);
    return result;
  }
  const next = (): number => next32() / 4294967296;

  function normal(): number {
    if (spare !== undefined) { const value = spare; spare = undefined; return value; }
    const radius = Math.sqrt(-2 * Math.log(1 - next())); // 1 - next() is never 0
    const angle = 2 * Math.PI * next();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  function shuffle(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(next() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
  return { next, normal, shuffle };
}

const rotate = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits));

function initialState(seed: number, stream: string): [number, number, number, number] {
  let hash = 0x811c9dc5;
  const mix = (byte: number) => { hash = Math.imul(hash ^ byte, 0x01000193); };
  for (let shift = 0; shift < 32; shift += 8) mix((seed >>> shift) & 255);
  for (const byte of new TextEncoder().encode(stream)) mix(byte);
  // splitmix32 spreads the hash; four outputs in a row are never all zero, which xoshiro could not leave.
  const splitmix = (): number => {
    hash = (hash + 0x9e3779b9) | 0;
    let z = hash;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return z ^ (z >>> 16);
  };
  return [splitmix(), splitmix(), splitmix(), splitmix()];
}
