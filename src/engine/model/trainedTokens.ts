/**
 * `trainable_token_indices`: single rows of embeddings, or of the output layer, that are trained as PEFT's
 * `token_adapter.trainable_tokens_delta` [tokens, width]. They stand in the place of the base's rows; nothing is added.
 */
import * as tf from '@tensorflow/tfjs-core';
import { linear } from '../ops/linear';
import { replaceColumns } from '../ops/replaceColumns';
import { LabError } from '../errors';
import { matchesSuffix } from '../../protocol/adapterMath';
import type { LoraSettings } from '../../protocol/experiment';
import type { ParameterSpec } from './family';
import { TIED_IN_CONFIG } from './tying';
import type { LoadedModel } from './weights';

export interface TrainedTokens {
  /** The module that PEFT wraps, e.g. `transformer.wte`. */
  name: string;
  /** Different rows of the table. */
  indices: readonly number[];
  /** The modules that read the trained rows: the module itself, and those whose weight is tied to it. */
  readers: readonly string[];
  /** The parameter that the rows belong to. */
  weight: string;
  /** [rows, width] of that parameter. */
  shape: readonly number[];
}

/** The output layer over a vocabulary, whether it has a weight of its own or that of the embeddings. */
export const OUTPUT_LAYER = 'lm_head';
/** End of the key in `adapter_model.safetensors`. */
export const TOKENS_KEY = 'token_adapter.trainable_tokens_delta';

interface Candidate { name: string; weight: string; shape: readonly number[]; tied: boolean }

/**
 * Resolves the setting against a model. `taken` are modules with an adapter and those that are trained whole.
 * Errors `lora.tokens`: a module that is not there or is taken, numbers that are no different rows of the table, and what PEFT does
 * not train as one would expect.
 */
export function trainedTokens({ parameters, config }: Pick<LoadedModel, 'parameters' | 'config'>, setting: LoraSettings['trainable_token_indices'], taken: readonly string[]): TrainedTokens[] {
  if (setting === null || Array.isArray(setting) && !setting.length) return [];
  const candidates = parameters.flatMap(candidatesOf);
  const [input] = candidates;
  const found = Array.isArray(setting) ? [{ ...input, indices: setting }] : Object.entries(setting).flatMap(([key, indices]) => {
    const named = candidates.filter(({ name }) => matchesSuffix(name, key));
    if (!named.length) throw problem(`"${key}" is neither an embedding nor the output layer of this model`, `name one of: ${candidates.map(({ name }) => name).join(', ')}`);
    return named.map(candidate => ({ ...candidate, indices }));
  });
  const repeated = found.find(({ name }, i) => found.findIndex(other => other.name === name) !== i);
  if (repeated) throw problem(`names ${repeated.name} twice`, 'name it once');
  const output = candidates.find(({ name }) => name === OUTPUT_LAYER);
  const own = found.find(({ name }) => name === OUTPUT_LAYER);
  const wrapped = found.find(({ name }) => name === input.name);
  const aliases = parameters[0].modules ?? [];
  // PEFT goes by config.json, so that its output layer would compute with the rows of embeddings that it does not share.
  if (wrapped && config[TIED_IN_CONFIG] === true) {
    throw problem(`PEFT would give the trained rows of "${input.name}" to the output layer too, which this checkpoint stores with other values though its config.json says tie_word_embeddings`, 'set "tie_word_embeddings" to false in config.json of the base');
  }
  // PEFT ties everything to the input embeddings' rows unless the output layer is given other ones.
  const follows = wrapped && output?.tied && (!own || own.indices.join() === wrapped.indices.join());
  if (wrapped && aliases.length && (!output?.tied || found.length > 1)) {
    throw problem(`the rows of "${input.name}" stand for those of ${aliases.join(', ')} and the output layer, which are not all the same here`, `give { "${aliases[0].split('.').pop()}": [ … ] }`);
  }
  return found.filter(tokens => !(follows && tokens === own)).map(({ name, weight, shape, indices }) => {
    const readers = name === input.name ? [...aliases.length ? aliases : [name], ...(follows ? [OUTPUT_LAYER] : [])] : [name];
    const other = [name, ...readers].find(reader => taken.includes(reader));
    if (other) throw problem(`${other} has an adapter or is trained whole already`, 'train its rows in one way');
    checkIndices(indices, name, shape[0]);
    return { name, weight, shape, indices, readers };
  });
}

