import type { Graph, Value } from '../graph';

/**
 * alpha · op(a) op(b), where op transposes the last two axes or not; [.., M, K] x [.., K, N] → [.., M, N].
 * Matrices become MatMul or Gemm, stacks of matrices MatMul or FusedMatMul (com.microsoft).
 */
export function matMul(graph: Graph, a: Value, b: Value, { transposeA = false, transposeB = false, alpha = 1 } = {}): Value {
  const rank = a.shape.length;
  const rows = a.shape[rank - (transposeA ? 1 : 2)];
  const columns = b.shape[b.shape.length - (transposeB ? 2 : 1)];
  const output = { dtype: a.dtype, shape: [...a.shape.slice(0, -2), rows, columns] };
  if (!transposeA && !transposeB && alpha === 1) return graph.node('MatMul', [a, b], output);
  if (rank === 2) return graph.node('Gemm', [a, b], output, { transA: +transposeA, transB: +transposeB, alpha: { float: alpha } });
  return graph.node('FusedMatMul', [a, b], output, { transA: +transposeA, transB: +transposeB, alpha: { float: alpha } }, 'com.microsoft');
}
