/** The forward context that model code runs in: frozen weights, adapters, dropout and attention over one batch. */
import * as tf from '@tensorflow/tfjs-core';
import { LabError } from '../errors';
import { startNames } from './startFactors';
import { loraEmbedding } from './adaptedEmbedding';
import { doraLinear, loraLinear } from './adaptedLinear';
import { attention, groupedMatMul } from '../ops/attention';
import { blockAttention, type AttentionBlock } from '../ops/blockAttention';
import { slicesApart } from '../ops/eachSlice';
import { embedding } from '../ops/embedding';
import { foldedAttention } from '../ops/foldedAttention';
import { gatherRows, maskGradient } from '../ops/gatherRows';
import { after } from '../ops/after';
import { halfRows, widened } from '../ops/halfTable';
import { frozenLinear } from '../ops/quantizedLinear';
import { rotary } from '../ops/rotary';
import { DECODER } from '../training/decoderLayout';
import { blockKeys, blockRows, TURNS } from '../training/blocks';
import { MASKED, type BatchLayout } from '../training/layout';
import { recomputed } from '../training/recompute';
import { slotRows, tokenRows } from '../training/slots';
import { tableInputs, type TableSite } from '../training/tableRows';
import { OFFSETS, poolName, rowsName, type DropoutSite } from '../training/dropout';
import { OUTPUT_LAYER, replaceLogits, replaceRows, TOKENS_KEY, type TrainedTokens } from './trainedTokens';
import type { Precision } from '../../protocol/experiment';
import { ALL_SAVINGS, type Savings } from '../../protocol/savings';
import type { AdapterPlan } from './lora.types';
import type { LoadedModel } from './weights';
import type { BatchTensors, Between, ForwardContext, IndexName, ParameterSpec } from './family';

export interface ContextOptions {
  inputs: Record<string, tf.Tensor>;
  weight: (name: string) => tf.Tensor;
  /** The model's parameters by name. */
  parameters: ReadonlyMap<string, ParameterSpec>;
  plan: AdapterPlan | null;
  lora_dropout: number;
  formats: Formats;
  layout: BatchLayout;
  /** Called at each place where dropout is applied; returns its number, or null for no dropout. */
  dropoutSite: (site: DropoutSite) => number | null;
  /** Called for each trained table that is read; false if the program has no inputs for its gradient. */
  tableSite?: (site: TableSite) => boolean;
  /** While a model writes: takes the keys and values [B, g, S, head_dim] of a layer's new tokens, and returns them behind those that are kept, [B, g, K, head_dim]. */
  cache?: (keys: tf.Tensor, values: tf.Tensor) => tf.Tensor[];
  /** As ForwardContext has it. */
  sourceHeads?: (layer: number) => tf.Tensor[];
  /** Default: all. */
  savings?: Savings;
  /** Keeps only the inputs of each block for the backward pass, which computes the rest once more. */
  gradient_checkpointing?: boolean;
  /** Called for each layer with the states that enter it; returns those that leave it, by `compute` or otherwise. */
  aroundBlock?: (entering: tf.Tensor, compute: () => tf.Tensor) => tf.Tensor;
}

/** Number formats of what is frozen. */
export interface Formats {
  /** How a linear layer is multiplied. */
  linear(module: string): Precision;
  /** Embeddings and the output layer are stored in half precision. They are read and multiplied in float32. */
  half_tables: boolean;
}

/** Input [modules]: the scaling of each adapter, in the order of the plan. */
export const SCALING = 'lora_scaling';

/** Inputs that tables of a size with the activations are made from. */
const SOURCES = [OFFSETS, 'position_ids', 'slot_numbers', `${DECODER}slot_numbers`];

/** Linear layers of a model are multiplied in `precision`, heads and output layers in float32. */
export function formatsOf({ family, parameters, task }: Pick<LoadedModel, 'family' | 'parameters' | 'task'>, precision: Precision): Formats {
  const exact = new Set([...family.headModules(task), ...parameters.filter(({ output }) => output).map(({ name }) => name.replace(/\.weight$/, ''))]);
  return { linear: module => (exact.has(module) ? 'fp32' : precision), half_tables: precision === 'fp16' };
}

