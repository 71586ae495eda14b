/** Whether products of 8-bit numbers are exact on this CPU. */
import * as ort from 'onnxruntime-node';
import { LabError } from '../errors';
import { DynamicSizes, Graph } from './trace/graph';
import { encodeModel } from './trace/onnx';

/** Enough for every vector unit, with the largest values there are. */
const K = 64, N = 16, LARGEST = [255, 127] as const;
const EXACT = K * LARGEST[0] * LARGEST[1];

let asked: Promise<number> | undefined;

/**
 * Error `device.precision` where sums of two products are cut to 16 bits, as x86 CPUs without VNNI do: results would be wrong
 * without a sign of it. `measure` gives the largest sum of products. `denormals` is what the run's own sessions say of denormal numbers:
 * ONNX Runtime asks only the first session of a process for the thread that calls it, which takes a share of every product of later ones.
 */
export async function checkIntegerProducts(denormals: Record<string, string>, measure: () => Promise<number> = () => (asked ??= largestSum(denormals))): Promise<void> {
  if (await measure() === EXACT) return;
  throw new LabError({
    code: 'device.precision', where: 'engine.precision', cause: '"int8" cannot be computed on this CPU: it has no exact products of 8-bit numbers (VNNI or AMX on x86)',
    action: 'set engine.precision to "int4" for less memory, or to "fp32"',
  });
}

async function largestSum(denormals: Record<string, string>): Promise<number> {
  const graph = new Graph(new DynamicSizes([], []));
  const rows = graph.input('x', 'uint8', [1, K]);
  const sums = graph.node('MatMulInteger', [rows, graph.constant('int8', [K, N], Array<number>(K * N).fill(LARGEST[1]))], { dtype: 'int32', shape: [1, N] });
  const session = await ort.InferenceSession.create(encodeModel({ graph, nodes: graph.nodes, initializers: [], outputs: [{ name: sums.name, value: sums }] }), { intraOpNumThreads: 1, extra: { session: denormals } });
  const results = await session.run({ x: new ort.Tensor('uint8', new Uint8Array(K).fill(LARGEST[0]), [1, K]) });
  const sum = Number(results[sums.name].data[0]);
  await session.release();
  return sum;
}
