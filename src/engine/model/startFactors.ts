/**
 * Starts that take A and B from the base weight: PiSSA (Meng et al. 2024, https://arxiv.org/abs/2404.02948) from its largest singular
 * vectors, OLoRA (Büyükakyüz 2024, https://arxiv.org/abs/2406.01775) from its QR decomposition. PEFT trains on W - scaling · B₀ A₀ then.
 * Here W stays as it is and scaling · B₀ A₀ is subtracted in the forward pass, which is the same; and what is saved is the plain LoRA
 * of twice the rank that PEFT converts to, [A; A₀] and [B, -B₀], which fits the unchanged base.
 */
import type { LoraSettings } from '../../protocol/experiment';
import { random } from '../random';
import { LabError } from '../errors';
import type { AdaptedModule, AdapterPlan } from './lora.types';
import { readTensor } from './safetensors';
import { firstOfQr, largestSingular, Matrix, randomizedSingular } from './singularVectors';
import type { LoadedModel, Weight } from './weights';

type Start = LoraSettings['init_lora_weights'];

/** True for the starts of this file. */
export const startsFromBase = (start: Start): boolean => start === 'olora' || typeof start === 'string' && start.startsWith('pissa');

/** Names of the frozen factors A₀ [r, in] and B₀ [out, r] among a model's weights. */
export const startNames = (module: string): { A: string; B: string } => ({ A: `${module}.start_A`, B: `${module}.start_B` });

/** The model with A₀ and B₀ of every adapted module among its weights. `onProgress` hears the share of modules that are done. */
export function withStartFactors(model: LoadedModel, plan: AdapterPlan, start: Start, seed: number, onProgress: (fraction: number) => void): LoadedModel {
  const weights = new Map(model.weights);
  plan.modules.forEach((module, i) => {
    const weight = model.weights.get(`${module.name}.weight`)!;
    const { A, B } = startFactors(weight.source === 'memory' ? weight.data : readTensor(weight.ref), module, start, seed);
    const names = startNames(module.name);
    weights.set(names.A, { source: 'memory', shape: [module.r, module.in_features], data: A });
    weights.set(names.B, { source: 'memory', shape: [module.out_features, module.r], data: B });
    onProgress((i + 1) / plan.modules.length);
  });
  return { ...model, weights };
}

/** A₀ and B₀ of one weight: row after row, [r, in] and [out, r]. */
function startFactors(values: Float32Array, { name, r, in_features, out_features, scaling, fan_in_fan_out }: AdaptedModule, start: Start, seed: number): { A: Float32Array; B: Float32Array } {
  const W = new Matrix(values, fan_in_fan_out ? out_features : in_features, fan_in_fan_out);
  const stream = random(seed, `${name}.start`);
  const [columns, rows] = start === 'olora' ? olora(W, r, stream) : pissa(W, r, scaling, start, stream);
  const [A, B] = [new Float32Array(r * in_features), new Float32Array(out_features * r)];
  rows.forEach((row, k) => A.set(row, k * in_features));
  columns.forEach((column, k) => column.forEach((value, o) => { B[o * r + k] = value; }));
  return { A, B };
}

type Factors = [columnsOfB: Float64Array[], rowsOfA: Float64Array[]];

function olora(W: Matrix, r: number, stream: ReturnType<typeof random>): Factors {
  const { Q, R } = firstOfQr(W, r, stream);
  return [Q, R];
}

/** √(S / scaling) goes to both sides, so that scaling · B₀ A₀ is W's best approximation of rank r. */
function pissa(W: Matrix, r: number, scaling: number, start: Start, stream: ReturnType<typeof random>): Factors {
  const niter = /^pissa_niter_(\d+)$/.exec(String(start))?.[1];
  const { U, S, V } = niter === undefined ? largestSingular(W, r, stream) : randomizedSingular(W, r, Number(niter), stream);
  const scaled = (vectors: Float64Array[]): Float64Array[] => vectors.map((vector, i) => vector.map(value => value * Math.sqrt(S[i] / scaling)));
  return [scaled(U), scaled(V)];
}