export function forwardContext(options: ContextOptions): ForwardContext {
  const { inputs, layout, parameters, plan, formats } = options;
  const trained = new Map(plan?.trainables.map(t => [t.parameter, t.name]));
  const adapters = new Map(plan?.modules.map((m, i) => [m.name, i]));
  /** Parameters of embedding modules by the modules' names. */
  const tables = new Map([...parameters.values()].filter(p => p.kind === 'embedding').flatMap(p => (p.modules ?? [p.name.slice(0, p.name.lastIndexOf('.'))]).map(module => [module, p] as const)));

  const weight = (name: string): tf.Tensor => {
    if (trained.has(name)) return inputs[trained.get(name)!];
    return formats.half_tables && parameters.get(name)?.output ? widened({ w: options.weight(name) }, {}) : options.weight(name);
  };

  /** Which rows of its pool are the mask of a new site; undefined for no dropout. */
  const rowsKept = (site: DropoutSite): { keep: tf.Tensor; pool: tf.Tensor } | undefined => {
    const number = site.p > 0 ? options.dropoutSite(site) : null;
    if (number === null) return undefined;
    return { keep: tf.add(inputs[rowsName(site)], tf.slice1d(inputs[OFFSETS] as tf.Tensor1D, number, 1)), pool: inputs[poolName(site)] };
  };
  /** The mask of a new site, [rows, width] or [B, h, S, S]. */
  const keep = (site: DropoutSite): tf.Tensor | undefined => {
    const rows = rowsKept(site);
    return rows && tf.gather(rows.pool, rows.keep as tf.Tensor1D);
  };
  const drop = (x: tf.Tensor, site: DropoutSite): tf.Tensor => {
    const mask = keep(site);
    return mask ? tf.mul(x, mask) : x;
  };
  const dropout = (x: tf.Tensor, p: number): tf.Tensor => {
    const N = x.shape[0];
    return drop(x, { rows: N === inputs.input_ids?.shape[0] ? 'T' : N === inputs.decoder_input_ids?.shape[0] ? 'U' : 'R', width: x.shape[1]!, p });
  };

  /** Rows of a trained table [n, w]. */
  const trainedRows = (table: tf.Tensor, ids: IndexName, padding: number | null, only?: { numbers: tf.Tensor; trained: TrainedTokens }): tf.Tensor => {
    const site: TableSite = { ids, rows: table.shape[0], padding, ...(only ? { only: { name: only.trained.name, indices: only.trained.indices } } : {}) };
    const taken = only?.numbers ?? inputs[ids];
    if (!options.tableSite?.(site)) return tf.gather(table, taken as tf.Tensor1D);
    const names = tableInputs(site);
    return embedding({ table, ids: taken, groups: inputs[names.groups], mask: inputs[names.mask], merged: inputs[names.merged], rows: inputs[names.rows] }, {});
  };

  const tokens = new Map(plan?.tokens?.flatMap(trained => trained.readers.map(reader => [reader, trained] as const)));
  const rowsOf = (trained: TrainedTokens): tf.Tensor => inputs[`base_model.model.${trained.name}.${TOKENS_KEY}`];   // [k, d]
  /** Rows [N, d] of an embedding with those of trained tokens in their places. */
  const withTrained = (module: string, rows: tf.Tensor, ids: IndexName, padding: number | null): tf.Tensor => {
    const trained = tokens.get(module);
    if (!trained) return rows;
    return replaceRows(rows, inputs[ids], trained, numbers => trainedRows(rowsOf(trained), ids, padding, { numbers, trained }));
  };

  /** What is added to attention scores: [B, 1, 1, S], or where it is causal [S, S], with kept tokens [B, 1, S, K]. Made once for each window. */
  const biases = new Map<number, tf.Tensor>();
  const attentionBias = (window: number | null, between: Between): tf.Tensor => {
    if (between === 'cross' || (between === 'encoder' && !layout.causal)) return inputs.attention_bias;
    const known = biases.get(window ?? 0);
    if (known) return known;
    const numbers = inputs[between === 'decoder' ? `${DECODER}slot_numbers` : 'slot_numbers'];
    const bias = options.cache ? causalBias(inputs.query_numbers, inputs.key_numbers, window) : causalBias(tf.expandDims(numbers, 1), tf.expandDims(numbers, 0), window);
    biases.set(window ?? 0, bias);
    return bias;
  };
  /** The blocks that attention is computed in, of a causal one with the biases of a window. */
  const blocksOf = new Map<number, AttentionBlock[]>();
  const attentionBlocks = (window: number | null): AttentionBlock[] => {
    const known = blocksOf.get(window ?? 0) ?? Array.from({ length: layout.blocks! }, (_, i) => {
      const [rows, keys] = [inputs[blockRows(i)], inputs[blockKeys(i)]];
      if (!layout.causal) return { rows };
      return { rows, keys, bias: causalBias(tf.expandDims(rows, 1), tf.expandDims(keys, 0), window) };
    });
    blocksOf.set(window ?? 0, known);
    return known;
  };
  /** Those of a decoder that has an encoder, whose biases have that of the positions [h, V, V] in them: all layers have the same. */
  const blocksAt = new Map<tf.Tensor, AttentionBlock[]>();
  const decoderBlocks = (position: tf.Tensor): AttentionBlock[] => {
    const known = blocksAt.get(position) ?? Array.from({ length: layout.decoder_blocks! }, (_, i) => {
      const [rows, keys] = [inputs[blockRows(i, DECODER)], inputs[blockKeys(i, DECODER)]];
      const seen = tf.gather(tf.gather(position, rows as tf.Tensor1D, 1), keys as tf.Tensor1D, 2);
      return { rows, keys, bias: tf.add(seen, causalBias(tf.expandDims(rows, 1), tf.expandDims(keys, 0), null)) };
    });
    blocksAt.set(position, known);
    return known;
  };
  /** Position biases with the mask added: all layers of a stack have the same one. */
  const positioned = new Map<tf.Tensor, tf.Tensor>();
  const withPosition = (bias: tf.Tensor, position: tf.Tensor | undefined): tf.Tensor => {
    if (!position) return bias;
    const sum = positioned.get(position) ?? tf.add(position, bias);
    positioned.set(position, sum);
    return sum;
  };
  /** cos and sin of every token's position, [T, w] each: the same for all layers. */
  let turns: { cos: tf.Tensor; sin: tf.Tensor } | undefined;

  /** `block` with everything but its inputs computed once more in the backward pass. */
  const recompute: ForwardContext['block'] = (at, entering, run, constants = []) => {
    const all = plan?.trainables.map(t => t.name) ?? [];
    const own = all.filter(name => name.startsWith(plan!.full ? `${at}.` : `base_model.model.${at}.`));
    // Constants of a stack are made from its first layer's embeddings of positions: of those that are trained, gradients must pass.
    const trained_constants = trainsEmbeddings(plan) ? constants.length : 0;
    let sites: (number | null)[] | undefined;
    return recomputed([...entering, ...own.map(name => inputs[name]), ...constants], entering.length + own.length + trained_constants, (tensors, gradient) => {
      const late = (x: tf.Tensor): tf.Tensor => (gradient ? after({ x, then: gradient }, {}) : x);
      // What the block does not own is missing, so that no gradient can be lost.
      const visible: Record<string, tf.Tensor> = Object.fromEntries(Object.entries(inputs).filter(([name]) => !all.includes(name)));
      for (const name of SOURCES) if (visible[name]) visible[name] = late(visible[name]);
      own.forEach((name, i) => { visible[name] = tensors[entering.length + i]; });
      // The dropout sites are numbered once: the recomputation draws the same masks.
      const again = sites?.values();
      const numbered: (number | null)[] = [];
      const dropoutSite = (site: DropoutSite): number | null => {
        const number = again ? again.next().value! : options.dropoutSite(site);
        numbered.push(number);
        return number;
      };
      const block = forwardContext({ ...options, inputs: visible, dropoutSite, gradient_checkpointing: false });
      const result = run(block, ...tensors.slice(0, entering.length).map(late), ...tensors.slice(entering.length + own.length));
      sites ??= numbered;
      return result;
    });
  };

  const context: ForwardContext = {
    batch: inputs as unknown as BatchTensors,
    reads: layout.read,
    savings: options.savings ?? ALL_SAVINGS,
    sourceHeads: layer => options.sourceHeads!(layer),
    weight,
    dropout,

    embed(module, ids) {
      const { name, shape: [rows], padding: given = null } = tables.get(module)!;
      const padding = given === null || given >= rows ? null : given < 0 ? rows + given : given;
      const w = trained.has(name) ? weight(name) : options.weight(name);
      const base = trained.has(name) ? trainedRows(w, ids, padding)                                                   // [N, w]
        : formats.half_tables ? halfRows({ table: w, ids: inputs[ids] }, {}) : tf.gather(w, inputs[ids] as tf.Tensor1D);
      const adapter = adapters.get(module);
      if (adapter === undefined) return withTrained(module, base, ids, padding);
      const part = (suffix: string): tf.Tensor => inputs[`base_model.model.${module}.${suffix}`];
      const a = part('lora_embedding_A');
      const b = tf.mul(part('lora_embedding_B'), tf.slice1d(inputs[SCALING] as tf.Tensor1D, adapter, 1));
      return loraEmbedding(base, { w, a, b, low: trainedRows(tf.transpose(a), ids, padding), magnitude: part('lora_magnitude_vector') });
    },

    linear(module, x) {
      const bias = parameters.has(`${module}.bias`) ? weight(`${module}.bias`) : undefined;
      const transposed = parameters.get(`${module}.weight`)!.fan_in_fan_out === true;
      const precision = trained.has(`${module}.weight`) ? 'fp32' : formats.linear(module);
      const w = weight(`${module}.weight`);
      const adapter = adapters.get(module);
      if (adapter === undefined) return frozenLinear({ x, w, add: bias }, { precision, transposed });     // [T, out]
      const part = (suffix: string): tf.Tensor | undefined => inputs[`base_model.model.${module}.${suffix}`];
      const scaling = tf.slice1d(inputs[SCALING] as tf.Tensor1D, adapter, 1);
      const names = startNames(module);
      const start = plan?.subtracts_start ? { a: options.weight(names.A), b: tf.mul(options.weight(names.B), scaling) } : undefined;
      const tensors = { w, bias, start, a: part('lora_A.weight')!, b: tf.mul(part('lora_B.weight')!, scaling), transposed, precision };
      const magnitude = part('lora_magnitude_vector');
      const dropped = dropout(x, options.lora_dropout);
      if (magnitude && (precision === 'int8' || precision === 'int4')) throw new LabError({ code: 'lora.combination', where: 'engine.precision', cause: `"${precision}" cannot be used with DoRA, which needs the lengths of the exact rows`, action: 'set it to "fp32", or lora.use_dora to false' });
      if (magnitude) return doraLinear(x, dropped, { ...tensors, magnitude });
      const lora_bias = part('lora_B.bias');
      const scaled = lora_bias && tf.mul(lora_bias, scaling);
      return loraLinear(x, dropped, { ...tensors, bias: bias && scaled ? tf.add(bias, scaled) : bias ?? scaled });
    },

    vocabulary(logits, x) {
      const trained = tokens.get(OUTPUT_LAYER);
      return trained ? replaceLogits(logits, x, trained, rowsOf(trained)) : logits;
    },

    headTokens(x) {
      const masked = maskGradient({ x, mask: inputs.head_mask }, {});
      return gatherRows({ x: masked, rows: inputs.head_rows, inverse: inputs.head_row_of_token }, {});
    },

    rotary(x, head_dim) {
      turns ??= { cos: tf.gather(inputs.rotary_cos, inputs.position_ids as tf.Tensor1D), sin: tf.gather(inputs.rotary_sin, inputs.position_ids as tf.Tensor1D) };
      return rotary({ x, ...turns }, { head_dim });
    },

    attention(q, k, v, { scale, dropout: p, window = null, softcap = null, between = 'encoder', position_bias }) {
      const [of, to] = [between === 'encoder' ? '' : DECODER, between === 'decoder' ? DECODER : ''];
      const slots = (x: tf.Tensor, h: number, side: string): tf.Tensor =>                                 // [T, h · head_dim] → [B, h, S, head_dim]
        x.rank === 4 ? x : gatherRows({ x: tf.reshape(x, [-1, x.shape[1]! / h]), rows: inputs[side + slotRows(h)], inverse: inputs[side + tokenRows(h)] }, {});
      const [h, g] = [layout.heads.query, layout.heads.key_value];
      const fresh = [slots(k, g, to), slots(v, g, to)];
      const [keys, values] = between === 'cross' ? fresh : options.cache?.(fresh[0], fresh[1]) ?? fresh;
      const bias = (): tf.Tensor => withPosition(attentionBias(window, between), position_bias);
      const trained = position_bias !== undefined;
      if (layout.read === 'first' && q.shape[0] === inputs.head_rows.shape[0]) {
        const first = tf.reshape(q, [-1, h, 1, q.shape[1]! / h]);                                           // [B, h, 1, head_dim]
        return tf.reshape(attention({ q: first, k: keys, v: values, bias: bias(), keep: keep({ rows: 'H', width: 'S', p }) }, { scale, trained }), [-1, q.shape[1]!]);
      }
      const queries = slots(q, h, of);
      const site: DropoutSite = { rows: of ? 'V' : 'S', width: to ? 'V' : 'S', p };
      const of_decoder = between === 'decoder';
      const may_remake = of_decoder ? layout.decoder_blocks : layout.may_remake;
      // Elsewhere than on the CPU, blocks of rows are worth it for the keys that they leave out.
      const remade = may_remake && (slicesApart() ? !position_bias || !trainsEmbeddings(plan) : layout.blocks && layout.causal && softcap === null && p === 0);
      const blocks = !remade ? undefined : of_decoder ? decoderBlocks(position_bias!) : layout.blocks && between === 'encoder' ? attentionBlocks(window) : undefined;
      const turns = inputs[(of_decoder ? DECODER : '') + TURNS];
      const foldable = slicesApart() && !layout.causal && !of_decoder && !position_bias && softcap === null;
      const attended = blocks && foldable && context.savings.folded_masks ? foldedAttention({ q: queries, k: keys, v: values, bias: bias(), ...rowsKept(site) }, { scale, blocks, turns })
        : remade ? blockAttention({ q: queries, k: keys, v: values, ...(layout.causal || of_decoder ? {} : { bias: bias() }), ...rowsKept(site) }, { scale, softcap, blocks, turns })
        : softcap === null ? attention({ q: queries, k: keys, v: values, bias: bias(), keep: keep(site) }, { scale, trained })   // [B, h, S, head_dim]
        : groupedMatMul(drop(tf.softmax(tf.add(tf.mul(tf.tanh(tf.mul(groupedMatMul(queries, keys, true), scale / softcap)), softcap), bias())), site), values);
      const head_dim = attended.shape[3]!;
      const rows = tf.reshape(maskGradient({ x: attended, mask: inputs[`${of}slot_mask`] }, {}), [-1, head_dim]);
      const tokens = gatherRows({ x: rows, rows: inputs[of + tokenRows(h)], inverse: inputs[of + slotRows(h)] }, {});   // [T, h, head_dim]
      return tf.reshape(tokens, [-1, h * head_dim]);
    },

    block(at, entering, run, constants = []) {
      const compute = (): tf.Tensor => (options.gradient_checkpointing ? recompute(at, entering, run, constants) : run(context, ...entering, ...constants));
      return options.aroundBlock ? options.aroundBlock(entering[0], compute) : compute();
    },
  };
  return context;
}

/** Whether gradients pass to embeddings, of positions too. */
const trainsEmbeddings = (plan: AdapterPlan | null): boolean => plan?.full === true || plan?.modules.some(module => module.embedding) === true;

/** MASKED where a key stands behind the query, or before its window: query [.., S, 1] and key [.., 1, K] → [.., S, K]. */
function causalBias(query: tf.Tensor, key: tf.Tensor, window: number | null): tf.Tensor {
  const later = tf.cast(tf.greater(key, query), 'float32');
  const hidden = window === null ? later : tf.maximum(later, tf.cast(tf.lessEqual(key, tf.sub(query, tf.scalar(window, 'int32'))), 'float32'));
  return tf.mul(hidden, MASKED);
}
