/**
 * Floating-point operations of the matrix products that a training step issues, counted on the graph that is run: 2 · M · N · K for each, those of
 * a Scan as often as it has slices. Passes over single elements count nothing, so that time that goes there is seen as time lost.
 */
import { join } from 'node:path';
import { readExperimentFile } from '../../src/engine/experimentFile';
import type { Feeds, Program } from '../../src/engine/executors/executor';
import type { Graph, GraphNode } from '../../src/engine/executors/trace/graph';
import { traceProgram } from '../../src/engine/executors/trace/trace';
import { prepare } from '../../src/engine/prepare';
import { SILENT } from '../../src/engine/reporter';
import { stepOptions } from '../../src/engine/stepOptions';
import { batchFeeds } from '../../src/engine/training/layout';
import { portions } from '../../src/engine/training/portions';
import { stepProgram, type StepOptions } from '../../src/engine/training/step';
import { tokensOf, type Example } from '../../src/engine/training/step.types';
import { ALL_SAVINGS, type Savings } from '../../src/protocol/savings';

export interface Operations { forward: number; backward: number }

const PRODUCTS = ['MatMul', 'Gemm', 'FusedMatMul'];

/** Operations of the program for a batch of the sizes that `feeds` have. `fp32` programs for the CPU only: others multiply in nodes of other names, which it refuses. */
export function countOperations(program: Program, feeds: Feeds, savings?: Savings): Operations {
  const { graph, forward, backward } = traceProgram(program, 'cpu', undefined, savings);
  const sizes = sizesOf(program, feeds);
  const shapes = shapesOf(graph, program);
  const actual = (size: number): number => {
    const found = graph.sizes.symbolOf(size);
    return found ? sizes.get(found.symbol)! * actual(found.factor) : size;
  };
  const shapeOf = (name: string): number[] => shapes.get(name)!.map(actual);
  const count = (nodes: GraphNode[]): number => nodes.reduce((sum, { op, inputs, outputs, attributes, body }) => {
    if (body) {
      for (const { name, shape } of body.inputs) shapes.set(name, shape);
      return sum + shapeOf(inputs[0])[0] * count(body.nodes);
    }
    if (!PRODUCTS.includes(op)) {
      if (/MatMul|Gemm|Conv|Attention|Einsum/.test(op)) throw new Error(`${op} is no product that can be counted`);
      return sum;
    }
    const K = shapeOf(inputs[0]).at(attributes.transA ? -2 : -1)!;
    return sum + 2 * K * shapeOf(outputs[0]).reduce((product, size) => product * size, 1);
  }, 0);
  return { forward: count(forward), backward: count(backward) };
}

/** Shapes of all values outside of Scans' bodies and of what is computed in them; dynamic sizes as they were traced. */
function shapesOf(graph: Graph, { weights }: Program): Map<string, number[]> {
  const shapes = new Map([...graph.values.values(), ...graph.inputs, ...graph.constants.values()].map(({ name, shape }) => [name, shape]));
  for (const [value, name] of graph.weights) {
    const weight = weights.get(name)!, rows = graph.weightRows.get(value);
    const [all, ...rest] = weight.source === 'file' ? weight.ref.shape : weight.shape;
    shapes.set(value, [rows ? rows.end - rows.begin : all, ...rest]);
  }
  return shapes;
}

/** What the program's symbols are for these feeds. */
function sizesOf(program: Program, feeds: Feeds): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const { name, shape } of program.inputs) shape.forEach((dim, axis) => { if (typeof dim === 'string' && feeds[name]) sizes.set(dim, feeds[name].shape[axis]); });
  return sizes;
}

/** Operations of a training step over these examples, which is computed in portions. */
export function stepOperations(options: Omit<StepOptions, 'device' | 'trainables'>, examples: Example[]): Operations {
  const { program, layout } = stepProgram(options);
  const counted = portions(examples.map(tokensOf)).map(places => countOperations(program, batchFeeds(places.map(place => examples[place]), layout), options.savings));
  return { forward: counted.reduce((sum, { forward }) => sum + forward, 0), backward: counted.reduce((sum, { backward }) => sum + backward, 0) };
}

/** Of the first step of the experiment that `prepare` (measure.ts) wrote into this folder: those that are issued, and those of them that are needed, where nothing is computed twice. */
export function experimentOperations(folder: string): { issued: number; needed: number } {
  const source = readExperimentFile(join(folder, 'bench.lora.json'));
  const prepared = prepare(source, null, SILENT);
  const { per_device_train_batch_size: batch } = source.experiment.training;
  const examples = Array.from({ length: batch }, (_, i) => prepared.train.get(i));
  const options = stepOptions(source.experiment, prepared);
  const total = (savings: Savings): number => { const { forward, backward } = stepOperations({ ...options, savings }, examples); return forward + backward; };
  return { issued: total(options.savings), needed: total({ ...ALL_SAVINGS, attention_blocks: false }) };
}
