/**
 * Which modules a LoRA configuration matches, and what that costs. Pure, so that the ratio and the adapter size
 * can move in the panel and in the tree while a slider moves, without asking the engine.
 * Matching and counting follow PEFT.
 */
import type { ModuleInfo } from './engine';
import { pythonRegExp } from './pythonRegExp';

/** The keys of `LoraConfig` that decide shapes and counts. */
export interface AdapterSettings {
  /** The whole model is trained, and there is no adapter. */
  full?: boolean;
  r: number;
  lora_alpha: number;
  /** Name suffixes, one regular expression for the full name, or `all-linear`; null means the architecture's default. */
  target_modules: string | readonly string[] | null;
  exclude_modules?: string | readonly string[] | null;
  rank_pattern?: Readonly<Record<string, number>>;
  alpha_pattern?: Readonly<Record<string, number>>;
  modules_to_save?: string | readonly string[] | null;
  layers_to_transform?: number | readonly number[] | null;
  layers_pattern?: string | readonly string[] | null;
  trainable_token_indices?: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
  use_rslora?: boolean;
  use_dora?: boolean;
  lora_bias?: boolean;
  bias?: string;
  init_lora_weights?: boolean | string;
}

/** What of the base model the counts depend on. */
export interface ModelShape {
  modules: readonly ModuleInfo[];
  base_parameters: number;
  default_target_modules: readonly string[];
}

/** One adapter: ΔW = scaling · B A. */
export interface AdapterShape {
  name: string;
  r: number;
  lora_alpha: number;
  /** lora_alpha / r, or lora_alpha / √r with `use_rslora`. */
  scaling: number;
  /** [r, in_features] */
  A: [number, number];
  /** [out_features, r] */
  B: [number, number];
  /** Of A and B, DoRA's magnitude vector and the bias of B. */
  parameters: number;
}

export interface AdapterCount {
  adapters: AdapterShape[];
  /** Modules trained whole and saved with the adapter. */
  saved: string[];
  trainable_parameters: number;
  /** As PEFT counts: base + adapters + the trained copies of the saved modules. */
  all_parameters: number;
  /** Bytes of tensor data in `adapter_model.safetensors` (float32). */
  adapter_bytes: number;
  /** Smallest dimension among the matrices that `r` itself decides the rank of, which it may not exceed. 0 if there is none. */
  rank_limit: number;
  /** Entries of `target_modules` that match no module. */
  unmatched: string[];
}

/** True where `name` is `suffix` or ends in `.suffix`, as PEFT matches a list entry. */
export const matchesSuffix = (name: string, suffix: string): boolean => name === suffix || name.endsWith(`.${suffix}`);

/**
 * True for a module that the entry `saved` of `modules_to_save` trains whole, and for all modules inside of it. PEFT compares the mere
 * end of the full name, not only at a dot: "norm" is also Llama's `input_layernorm`.
 */
export const isSavedBy = (name: string, saved: string): boolean => `${name}.`.includes(`${saved}.`);

/** True if a list of suffixes or a Python regular expression for the whole name matches. A broken expression matches nothing. */
export function matchesNames(name: string, names: string | readonly string[] | null | undefined): boolean {
  if (names === null || names === undefined) return false;
  if (typeof names !== 'string') return names.some(entry => matchesSuffix(name, entry));
  return expression(names, '', '$')?.test(name) ?? false;
}

/** The linear layers and embeddings that get an adapter, in the model's order. */
export function matchedModules(model: Pick<ModelShape, 'modules' | 'default_target_modules'>, lora: AdapterSettings): ModuleInfo[] {
  if (lora.full) return [];
  const targets = lora.target_modules ?? model.default_target_modules;
  return model.modules.filter(module =>
    module.adaptable
    && !isSaved(module, lora)
    && (isAllLinear(targets) ? module.output !== true && module.type !== 'Embedding' : matchesNames(module.name, targets))
    && (typeof targets === 'string' || targets.includes(module.name) || isInLayers(module.name, lora))
    && !matchesNames(module.name, lora.exclude_modules));
}

