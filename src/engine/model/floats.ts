/** Conversions between float32 and the 16-bit formats. All round to nearest, ties to even, as the hardware does. */

/** IEEE half precision bits → float32. */
export function fromF16(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const table = halfTable();
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]];
  return out;
}

/** bfloat16 bits → float32: the upper half of a float32. */
export function fromBF16(bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array {
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return out;
}

/** float32 → IEEE half precision bits. Above 65519 the result is infinite; below 2⁻²⁵ zero. */
export function toF16(values: Float32Array, out: Uint16Array = new Uint16Array(values.length)): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < words.length; i++) {
    const sign = (words[i] >>> 16) & 0x8000;
    const magnitude = words[i] & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      out[i] = sign | 0x7e00;
    } else if (magnitude >= 0x477ff000) { // 65520 and above
      out[i] = sign | 0x7c00;
    } else if (magnitude >= 0x38800000) { // normal: change the exponent's bias from 127 to 15, round off 13 bits
      out[i] = sign | roundOff(magnitude - 0x38000000, 13);
    } else if (magnitude >= 0x33000000) { // subnormal: units of 2⁻²⁴
      const exponent = magnitude >>> 23;
      out[i] = sign | roundOff((magnitude & 0x7fffff) | 0x800000, 126 - exponent);
    } else {
      out[i] = sign;
    }
  }
  return out;
}

/** float32 → bfloat16 bits. */
export function toBF16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    out[i] = (word & 0x7fffffff) > 0x7f800000 ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

/**
 * Float64 → the float32 values that `toF16` and `toBF16` round as they would the float64 ones. A float32 in the middle of two 16-bit numbers, as which
 * some value beside it came out, moves by its last bit to the side on which that value lies: all others are on their value's side already.
 */
export function narrowForHalf(values: Float64Array, out: Float32Array): void {
  out.set(values);
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < words.length; i++) {
    if ((words[i] & 0xfff) === 0 && out[i] !== values[i]) words[i] += Math.abs(values[i]) > Math.abs(out[i]) ? 1 : -1;
  }
}

/** value / 2^bits as a whole number, halves to the even one. `bits` is 1 … 31. */
function roundOff(value: number, bits: number): number {
  const quotient = value >>> bits;
  const rest = value & ((2 ** bits) - 1);
  const half = 2 ** (bits - 1);
  return rest > half || (rest === half && (quotient & 1) === 1) ? quotient + 1 : quotient;
}

let halves: Float32Array | undefined;

/** The float32 value of each of the 65,536 half precision numbers. */
function halfTable(): Float32Array {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >>> 10) & 31;
    const fraction = bits & 1023;
    const magnitude = exponent === 31 ? (fraction ? NaN : Infinity)
      : exponent === 0 ? fraction * 2 ** -24
        : (1 + fraction / 1024) * 2 ** (exponent - 15);
    halves[bits] = bits & 0x8000 ? -magnitude : magnitude;
  }
  return halves;
}
