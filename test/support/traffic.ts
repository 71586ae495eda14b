/** What crosses between the engine's memory and a device, seen where ONNX Runtime is called. */
import * as ort from 'onnxruntime-node';

/** Bytes in the engine's memory that sessions have read, and that they have written there: of a GPU what crossed its bus. */
export interface Traffic { read: number; written: number }

const total: Traffic = { read: 0, written: 0 };
const bytesHere = (values: object): number => Object.values(values).reduce((sum: number, value: unknown) =>
  sum + (value instanceof ort.Tensor && value.location === 'cpu' ? (value.data as Float32Array).byteLength : 0), 0);

/** It is a class, of which the types tell its factory alone. */
const { prototype } = ort.InferenceSession as unknown as { prototype: ort.InferenceSession };
const run = prototype.run as (this: ort.InferenceSession, feeds: ort.InferenceSession.FeedsType, ...more: never[]) => Promise<ort.InferenceSession.ReturnType>;
Object.assign(prototype, {
  async run(this: ort.InferenceSession, feeds: ort.InferenceSession.FeedsType, ...more: never[]) {
    total.read += bytesHere(feeds);
    const results = await run.call(this, feeds, ...more);
    total.written += bytesHere(results);
    return results;
  },
});

/** What all sessions of this process read and wrote during the work. */
export async function trafficOf(work: () => Promise<unknown>): Promise<Traffic> {
  const { read, written } = total;
  await work();
  return { read: total.read - read, written: total.written - written };
}