/** True where `layers_to_transform` is not set or names the layer that a module lies in. */
export function isInLayers(name: string, { layers_to_transform: layers, layers_pattern: pattern }: Pick<AdapterSettings, 'layers_to_transform' | 'layers_pattern'>): boolean {
  const wanted = [layers ?? []].flat();
  return wanted.length === 0 || wanted.includes(layerOf(name, pattern) ?? -1);
}

/** Number of the layer that a module lies in: after the first of the `pattern`s that matches, else the first number in its name that follows two parts. */
export function layerOf(name: string, pattern?: string | readonly string[] | null): number | undefined {
  const patterns = [pattern ?? []].flat();
  const expressions = patterns.length ? patterns.map(part => `(?:|.*?\\.)${part}\\.(?P<layer>\\d+)\\.`) : ['.*?\\.[^.]*\\.(?P<layer>\\d+)\\.'];
  const found = expressions.map(source => expression(source)?.exec(name)?.groups?.layer).find(layer => layer !== undefined);
  return found === undefined ? undefined : Number(found);
}

/** lora_alpha / r, or lora_alpha / √r with `use_rslora` (Kalajdzievski 2023, https://arxiv.org/abs/2312.03732). */
export const scalingOf = (lora_alpha: number, r: number, use_rslora = false): number => lora_alpha / (use_rslora ? Math.sqrt(r) : r);

/** True for a module that is trained whole: the task's head, and whatever `modules_to_save` names, with all modules inside of it. */
export function isSaved(module: Pick<ModuleInfo, 'name' | 'saved'>, lora: Pick<AdapterSettings, 'modules_to_save' | 'full'>): boolean {
  const names = typeof lora.modules_to_save === 'string' ? [lora.modules_to_save] : lora.modules_to_save ?? [];
  return lora.full === true || module.saved || names.some(name => isSavedBy(module.name, name));
}

/**
 * The value that `rank_pattern` or `alpha_pattern` gives a module, else `fallback`.
 * As in PEFT, a key is a Python regular expression for the end of the name, and the first key that matches wins.
 */
export function patternValue(pattern: Readonly<Record<string, number>> | undefined, name: string, fallback: number): number {
  for (const [key, value] of Object.entries(pattern ?? {})) {
    if (expression(key, '(?:.*\\.)?', '$')?.test(name)) return value;
  }
  return fallback;
}

/** Shapes and size of the adapter that a module of shape [out, in] gets, or an embedding of shape [in, out]. */
export function adapterShape(module: Pick<ModuleInfo, 'name' | 'shape' | 'type'>, lora: AdapterSettings): AdapterShape {
  const [out, inner] = module.type === 'Embedding' ? [module.shape[1], module.shape[0]] : module.shape;
  const r = patternValue(lora.rank_pattern, module.name, lora.r);
  const lora_alpha = patternValue(lora.alpha_pattern, module.name, lora.lora_alpha);
  const vectors = (lora.use_dora ? 1 : 0) + (lora.lora_bias ? 1 : 0);
  return { name: module.name, r, lora_alpha, scaling: scalingOf(lora_alpha, r, lora.use_rslora), A: [r, inner], B: [out, r], parameters: r * (inner + out) + vectors * out };
}

/** The highest rank that an adapter can have: the smaller dimension of its matrix. */
export const rankLimit = ({ A, B }: Pick<AdapterShape, 'A' | 'B'>): number => Math.min(A[1], B[0]);

