/** Chains of elementwise nodes on the CPU, one piece of their tensors after the other. */
import type { Graph, Value } from './graph';

/** A piece of a portion of tokens [512, width] is about as wide as this: then it fits into the cores' second-level caches. */
const FITTING_WIDTH = 384;

/**
 * What `chain` makes of a float32 tensor, whose last size is fixed, element by element. On the CPU, where the nodes of a chain are
 * not fused, a wide tensor is cut into pieces that stay in the cores' caches from the first node to the last.
 */
export function inPieces(graph: Graph, x: Value, chain: (piece: Value) => Value): Value {
  const count = graph.provider === 'cpu' && graph.savings.activation_pieces ? piecesOf(x.shape.at(-1)!) : 1;
  if (count === 1) return chain(x);
  const size = x.shape.reduce((product, n) => product * n, 1) / count;
  const [made] = graph.scan([graph.reshape(x, [count, size])], ([piece]) => [chain(piece)]);
  return graph.reshape(made, x.shape);
}

/** A power of two that divides the width. */
function piecesOf(width: number): number {
  let count = 1;
  while (width % (2 * count) === 0 && width / (2 * count) >= FITTING_WIDTH) count *= 2;
  return count;
}
