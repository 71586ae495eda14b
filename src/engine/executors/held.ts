/** Vectors that stay where ONNX Runtime computes. */
import * as ort from 'onnxruntime-node';
import type { Feed, Resident } from './executor';

export class Held implements Resident {
  private disposed = false;

  constructor(readonly tensor: ort.Tensor, private readonly download: (self: Held) => Promise<Float32Array>, private readonly freed?: () => void) {}

  get size(): number { return this.tensor.size; }
  read(): Promise<Float32Array> { return this.download(this); }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.tensor.dispose();
    this.freed?.();
  }
}

/**
 * Vectors in the engine's memory that programs write to. One that is disposed of is the next one of its size: JavaScript frees late, and
 * those of a model that is trained whole have hundreds of megabytes.
 */
export class OwnVectors {
  private readonly spare: Float32Array[] = [];

  /** A vector [size] with anything in it. */
  take(size: number): Float32Array {
    const place = this.spare.findIndex(({ length }) => length === size);
    return place < 0 ? new Float32Array(size) : this.spare.splice(place, 1)[0];
  }

  hold(vector: Float32Array): Held {
    return new Held(tensorOf({ data: vector, shape: [vector.length] }), async () => vector.slice(), () => { this.spare.push(vector); });
  }

  clear(): void { this.spare.length = 0; }
}

export const tensorOf = ({ data, shape }: Feed): ort.Tensor => (data instanceof Float32Array ? new ort.Tensor('float32', data, shape) : new ort.Tensor('int32', data, shape));

/** Part of a vector in the engine's memory, without a copy. */
export const viewOf = (vector: Float32Array, { shape, offset, size }: { shape: number[]; offset: number; size: number }): ort.Tensor =>
  new ort.Tensor('float32', vector.subarray(offset, offset + size), shape);
