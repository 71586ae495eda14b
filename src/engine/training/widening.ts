/** The values of an adapter as those of the same adapter with higher ranks: rows of A and columns of B that are zero. */
import type { AdapterPlan } from '../model/lora.types';

/**
 * Between the flat values of a plan and of one that has the same tensors with more rows or columns. Where both A and B are zero their
 * gradients are zero, too, so that nothing but the size of the products changes.
 */
export class Widening {
  private readonly copies: { from: number; to: number; length: number }[] = [];

  constructor(private readonly narrow_plan: AdapterPlan, private readonly wide_plan: AdapterPlan) {
    narrow_plan.trainables.forEach(({ shape, offset }, i) => {
      const wide = wide_plan.trainables[i];
      const [rows, columns, width] = shape.length === 1 ? [1, shape[0], wide.shape[0]] : [shape[0], shape[1], wide.shape[1]];
      if (columns === width) this.copies.push({ from: offset, to: wide.offset, length: rows * columns });
      else for (let row = 0; row < rows; row++) this.copies.push({ from: offset + row * columns, to: wide.offset + row * width, length: columns });
    });
  }

  /** [narrow parameters] → [wide parameters] */
  widen(values: Float32Array): Float32Array {
    const result = new Float32Array(this.wide_plan.trainable_parameters);
    for (const { from, to, length } of this.copies) result.set(values.subarray(from, from + length), to);
    return result;
  }

  /** [wide parameters] → [narrow parameters] */
  narrow(values: Float32Array): Float32Array {
    const result = new Float32Array(this.narrow_plan.trainable_parameters);
    for (const { from, to, length } of this.copies) result.set(values.subarray(to, to + length), from);
    return result;
  }
}