/** Counts as `print_trainable_parameters` does. */
export function countAdapter(model: ModelShape, lora: AdapterSettings): AdapterCount {
  if (lora.full) {
    const all = model.base_parameters;
    return { adapters: [], saved: [], trainable_parameters: all, all_parameters: all, adapter_bytes: 4 * all, rank_limit: 0, unmatched: [] };
  }
  const matched = matchedModules(model, lora);
  const adapters = matched.map(module => adapterShape(module, lora));
  const ofRank = adapters.filter(({ name }) => patternValue(lora.rank_pattern, name, 0) === 0);
  const saved = model.modules.filter(module => isSaved(module, lora));
  const added = sum(adapters.map(a => a.parameters)) + sum(saved.map(m => m.parameters)) + tokenParameters(model.modules, lora.trainable_token_indices);
  // Biases are trained where they are; of a saved module they are part of its copy.
  const withBias = lora.bias === 'all' ? model.modules.filter(module => !isSaved(module, lora)) : lora.bias === 'lora_only' ? matched : [];
  const biases = sum(withBias.map(biasSize));
  const targets = lora.target_modules ?? model.default_target_modules;
  const adaptable = model.modules.filter(m => m.adaptable);
  const entries = isAllLinear(targets) ? [] : typeof targets === 'string' ? [targets] : targets;
  return {
    adapters,
    saved: saved.map(m => m.name),
    trainable_parameters: added + biases,
    all_parameters: model.base_parameters + added,
    // A start from the base weight is saved with the adapter, as more of A and B.
    adapter_bytes: 4 * (added + biases + (/^(pissa|olora)/.test(String(lora.init_lora_weights)) ? sum(adapters.map(a => a.r * (a.A[1] + a.B[0]))) : 0)),
    rank_limit: ofRank.length ? Math.min(...ofRank.map(rankLimit)) : 0,
    unmatched: entries.filter(entry => !adaptable.some(m => matchesNames(m.name, typeof targets === 'string' ? entry : [entry]))),
  };
}

/** Trained rows of embeddings and output layers. An output layer that follows the embeddings has none of its own. */
function tokenParameters(modules: readonly ModuleInfo[], tokens: AdapterSettings['trainable_token_indices']): number {
  const tables = modules.filter(module => module.type === 'Embedding');
  if (!tokens || !tables.length) return 0;
  const width = tables[0].shape[1];
  if (Array.isArray(tokens)) return tokens.length * width;
  const lists = Object.entries(tokens as Readonly<Record<string, readonly number[]>>);
  const input = lists.find(([key]) => matchesSuffix(tables[0].name, key))?.[1];
  return sum(lists.flatMap(([key, list]) => {
    const own = modules.filter(module => (module.type === 'Embedding' || module.output) && matchesSuffix(module.name, key)).map(module => list.length * module.shape[1]);
    // A tied output layer is no module of the list.
    return own.length || key !== 'lm_head' || input?.join() === list.join() ? own : [list.length * width];
  }));
}

/** PEFT's own line: `trainable params: 296,450 || all params: 109,780,228 || trainable%: 0.2700`. */
export function formatCount({ trainable_parameters: trainable, all_parameters: all }: Pick<AdapterCount, 'trainable_parameters' | 'all_parameters'>): string {
  return `trainable params: ${formatInteger(trainable)} || all params: ${formatInteger(all)} || trainable%: ${ratioPercent(trainable, all).toFixed(4)}`;
}

export const ratioPercent = (trainable: number, all: number): number => (all > 0 ? (100 * trainable) / all : 0);
export const formatInteger = (value: number): string => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');

/** `296 K`, `109.8 M`. */
export function formatCompact(value: number): string {
  const scales = [[1e9, 'B'], [1e6, 'M'], [1e3, 'K']] as const;
  const scale = scales.find(([size]) => value >= size);
  return scale ? `${trim(value / scale[0])} ${scale[1]}` : String(value);
}

/** Bytes in decimal units: `1.19 MB`. */
export function formatBytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e5 ? `${(bytes / 1e6).toFixed(2)} MB` : `${(bytes / 1e3).toFixed(1)} kB`;
}

const isAllLinear = (targets: string | readonly string[]): boolean => typeof targets === 'string' && targets.toLowerCase() === 'all-linear';
const trim = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
const biasSize = (module: ModuleInfo): number => module.parameters - module.shape.reduce((product, size) => product * size, 1);
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Translated expressions: the panel and the tree ask for the same few of every module, with every move of a slider. */
const translated = new Map<string, RegExp | undefined>();
const MOST_TRANSLATED = 200;

/** `re.match(prefix + pattern + suffix)`, or undefined where the pattern is none. */
function expression(pattern: string, prefix = '', suffix = ''): RegExp | undefined {
  const key = JSON.stringify([pattern, prefix, suffix]);
  if (!translated.has(key)) {
    if (translated.size >= MOST_TRANSLATED) translated.clear();
    translated.set(key, compiled(pattern, prefix, suffix));
  }
  return translated.get(key);
}

function compiled(pattern: string, prefix: string, suffix: string): RegExp | undefined {
  try { return pythonRegExp(pattern, prefix, suffix); } catch { return undefined; }
}
