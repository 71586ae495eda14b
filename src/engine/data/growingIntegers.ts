/** A list of 32-bit integers that grows, at 4 to 8 bytes each instead of an array's 8 to 16. */
export class GrowingIntegers {
  private values = new Int32Array(1024);
  length = 0;

  push(value: number): void {
    this.resize(this.length + 1);
    this.values[this.length - 1] = value;
  }

  append(values: Int32Array): void {
    const at = this.length;
    this.resize(at + values.length);
    this.values.set(values, at);
  }

  /** Makes the list longer; new places hold 0. */
  resize(length: number): void {
    if (length > this.values.length) {
      const larger = new Int32Array(Math.max(length, 2 * this.values.length));
      larger.set(this.values);
      this.values = larger;
    }
    this.length = length;
  }

  at(i: number): number { return this.values[i]; }

  /** The values `[begin, end)`, not copied. */
  view(begin: number, end: number): Int32Array { return this.values.subarray(begin, end); }
}
