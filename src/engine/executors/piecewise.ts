/** Runs an elementwise program on pieces of its vectors, so that the chain of its nodes stays in the cores' caches from the first to the last. */
import type * as ort from 'onnxruntime-node';
import type { CompiledProgram, Feed, Inputs, Outputs, Program, Results } from './executor';
import { Held, tensorOf, viewOf, type OwnVectors } from './held';
import { onnxError } from './onnxError';

/** Elements of a piece. Of pieces from 32,768 to 524,288 these were quickest, whole vectors of 29 million by far the slowest (AMD EPYC). */
export const PIECE = 1 << 17;

export class PiecewiseSession implements CompiledProgram {
  constructor(private readonly session: ort.InferenceSession, private readonly program: Program, private readonly vectors: OwnVectors) {}

  async run(feeds: Inputs): Promise<Results> { return (await this.runKeeping(feeds)).results; }

  async runKeeping(feeds: Inputs): Promise<Outputs> {
    const { session, program: { inputs, keep = [] }, vectors } = this;
    const tensors = new Map(Object.entries(feeds).map(([name, feed]) => [name, feed instanceof Held ? feed.tensor : tensorOf(feed as Feed)]));
    const cut = inputs.filter(({ shape }) => shape.length === 1).map(({ name }) => [name, tensors.get(name)!.data as Float32Array] as const);
    const whole = inputs.filter(({ shape }) => shape.length === 0).map(({ name }) => [name, tensors.get(name)!] as const);
    const size = cut[0][1].length;
    const made = keep.map(name => [name, vectors.take(size)] as const);
    const numbers: Record<string, number[]> = Object.fromEntries(session.outputNames.filter(name => !keep.includes(name)).map(name => [name, []]));
    for (let offset = 0; offset < size; offset += PIECE) {
      const length = Math.min(PIECE, size - offset);
      const pieces = (from: readonly (readonly [string, Float32Array])[]): [string, ort.Tensor][] => from.map(([name, vector]) => [name, viewOf(vector, { shape: [length], offset, size: length })]);
      const outputs = await session.run(Object.fromEntries([...pieces(cut), ...whole]), Object.fromEntries([...pieces(made), ...Object.keys(numbers).map(name => [name, null])]))
        .catch((error: unknown) => { throw onnxError(error, 'cpu', 'run'); });
      for (const [name, values] of Object.entries(numbers)) values.push((outputs[name].data as Float32Array)[0]);
    }
    return {
      results: Object.fromEntries(Object.entries(numbers).map(([name, values]) => [name, Float32Array.from(values)])),
      kept: Object.fromEntries(made.map(([name, vector]) => [name, vectors.hold(vector)])),
    };
  }

  dispose(): Promise<void> { return this.session.release(); }
}
