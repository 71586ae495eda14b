/** Chains of elementwise nodes on the CPU, one piece of their tensors after the other. */
import type { Graph, Value } from './graph';

/** A piece of a portion of tokens [512, width] is about as wide as this: then it fits into the cores' second-level caches. */
const FITTING_WIDTH = 384;

/**
 * What `chain` makes of float32 tensors of one shape, whose last size is fixed, element by element. On the CPU, where the nodes of
 * a chain are not fused, wide tensors are cut into pieces that stay in the cores' caches from the first node to the last.
 */
export function inPieces(graph: Graph, tensors: Value[], chain: (pieces: Value[]) => Value): Value {
  const [{ shape }] = tensors;
  const count = graph.provider === 'cpu' ? piecesOf(shape.at(-1)!) : 1;
  if (count === 1) return chain(tensors);
  const size = shape.reduce((product, n) => product * n, 1) / count;
  const piece = { dtype: 'float32' as const, shape: [1, size] };
  const cut = tensors.map(tensor => graph.nodes_('Split', [graph.reshape(tensor, [count, size])], Array.from({ length: count }, () => piece), { axis: 0, num_outputs: count }));
  const made = Array.from({ length: count }, (_, i) => chain(cut.map(pieces => pieces[i])));
  return graph.reshape(graph.node('Concat', made, { dtype: 'float32', shape: [count, size] }, { axis: 0 }), shape);
}

/** A power of two that divides the width. */
function piecesOf(width: number): number {
  let count = 1;
  while (width % (2 * count) === 0 && width / (2 * count) >= FITTING_WIDTH) count *= 2;
  return count;
}
