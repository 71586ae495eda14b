/** Where training starts: A, B and what else an adapter has, and the base's own values of the parameters that are trained whole. */
import type { LoraSettings } from '../../protocol/experiment';
import { random } from '../random';
import { factorSuffixes, weightOf } from './factors';
import type { AdaptedModule, AdapterPlan, Trainable } from './lora.types';
import { readTensor } from './safetensors';
import { startNames } from './startFactors';
import { TOKENS_KEY } from './trainedTokens';
import type { LoadedModel } from './weights';

type Start = Pick<LoraSettings, 'init_lora_weights'>;

/**
 * Start values, flat [trainable_parameters], as PEFT draws them. `init_lora_weights`: true is Kaiming-uniform with a = √5 (uniform within
 * ±1/√in) for A and zero for B; false is uniform within ±1/√in and ±1/√r for both; gaussian is normal with deviation 1/r for A, zero for B.
 * Of an embedding A is zero and B normal; with false A is normal, too.
 * With a start from the base weight (startFactors.ts) the model must hold its factors.
 */
export function initialTrainables(model: LoadedModel, plan: AdapterPlan, seed: number, lora: Start = { init_lora_weights: true }): Float32Array {
  const values = new Float32Array(plan.trainable_parameters);
  const part = ({ offset, size }: Trainable): Float32Array => values.subarray(offset, offset + size);
  const named = new Map(plan.trainables.map(t => [t.name, part(t)]));
  for (const trainable of plan.trainables) {
    if (trainable.parameter !== undefined) part(trainable).set(baseValues(model, trainable.parameter));
  }
  for (const { name, weight, indices, shape: [, width] } of plan.tokens ?? []) {
    const rows = baseValues(model, weight);
    const target = named.get(`base_model.model.${name}.${TOKENS_KEY}`)!;
    indices.forEach((index, i) => target.set(rows.subarray(index * width, (index + 1) * width), i * width));
  }
  for (const module of plan.modules) {
    const key = (suffix: string): string => `base_model.model.${module.name}.${suffix}`;
    const uniform = (suffix: string, bound: number): void => {
      const stream = random(seed, key(suffix));
      const target = named.get(key(suffix));
      for (let i = 0; i < (target?.length ?? 0); i++) target![i] = (2 * stream.next() - 1) * bound;
    };
    const { A: a, B: b } = factorSuffixes(module.embedding);
    const normal = (suffix: string, deviation: number): void => {
      const stream = random(seed, key(suffix));
      const target = named.get(key(suffix))!;
      for (let i = 0; i < target.length; i++) target[i] = deviation * stream.normal();
    };
    const A = named.get(key(a))!;
    if (plan.subtracts_start) {
      const names = startNames(module.name);
      A.set(baseValues(model, names.A));
      named.get(key('lora_B.weight'))!.set(baseValues(model, names.B));
      continue;
    }
    if (module.embedding) {
      normal(b, 1);
      if (lora.init_lora_weights === false) normal(a, 1);
    } else if (lora.init_lora_weights === 'gaussian') normal(a, 1 / module.r);
    else uniform(a, 1 / Math.sqrt(module.in_features));
    if (lora.init_lora_weights === false && !module.embedding) for (const suffix of ['lora_B.weight', 'lora_B.bias']) uniform(suffix, 1 / Math.sqrt(module.r));
    const magnitude = named.get(key('lora_magnitude_vector'));
    if (magnitude) magnitude.set(rowNorms(baseValues(model, weightOf(module)), module, A, named.get(key(b))!));
  }
  return values;
}

function baseValues(model: LoadedModel, parameter: string): Float32Array {
  const weight = model.weights.get(parameter)!;
  return weight.source === 'memory' ? weight.data : readTensor(weight.ref);
}

/** ‖W + scaling · B A‖ of every row [out_features]: where DoRA's magnitudes start. */
function rowNorms(W: Float32Array, { in_features, out_features, r, scaling, fan_in_fan_out }: AdaptedModule, A: Float32Array, B: Float32Array): Float64Array {
  const norms = new Float64Array(out_features);
  const row = new Float64Array(in_features);
  for (let o = 0; o < out_features; o++) {
    for (let i = 0; i < in_features; i++) row[i] = fan_in_fan_out ? W[i * out_features + o] : W[o * in_features + i];
    for (let k = 0; k < r; k++) {
      const factor = scaling * B[o * r + k];
      if (factor !== 0) for (let i = 0; i < in_features; i++) row[i] += factor * A[k * in_features + i];
    }
    norms[o] = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
  }
  return norms;
}
