/** Keys and values of the tokens that a batch of texts has already been read up to, so that each new token costs one pass over itself alone. */
import type { Feeds, Results } from '../executors/executor';
import { cacheNames, type CacheShape } from './cacheLayout';

/** Slots that a cache grows by: shapes stay the same for so many tokens, and a longer text is copied seldom. */
const BLOCK = 64;

export class KeyValueCache {
  /** Tokens of each text that are kept. */
  lengths: number[];
  /** Slots of every text, the unused ones included: at least one, since not every device takes an empty tensor. */
  slots = 1;
  private readonly names: string[];
  /** By name [texts, heads, slots, head_dim]. */
  private readonly data = new Map<string, Float32Array>();

  constructor(texts: number, private readonly shape: CacheShape) {
    this.lengths = Array.from({ length: texts }, () => 0);
    this.names = Array.from({ length: shape.layers }, (_, i) => cacheNames(i)).flat();
    for (const name of this.names) this.data.set(name, new Float32Array(texts * shape.heads * shape.head_dim));
  }

  feeds(): Feeds {
    const { heads, head_dim } = this.shape;
    const [B, size] = [this.lengths.length, heads * this.slots * head_dim];
    return Object.fromEntries(this.names.map(name => [`past_${name}`, { data: this.data.get(name)!.subarray(0, B * size), shape: [B, heads, this.slots, head_dim] }]));
  }

  /** Takes in `counts[b]` new tokens of each text. `fresh` has [texts, heads, S, head_dim] for every name; what stands beyond a text's count is padding. */
  append(fresh: Results, counts: readonly number[]): void {
    const { heads, head_dim } = this.shape;
    const S = Math.max(...counts);
    const needed = Math.max(...this.lengths.map((length, b) => length + counts[b]));
    if (needed > this.slots) this.grow(Math.ceil(needed / BLOCK) * BLOCK);
    for (const name of this.names) {
      const [kept, values] = [this.data.get(name)!, fresh[name]];
      for (let row = 0; row < counts.length * heads; row++) {
        const b = Math.floor(row / heads);
        kept.set(values.subarray(row * S * head_dim, (row * S + counts[b]) * head_dim), (row * this.slots + this.lengths[b]) * head_dim);
      }
    }
    this.lengths = this.lengths.map((length, b) => length + counts[b]);
  }

  /** Goes on with the texts of these numbers, in rising order, alone. */
  keep(texts: readonly number[]): void {
    const size = this.shape.heads * this.slots * this.shape.head_dim;
    for (const data of this.data.values()) texts.forEach((from, to) => { if (from !== to) data.copyWithin(to * size, from * size, (from + 1) * size); });
    this.lengths = texts.map(b => this.lengths[b]);
  }

  private grow(slots: number): void {
    const { heads, head_dim } = this.shape;
    const rows = this.lengths.length * heads;
    // One at a time: only one is ever there twice.
    for (const name of this.names) {
      const [old, data] = [this.data.get(name)!, new Float32Array(rows * slots * head_dim)];
      for (let row = 0; row < rows; row++) data.set(old.subarray(row * this.slots * head_dim, (row + 1) * this.slots * head_dim), row * slots * head_dim);
      this.data.set(name, data);
    }
    this.slots = slots;
  }
}