/** The modules that a parameter stands for: an embedding's, with those that read it under other names, and the output layer. */
function candidatesOf({ name, kind, shape, modules = [], output, fixed }: ParameterSpec): Candidate[] {
  // T5's position bias stays as it is. Shared embeddings are read under other names.
  if (fixed !== undefined && !modules.length) return [];
  const module = name.slice(0, name.lastIndexOf('.'));
  if (kind !== 'embedding') return module === OUTPUT_LAYER && kind === 'linear' ? [{ name: module, weight: name, shape, tied: false }] : [];
  return [...[module, ...modules].map(reader => ({ name: reader, weight: name, shape, tied: false })), ...(output ? [{ name: OUTPUT_LAYER, weight: name, shape, tied: true }] : [])];
}

function checkIndices(indices: readonly number[], name: string, rows: number): void {
  if (!indices.length) throw problem(`names no token of ${name}`, 'give at least one, or leave the module out');
  const beyond = indices.find(index => index >= rows);
  if (beyond !== undefined) throw problem(`${beyond} is no row of ${name}, which has ${rows}`, `give numbers below ${rows}`);
  const twice = indices.find((index, i) => indices.indexOf(index) !== i);
  if (twice !== undefined) throw problem(`names token ${twice} of ${name} twice`, 'name it once');
}

const problem = (cause: string, action: string): LabError => new LabError({ code: 'lora.tokens', where: 'lora.trainable_token_indices', cause, action });

/** A table's values [rows, width] with trained rows in their places. */
export function withTokens(base: Float32Array, values: Float32Array, { indices, shape: [, width] }: Pick<TrainedTokens, 'indices' | 'shape'>): Float32Array {
  const whole = base.slice();
  indices.forEach((index, i) => whole.set(values.subarray(i * width, (i + 1) * width), index * width));
  return whole;
}

/** Rows [N, d] that a batch took from the table, with the trained ones in their places. `trained` gives rows of the trained values by their number [N]. */
export function replaceRows(rows: tf.Tensor, ids: tf.Tensor, { indices, shape: [count] }: TrainedTokens, trained: (numbers: tf.Tensor) => tf.Tensor): tf.Tensor {
  const numbers = new Int32Array(count), replaced = new Float32Array(count);
  indices.forEach((index, i) => { numbers[index] = i; replaced[index] = 1; });
  const mask = tf.gather(tf.tensor2d(replaced, [count, 1]), ids as tf.Tensor1D);                                       // [N, 1]
  const values = trained(tf.gather(tf.tensor1d(numbers, 'int32'), ids as tf.Tensor1D));                                // [N, d]
  return tf.add(tf.mul(rows, tf.sub(1, mask)), tf.mul(values, mask));
}

/** Logits [R, rows] of an output layer over states x [R, d], with the columns of the trained rows [k, d] in their places. */
export function replaceLogits(logits: tf.Tensor, x: tf.Tensor, { indices, shape: [count] }: TrainedTokens, values: tf.Tensor): tf.Tensor {
  const order = Int32Array.from({ length: count }, (_, i) => i), kept = new Float32Array(count).fill(1);
  indices.forEach((index, i) => { order[index] = count + i; kept[index] = 0; });
  const columns = linear({ x, w: values }, { bias: false });                                                           // [R, k]
  return replaceColumns({ x: logits, columns, indices: tf.tensor1d([...indices], 'int32'), order: tf.tensor1d(order, 'int32'), kept: tf.tensor1d(kept) }, {});
}
