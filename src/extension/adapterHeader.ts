/** Shapes of the adapters in an `adapter_model.safetensors`, read from its header alone. */
import * as fs from 'node:fs/promises';
import type { AdapterShape } from '../protocol/adapterMath';

/** Headers of adapters are kilobytes; anything far beyond that is not one. */
const MOST_HEADER_BYTES = 8 * 1024 * 1024;
/** A and B of a linear layer, or of an embedding. */
const LORA_KEY = /^(?:base_model\.model\.)?(.+)\.(?:lora_([AB])\.(?:[^.]+\.)?weight|lora_embedding_([AB]))$/;
/** DoRA's magnitudes and the bias of B, [out] each. */
const VECTOR_KEY = /^(?:base_model\.model\.)?(.+)\.(?:lora_magnitude_vector|lora_B\.bias)$/;

/** The adapters of a file, in its order; empty if the file is missing or is no such file. */
export async function readAdapterShapes(file: string, scalingOf: (module: string, r: number) => number): Promise<AdapterShape[]> {
  const header = await readHeader(file).catch(() => undefined);
  const modules = new Map<string, { A?: [number, number]; B?: [number, number] }>();
  for (const [name, entry] of Object.entries(header ?? {})) {
    const match = LORA_KEY.exec(name);
    const shape = (entry as { shape?: unknown }).shape;
    if (!match || !Array.isArray(shape) || shape.length !== 2 || !shape.every(Number.isSafeInteger)) continue;
    const module = modules.get(match[1]) ?? {};
    module[(match[2] ?? match[3]) as 'A' | 'B'] = shape as [number, number];
    modules.set(match[1], module);
  }
  const vectors = Object.keys(header ?? {}).map(name => VECTOR_KEY.exec(name)?.[1]);
  return [...modules].flatMap(([name, { A, B }]) => {
    if (!A || !B) return [];
    const count = vectors.filter(module => module === name).length;
    const scaling = scalingOf(name, A[0]);
    return [{ name, r: A[0], lora_alpha: scaling * A[0], scaling, A, B, parameters: A[0] * A[1] + B[0] * B[1] + count * B[0] }];
  });
}

async function readHeader(file: string): Promise<Record<string, unknown> | undefined> {
  const handle = await fs.open(file);
  try {
    const start = Buffer.alloc(8);
    if ((await handle.read(start, 0, 8, 0)).bytesRead < 8) return undefined;
    const length = Number(start.readBigUInt64LE());
    if (length > MOST_HEADER_BYTES) return undefined;
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, 8);
    return bytesRead === length ? JSON.parse(buffer.toString('utf8')) as Record<string, unknown> : undefined;
  } finally {
    await handle.close();
  }
}