/** Errors `lora.combination` and `lora.rank-too-high`: what a start from the base weight cannot be used with. */
export function checkStart(lora: LoraSettings, modules: readonly AdaptedModule[]): void {
  const start = lora.init_lora_weights;
  if (!startsFromBase(start)) return;
  const problem = (cause: string, action: string, code = 'lora.combination'): LabError => new LabError({ code, where: 'lora.init_lora_weights', cause: `"${start}" ${cause}`, action });
  if (lora.init_adapter !== null) throw problem('cannot be used with init_adapter, which brings its own start', 'remove one of the two');
  if (lora.use_dora) throw problem('cannot be used with use_dora: no plain LoRA would hold the result', 'turn one of the two off');
  if (lora.use_rslora && Object.keys({ ...lora.rank_pattern, ...lora.alpha_pattern }).length) throw problem('cannot be used with use_rslora together with rank_pattern or alpha_pattern, as in PEFT', 'turn one of them off');
  const embedding = modules.find(module => module.embedding);
  if (embedding) throw problem(`cannot be used on ${embedding.name}, which is an embedding`, 'use true, or take the embedding out of target_modules');
  const transposed = modules.find(module => module.fan_in_fan_out);
  if (start === 'olora' && transposed) throw problem(`cannot be used on ${transposed.name}, whose weight is stored transposed (PEFT neither)`, 'use "pissa"');
  const wide = modules.find(({ r, in_features, out_features }) => 2 * r > Math.min(in_features, out_features));
  if (wide) throw problem(`doubles the rank when it is saved, and ${wide.name} is ${wide.out_features} × ${wide.in_features}`, `give a rank of at most ${Math.floor(Math.min(wide.in_features, wide.out_features) / 2)}`, 'lora.rank-too-high');
}

/** `lora` as it describes the saved adapter: ranks doubled, scaling kept. */
export function convertedSettings(lora: LoraSettings): LoraSettings {
  if (!startsFromBase(lora.init_lora_weights)) return lora;
  const doubled = (pattern: Record<string, number>): Record<string, number> => Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, 2 * value]));
  return {
    ...lora, init_lora_weights: true, r: 2 * lora.r, lora_alpha: lora.lora_alpha * (lora.use_rslora ? Math.SQRT2 : 2),
    rank_pattern: doubled(lora.rank_pattern), alpha_pattern: doubled(lora.alpha_pattern),
  };
}

/** Values of A and B as they are saved: `[A; A₀]` [2r, in] or `[B, -B₀]` [out, 2r]. */
export function converted(values: Float32Array, side: 'A' | 'B', start: Weight, r: number): { shape: number[]; data: Float32Array } {
  const { data, shape } = start as Extract<Weight, { source: 'memory' }>;
  const joined = new Float32Array(2 * values.length);
  if (side === 'A') {
    joined.set(values);
    joined.set(data, values.length);
    return { shape: [2 * r, shape[1]], data: joined };
  }
  for (let row = 0; row < shape[0]; row++) {
    joined.set(values.subarray(row * r, (row + 1) * r), 2 * r * row);
    for (let k = 0; k < r; k++) joined[2 * r * row + r + k] = -data[row * r + k];
  }
  return { shape: [shape[0], 2 * r], data: joined };
}

/** The trained half of what `converted` made. */
export function unconverted({ shape, data }: { shape: number[]; data: Float32Array }, side: 'A' | 'B'): { shape: number[]; data: Float32Array } {
  if (side === 'A') return { shape: [shape[0] / 2, shape[1]], data: data.slice(0, data.length / 2) };
  const r = shape[1] / 2;
  return { shape: [shape[0], r], data: Float32Array.from({ length: shape[0] * r }, (_, i) => data[Math.floor(i / r) * 2 * r + i % r]) };
}
