/** What a run will need in memory, from shapes alone. Pure. */
import type { ModuleInfo } from '../src/protocol/engine';

export interface MemoryEstimate {
  /** Base weights as 32-bit floats. */
  weights: number;
  /** Weight, gradient and AdamW's two moments of everything that is trained. */
  training: number;
  /** What the forward pass keeps for the backward pass. */
  activations: number;
  total: number;
}

const FLOAT = 4;
/** Size of one attention head where the shapes do not tell: 64 in BERT, GPT-2, T5 and most models of their size. */
const HEAD_SIZE = 64;

/**
 * Bytes that training needs at most, estimated from the shapes of the modules.
 *
 * weights = 4 · parameters; training = 16 · trainable parameters (weight, gradient, two moments);
 * activations = 4 · batch · length · Σ (inputs and outputs of every linear layer + two copies for every norm),
 * plus the attention scores before and after softmax, 4 · 2 · layers · batch · heads · length².
 * Every example counts with `length` tokens, so shorter texts need less; what the executor itself needs
 * (packed weights, buffers that it reuses) is not in it.
 */
export function estimateMemory(
  model: { modules: readonly ModuleInfo[]; base_parameters: number }, trainable: number, batch: number, length: number,
): MemoryEstimate {
  const linears = model.modules.filter(m => m.type === 'Linear' && !m.saved);
  const norms = model.modules.filter(m => m.type === 'LayerNorm');
  const perToken = sum(linears.map(m => m.shape[0] + m.shape[1])) + sum(norms.map(m => 2 * m.shape[0]));
  const layers = new Set(linears.flatMap(m => /^.*?\.\d+\./.exec(m.name)?.[0] ?? [])).size;
  const hidden = Math.min(...linears.map(m => Math.min(m.shape[0], m.shape[1])), Infinity);
  const heads = Number.isFinite(hidden) ? Math.max(1, Math.round(hidden / HEAD_SIZE)) : 0;
  const weights = FLOAT * model.base_parameters;
  const training = 4 * FLOAT * trainable;
  const activations = FLOAT * batch * length * (perToken + 2 * layers * heads * length);
  return { weights, training, activations, total: weights + training + activations };
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
