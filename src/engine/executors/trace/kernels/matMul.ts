import type { Graph, Value } from '../graph';

/**
 * alpha · op(a) op(b), where op transposes the last two axes or not; [.., M, K] x [.., K, N] → [.., M, N].
 * Matrices become MatMul or Gemm, stacks of matrices MatMul or FusedMatMul (com.microsoft), which the WebGPU provider lacks.
 */
export function matMul(graph: Graph, a: Value, b: Value, { transposeA = false, transposeB = false, alpha = 1 } = {}): Value {
  const rank = a.shape.length;
  const rows = a.shape[rank - (transposeA ? 1 : 2)];
  const columns = b.shape[b.shape.length - (transposeB ? 2 : 1)];
  const output = { dtype: a.dtype, shape: [...a.shape.slice(0, -2), rows, columns] };
  // A product of few rows and many columns takes ONNX Runtime twice the time of its transpose.
  if (rank === 2 && transposeA && !transposeB && rows < columns && ![rows, columns].some(size => graph.sizes.isDynamic(size)) && graph.savings.transposed_gradients) {
    return transposed(graph, matMul(graph, b, a, { transposeA, alpha }));
  }
  if (!transposeA && !transposeB && alpha === 1) return graph.node('MatMul', [a, b], output);
  if (rank === 2) return graph.node('Gemm', [a, b], output, { transA: +transposeA, transB: +transposeB, alpha: { float: alpha } });
  if (graph.provider === 'webgpu') return unfusedMatMul(graph, a, b, { transposeA, transposeB, alpha });
  return graph.node('FusedMatMul', [a, b], output, { transA: +transposeA, transB: +transposeB, alpha: { float: alpha } }, 'com.microsoft');
}

function unfusedMatMul(graph: Graph, a: Value, b: Value, { transposeA, transposeB, alpha }: { transposeA: boolean; transposeB: boolean; alpha: number }): Value {
  const scaled = (x: Value): Value => (alpha === 1 ? x : graph.node('Mul', [x, graph.scalar(alpha)], x));
  const product = (left: Value): Value => matMul(graph, transposeA ? transposed(graph, left) : left, transposeB ? transposed(graph, b) : b);
  // What is smaller is scaled: q rather than scores [S, S], and a gradient of q rather than one of the scores.
  const [K, columns] = [a.shape.at(transposeA ? -2 : -1)!, b.shape.at(transposeB ? -2 : -1)!];
  return K <= columns ? product(scaled(a)) : scaled(product(a));
}

function transposed(graph: Graph, x: Value): Value {
  const axes = x.shape.map((_, i) => i);
  const perm = [...axes.slice(0, -2), axes.length - 1, axes.length - 2];
  return graph.node('Transpose', [x], { dtype: x.dtype, shape: perm.map(axis => x.shape[axis]) }, { perm });
}
