/** Products in half precision with everything around them in float32. */
import type { Graph, Value } from '../graph';
import { cast } from './elementwise';

/** Length that a row or column is brought to before it is rounded: the middle of what half precision holds, 6e-8 … 65504. */
export const HALF_LENGTH = 64;
/** Shorter ones lose digits: squares of their elements are zero in float32. */
export const HALF_FLOOR = 1e-18;

/**
 * x in half precision with everything along `axis` brought to the same length, and the factor that was taken out, of x's shape with 1 at
 * `axis`. Made once for all products that read the same.
 */
export const scaledHalf = (graph: Graph, x: Value, axis: number): { half: Value; scale: Value } => graph.once(`half ${axis} ${x.name}`, () => {
  const factor = { dtype: x.dtype, shape: x.shape.map((size, i) => (i === axis ? 1 : size)) };
  const length = graph.node('ReduceL2', [x, graph.constant('int64', [1], [axis])], factor, { keepdims: 1 });
  const scale = graph.node('Mul', [graph.node('Max', [length, graph.scalar(HALF_FLOOR)], factor), graph.scalar(1 / HALF_LENGTH)], factor);
  const half = cast(graph, graph.node('Div', [x, scale], x), 'float16');
  // The CPU has no kernels for it: there ONNX Runtime puts a cast back to float32 before the product, and takes out both if they touch.
  return { half: graph.provider === 'cpu' ? graph.node('Reshape', [half, graph.shapeVector(x.shape)], half) : half, scale };
});
