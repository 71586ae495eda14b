/**
 * Speed of the products with BERT-base's feed-forward weights alone, in ONNX Runtime as the engine calls it and in torch: most of a training step is such products.
 *
 *   npm run bench -- --products [--rounds 3]
 */
import * as tf from '@tensorflow/tfjs-core';
import { join } from 'node:path';
import { CompiledExecutor } from '../../src/engine/executors/compiled';
import type { Program } from '../../src/engine/executors/executor';
import { linear } from '../../src/engine/ops/linear';
import { random } from '../../src/engine/random';
import { ROOT } from '../support/paths';
import { median } from './arithmetic';
import { python, run } from './measure';

const LAYERS = 12, WIDTH = 768, INNER = 3072;
/** Times that each chain of products is run in a round, after two that are not counted. */
const REPEATS = 5;
/** Tokens of a portion, and of the batch of 16 × 128 that PEFT computes as a whole. */
const TOKENS = [512, 2048];
type Direction = 'forward' | 'backward';
/** By the number of tokens: GFLOP/s of ours, seconds of torch. */
type Speeds = Record<Direction, Record<string, number>>;

/** x W_upᵀ W_downᵀ of every layer, or dy W_down W_up, each layer with weights of its own (226 MB in all), so that none is in a cache when its turn comes. */
function chain(direction: Direction, weights: Program['weights']): Program {
  const layers = Array.from({ length: LAYERS }, (_, i) => i);
  return {
    name: direction, inputs: [{ name: 'x', dtype: 'float32', shape: ['T', WIDTH] }], weights,
    forward({ x }, weight) {
      const product = (value: tf.Tensor, name: string): tf.Tensor => (direction === 'forward' ? linear({ x: value, w: weight(name) }, { bias: false }) : tf.matMul(value as tf.Tensor2D, weight(name) as tf.Tensor2D));
      const order = direction === 'forward' ? ['up', 'down'] : ['down', 'up'];
      return { sum: tf.sum(layers.reduce((value, i) => order.reduce((at, name) => product(at, `${name}${i}`), value), x)) };
    },
  };
}

/** Operations a second, in units of 10⁹. */
const gflops = (tokens: number, seconds: number): number => 2 * 2 * LAYERS * tokens * WIDTH * INNER / seconds / 1e9;

async function measureOnnx(): Promise<Speeds> {
  const stream = random(0, 'bench-products');
  // As large as keeps the size of what goes through them.
  const values = (size: number, inner: number): Float32Array => { const bound = Math.sqrt(3 / inner); return Float32Array.from({ length: size }, () => bound * (2 * stream.next() - 1)); };
  const up = values(INNER * WIDTH, WIDTH), down = values(INNER * WIDTH, INNER);
  const weights: Program['weights'] = new Map();
  for (let i = 0; i < LAYERS; i++) {
    weights.set(`up${i}`, { source: 'memory', shape: [INNER, WIDTH], data: up.slice() });
    weights.set(`down${i}`, { source: 'memory', shape: [WIDTH, INNER], data: down.slice() });
  }
  const speeds: Speeds = { forward: {}, backward: {} };
  const executor = new CompiledExecutor({ provider: 'cpu' });
  for (const direction of ['forward', 'backward'] as const) {
    const program = await executor.compile(chain(direction, weights));
    for (const tokens of TOKENS) {
      const x = { data: values(tokens * WIDTH, 3), shape: [tokens, WIDTH] }, seconds: number[] = [];
      for (let i = 0; i < REPEATS + 2; i++) {
        const begun = performance.now();
        await program.run({ x });
        seconds.push((performance.now() - begun) / 1000);
      }
      speeds[direction][tokens] = gflops(tokens, median(seconds.slice(2)));
    }
    await program.dispose();
  }
  await executor.dispose();
  return speeds;
}

/** Prints a line for each number of tokens and direction; torch in fp32 and in bf16. */
export async function measureProducts(rounds: number): Promise<void> {
  const ours: Speeds[] = [], theirs: Record<string, Speeds>[] = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(await measureOnnx());
    if (!python) continue;
    theirs.push(JSON.parse(await run(python, [join(ROOT, 'test/bench/products.py'), JSON.stringify({ LAYERS, WIDTH, INNER, REPEATS, TOKENS })])) as Record<string, Speeds>);
  }
  console.log('| GFLOP/s of products of [tokens, 768] with [768, 3072] and back | ONNX Runtime, fp32 | torch, fp32 | torch, bf16 |\n| --- | --- | --- | --- |');
  for (const direction of ['forward', 'backward'] as const) {
    for (const tokens of TOKENS) {
      const torch = (dtype: string): string => (theirs.length ? gflops(tokens, median(theirs.map(speeds => speeds[dtype][direction][tokens]))).toFixed(0) : 'not measured');
      console.log(`| ${tokens} tokens, ${direction} | ${median(ours.map(speeds => speeds[direction][tokens])).toFixed(0)} | ${torch('fp32')} | ${torch('bf16')} |`);
    }
  }
}
