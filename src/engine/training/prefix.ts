/**
 * The frozen prefix of a model: the layers below the first one that anything is trained in. What they make of an example is the same
 * in every epoch, so the step is split there: one program computes these states, the other takes them as an input.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Program } from '../executors/executor';
import { readsOf, type Graph, type Value } from '../executors/trace/graph';
import { forwardContext, type ContextOptions } from '../model/context';
import type { LoadedModel } from '../model/weights';
import { savingsWithout } from '../../protocol/savings';
import { batchInputs, type BatchLayout } from './layout';

/** Output of the prefix program and input of the step: [T, width]. */
export const PREFIX_STATES = 'prefix_states';

export interface Prefix {
  /** Layers in it, at least one. */
  layers: number;
  /** Hidden units of a token's state. */
  width: number;
  /** Dropout is applied in it while training: then its states differ from epoch to epoch. */
  dropout: boolean;
}

/** A layer as it was recorded: its result, and how many dropout sites there are up to its end. */
export interface RecordedLayer { result: Value; sites: number }

/** The layers that depend on no trained value, as long as their states are those of the tokens; null if the first one does. */
export function findPrefix(graph: Graph, trained: Iterable<string>, layers: readonly RecordedLayer[]): Prefix | null {
  const depends = new Set(trained);
  for (const node of graph.nodes) if (readsOf(node).some(input => depends.has(input))) for (const output of node.outputs) depends.add(output);
  const [tokens] = graph.sizes.trace(['T']);
  const end = layers.findIndex(({ result: { name, shape } }) => depends.has(name) || shape.length !== 2 || shape[0] !== tokens);
  const last = layers[(end < 0 ? layers.length : end) - 1];
  return last ? { layers: layers.indexOf(last) + 1, width: last.result.shape[1], dropout: last.sites > 0 } : null;
}

/** In the step: the layers of the prefix are passed over, and the last of them gives the states that were kept. */
export function afterPrefix({ layers }: Prefix, states: tf.Tensor): NonNullable<ContextOptions['aroundBlock']> {
  let number = 0;
  return (entering, compute) => (number++ < layers ? (number === layers ? states : entering) : compute());
}

/** The program that computes the states of the prefix. What follows them in the forward pass is not needed by any output. */
export function prefixProgram(model: LoadedModel, { layers }: Prefix, layout: BatchLayout, options: Pick<ContextOptions, 'parameters' | 'formats'>): Program {
  const { family, config, task, weights } = model;
  // One token of each example is read, so that there are some whatever its targets.
  const own: BatchLayout = { ...layout, read: 'first' };
  return {
    name: 'prefix',
    weights,
    inputs: batchInputs(own),
    forward(inputs, weight): Record<string, tf.Tensor> {
      let number = 0;
      let states: tf.Tensor | undefined;
      const context = forwardContext({
        // All tokens of every layer: with some savings off the last one counts as prefix, too, and what it leaves out is read behind it.
        ...options, savings: savingsWithout(['last_layer_positions']), inputs, weight, plan: null, layout: own, lora_dropout: 0, dropoutSite: () => null,
        aroundBlock: (entering, compute) => (number++ < layers ? (states = compute()) : entering),
      });
      family.logits(context, config, task);
      return { [PREFIX_STATES]: states! };                                          // [T, width]
    },
  };
}
