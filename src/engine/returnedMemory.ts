/**
 * Memory that goes back to the system when it is no longer needed. What JavaScript frees it frees late, and malloc keeps it for the next that asks: of
 * a base that is rounded before the first step that would be as much as the base itself. V8 maps a resizable buffer as pages of its own, and gives them back when it is made smaller.
 */

/** In what TypeScript knows of ES2023 a buffer has one size. */
type Resizable = ArrayBuffer & { resize(bytes: number): void };
const resizable = (bytes: number): Resizable => new (ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => Resizable)(bytes, { maxByteLength: bytes });

export class ReturnedMemory {
  private readonly buffers: Resizable[] = [];

  /** So many bytes, all zero. To read and write them one by one in JavaScript takes longer than other memory: whole arrays do not. */
  take(bytes: number): ArrayBuffer {
    const buffer = resizable(bytes);
    this.buffers.push(buffer);
    return buffer;
  }

  /** The bytes of an array, which can be used for something else. */
  copy({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
    const bytes = new Uint8Array(this.take(byteLength));
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength));
    return bytes;
  }

  /** Gives all of it back at once. Arrays in it are empty from then on. */
  giveBack(): void {
    for (const buffer of this.buffers.splice(0)) buffer.resize(0);
  }
}
