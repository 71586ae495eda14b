/**
 * Rows of up to `max_length` tokens that several short examples share, as TRL's `packing` with its default strategy: best fit,
 * longest first, which cuts no example. What each token sees and its position stay those of its own example: attention is laid
 * out example by example (training/layout.ts), which is the block-diagonal mask without computing what it hides.
 */

/**
 * The examples of each row, from their lengths alone, so that a resumed run makes the same rows. Rows come in the order of
 * their first example and hold theirs in file order. An example above `max_length` has a row of its own.
 */
export function packRows(lengths: ArrayLike<number>, max_length: number): Uint32Array[] {
  const order = Uint32Array.from({ length: lengths.length }, (_, i) => i).sort((a, b) => lengths[b] - lengths[a] || a - b);
  const rows: number[][] = [];
  const open = new OpenRows(max_length);
  for (const example of order) {
    const room = open.smallest(lengths[example]);
    const row = room === undefined ? rows.push([]) - 1 : open.take(room);
    rows[row].push(example);
    open.add(row, (room ?? max_length) - lengths[example]);
  }
  return rows.map(row => Uint32Array.from(row).sort()).sort((a, b) => a[0] - b[0]);
}

/** Rows by the tokens that still fit into them. A bit for each room tells whether there is a row with it, so that one is found in a few steps. */
class OpenRows {
  private readonly byRoom: number[][];
  private readonly bits: Uint32Array;

  constructor(most: number) {
    this.byRoom = Array.from({ length: most + 1 }, () => []);
    this.bits = new Uint32Array((most >> 5) + 1);
  }

  add(row: number, room: number): void {
    if (room < 1) return;
    this.byRoom[room].push(row);
    this.bits[room >> 5] |= 1 << (room & 31);
  }

  /** The row that was opened last of those with this room. */
  take(room: number): number {
    const rows = this.byRoom[room];
    const row = rows.pop()!;
    if (!rows.length) this.bits[room >> 5] &= ~(1 << (room & 31));
    return row;
  }

  /** The smallest room of at least `length` that a row has; undefined if no row has one. */
  smallest(length: number): number | undefined {
    if (length >= this.byRoom.length) return undefined;
    let word = length >> 5;
    let found = this.bits[word] & (-1 << (length & 31));
    while (found === 0 && ++word < this.bits.length) found = this.bits[word];
    // The lowest bit that is set.
    return found === 0 ? undefined : 32 * word + 31 - Math.clz32(found & -found);
  }
}
