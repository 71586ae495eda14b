/** The forward context that model code runs in: frozen weights, adapters, dropout and attention over one batch. */
import * as tf from '@tensorflow/tfjs-core';
import { linear } from '../ops/linear';
import { attentionProbabilities } from '../ops/attentionProbabilities';
import { gatherRows, maskGradient } from '../ops/gatherRows';
import { slotRows, tokenRows, type HeadCounts } from '../training/layout';
import { OFFSETS, poolName, rowsName, type DropoutSite } from '../training/dropout';
import type { AdapterPlan } from './lora.types';
import type { BatchTensors, ForwardContext } from './family';

export interface ContextOptions {
  inputs: Record<string, tf.Tensor>;
  weight: (name: string) => tf.Tensor;
  /** Frozen parameters by name, to tell whether a linear has a bias. */
  hasParameter: (name: string) => boolean;
  plan: AdapterPlan | null;
  lora_dropout: number;
  heads: HeadCounts;
  /** Called at each place where dropout is applied; returns its number, or null for no dropout. */
  dropoutSite: (site: DropoutSite) => number | null;
}

/** Input [modules]: the scaling of each adapter, in the order of the plan. */
export const SCALING = 'lora_scaling';

export function forwardContext(options: ContextOptions): ForwardContext {
  const { inputs, heads, plan } = options;
  const trained = new Set(plan?.trainables.map(t => t.name));
  const adapters = new Map(plan?.modules.map((m, i) => [m.name, i]));

  const weight = (name: string): tf.Tensor => (trained.has(`base_model.model.${name}`) ? inputs[`base_model.model.${name}`] : options.weight(name));

  /** x multiplied by the mask of a new site. x [rows, width] or [B, h, S, S]. */
  const drop = (x: tf.Tensor, site: DropoutSite): tf.Tensor => {
    const number = site.p > 0 ? options.dropoutSite(site) : null;
    if (number === null) return x;
    const rows = tf.add(inputs[rowsName(site)], tf.slice1d(inputs[OFFSETS] as tf.Tensor1D, number, 1));
    return tf.mul(x, tf.gather(inputs[poolName(site)], rows as tf.Tensor1D));
  };
  const dropout = (x: tf.Tensor, p: number): tf.Tensor => drop(x, { rows: x.shape[0] === inputs.input_ids.shape[0] ? 'T' : 'B', width: x.shape[1]!, p });

  return {
    batch: inputs as unknown as BatchTensors,
    weight,
    dropout,

    linear(module, x) {
      const bias = options.hasParameter(`${module}.bias`) ? weight(`${module}.bias`) : undefined;
      const y = linear({ x, w: weight(`${module}.weight`), add: bias }, { bias: true });                  // [T, out]
      const adapter = adapters.get(module);
      if (adapter === undefined) return y;
      const a = inputs[`base_model.model.${module}.lora_A.weight`];                                        // [r, in]
      const b = inputs[`base_model.model.${module}.lora_B.weight`];                                        // [out, r]
      const scaling = tf.slice1d(inputs[SCALING] as tf.Tensor1D, adapter, 1);
      const low = linear({ x: dropout(x, options.lora_dropout), w: a }, { bias: false });                  // [T, r]
      return linear({ x: low, w: tf.mul(b, scaling), add: y }, { bias: false });
    },

    firstTokens(x) {
      const masked = maskGradient({ x, mask: inputs.first_mask }, {});
      return gatherRows({ x: masked, rows: inputs.first_tokens, inverse: inputs.example_of_token }, {});
    },

    attention(q, k, v, { scale, dropout: p }) {
      const slots = (x: tf.Tensor, h: number): tf.Tensor =>                                               // [T, h · head_dim] → [B, h, S, head_dim]
        gatherRows({ x: tf.reshape(x, [-1, x.shape[1]! / h]), rows: inputs[slotRows(h)], inverse: inputs[tokenRows(h)] }, {});
      const [h, g] = [heads.query, heads.key_value];
      if (q.shape[0] === inputs.labels.shape[0]) {
        const first = tf.reshape(q, [-1, h, 1, q.shape[1]! / h]);                                           // [B, h, 1, head_dim]
        const weights = attentionProbabilities({ q: first, k: slots(k, g), bias: inputs.attention_bias }, { scale });
        return tf.reshape(tf.matMul(drop(weights, { rows: 'H', width: 'S', p }), slots(v, g)), [-1, q.shape[1]!]);
      }
      const probabilities = attentionProbabilities({ q: slots(q, h), k: slots(k, g), bias: inputs.attention_bias }, { scale });
      const attended = tf.matMul(drop(probabilities, { rows: 'S', width: 'S', p }), slots(v, g));                     // [B, h, S, head_dim]
      const head_dim = attended.shape[3]!;
      const rows = tf.reshape(maskGradient({ x: attended, mask: inputs.slot_mask }, {}), [-1, head_dim]);
      const tokens = gatherRows({ x: rows, rows: inputs[tokenRows(h)], inverse: inputs[slotRows(h)] }, {});   // [T, h, head_dim]
      return tf.reshape(tokens, [-1, h * head_dim]);
    },
  };
}
