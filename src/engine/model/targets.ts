/** Which linear layers and embeddings a LoRA configuration adapts, and with which rank and alpha: PEFT's rules, but nothing is ignored silently. */
import { LabError } from '../errors';
import { isInLayers, isSavedBy, layerOf, matchesSuffix, scalingOf } from '../../protocol/adapterMath';
import { nearestNames, type LoraSettings } from '../../protocol/experiment';
import type { AdaptedModule } from './lora.types';
import { fullMatcher, pythonRegExp } from '../../protocol/pythonRegExp';
import { OUTPUT_LAYER } from './trainedTokens';

export interface AdaptableModule {
  name: string;
  in_features: number;
  out_features: number;
  fan_in_fan_out?: boolean;
  /** An embedding, which only its name adapts: `all-linear` leaves it out. */
  embedding?: true;
  /** An embedding that is the output layer too (tie_word_embeddings). */
  tied?: true;
  /** The frozen weight's name, where it is not `<name>.weight`. */
  weight?: string;
  /** The output layer over the vocabulary: `all-linear` leaves it out, as PEFT does. */
  output?: boolean;
}

/** Whose settings they are. */
export interface PlanOptions {
  /** An adapter's that is there already: as to PEFT, an entry counts for nothing that matches nothing while others match. An experiment's must all match. */
  stored?: boolean;
}

/** What decides which modules are adapted. */
export type TargetSettings = Pick<LoraSettings, 'r' | 'lora_alpha' | 'use_rslora' | 'target_modules' | 'exclude_modules' | 'layers_to_transform' | 'layers_pattern' | 'rank_pattern' | 'alpha_pattern' | 'modules_to_save' | 'init_adapter'>;

/**
 * The adapted modules, in the order of `modules` (all linear layers and embeddings of the task model).
 * `defaults` stand in for `target_modules: null`; `heads` are trained whole and never adapted, like `modules_to_save`.
 *
 * Errors: `lora.target-not-found` (an entry or expression matches nothing), `lora.target-tied`, `lora.regex-invalid`, `lora.layers`,
 * `lora.rank-too-high`, `lora.rank-invalid`, `lora.pattern-not-found`, `lora.nothing-to-adapt`, `lora.modules-to-save` (trained whole and adapted).
 */
export function matchTargets(modules: readonly AdaptableModule[], lora: TargetSettings, defaults: readonly string[], heads: readonly string[], { stored = false }: PlanOptions = {}): AdaptedModule[] {
  const names = modules.map(module => module.name);
  const whole = [...heads, ...namesOf(lora.modules_to_save)];
  const isWhole = (name: string) => whole.some(saved => isInside(name, saved));
  const isExcluded = matcher(lora.exclude_modules, 'exclude_modules');
  const adaptable = (name: string) => !isWhole(name) && !isExcluded(name);

  const targets = lora.target_modules ?? defaults;
  if (!targets.length) throw new LabError({ code: 'lora.no-default', where: 'lora.target_modules', cause: 'there are no default target_modules for this architecture', action: `name the modules to adapt, e.g. "all-linear", or some of: ${suffixes(names).join(', ')}` });
  const outputs = modules.filter(module => module.output || module.embedding).map(module => module.name);
  const isTarget = isAllLinear(targets) ? (name: string) => !heads.includes(name) && !outputs.includes(name) : matcher(targets, 'target_modules');
  if (!isAllLinear(targets)) {
    const tied = modules.find(module => module.tied);
    if (tied && isTarget(OUTPUT_LAYER) && adaptable(OUTPUT_LAYER)) throw tiedOutput(tied.name);
    if (!stored || !names.some(name => isTarget(name) && !isWhole(name))) checkTargets(targets, names, isWhole);
  }
  const candidates = modules.filter(module => adaptable(module.name) && isTarget(module.name));
  const layers = [lora.layers_to_transform ?? []].flat();
  if (layers.length || lora.layers_pattern !== null) checkLayers(targets, layers, lora.layers_pattern, candidates.map(module => module.name), stored);
  // A full name is no matter of layers.
  const matched = candidates.filter(({ name }) => typeof targets === 'string' || targets.includes(name) || isInLayers(name, lora));
  if (!matched.length) throw new LabError({ code: 'lora.nothing-to-adapt', where: 'lora.target_modules', cause: 'no module is left to adapt', action: `loosen exclude_modules, or target one of: ${suffixes(names).join(', ')}` });

  for (const { name } of matched) {
    const entry = namesOf(lora.modules_to_save).find(saved => isSavedBy(name, saved));
    if (entry !== undefined) throw new LabError({ code: 'lora.modules-to-save', where: 'lora.modules_to_save', cause: `"${entry}" trains ${name} whole, as PEFT compares the ends of names, and an adapter is put on it`, action: 'name the modules to save more exactly, or exclude this one by exclude_modules' });
  }

  if (!stored) for (const key of ['rank_pattern', 'alpha_pattern'] as const) checkPatternKeys(lora[key], key, names);
  return matched.map(module => adapt(module, lora, stored));
}

/** The value that `rank_pattern` or `alpha_pattern` gives a module: that of the first key that matches the end of its name as an expression. */
export function patternValue(pattern: Readonly<Record<string, number>>, name: string, otherwise: number): number {
  const key = Object.keys(pattern).find(candidate => endMatcher(candidate, 'rank_pattern or alpha_pattern').test(name));
  return key === undefined ? otherwise : pattern[key];
}

function adapt({ output: _, tied: __, ...module }: AdaptableModule, lora: TargetSettings, stored: boolean): AdaptedModule {
  const r = patternValue(lora.rank_pattern, module.name, lora.r);
  const lora_alpha = patternValue(lora.alpha_pattern, module.name, lora.lora_alpha);
  const limit = Math.min(module.in_features, module.out_features);
  const where = r === lora.r ? 'lora.r' : 'lora.rank_pattern';
  if (!Number.isSafeInteger(r) || r < 1) throw new LabError({ code: 'lora.rank-invalid', where, cause: `rank ${r} for ${module.name} is not a whole number of at least 1`, action: `give a whole number from 1 to ${limit}` });
  // PEFT trains such adapters, whose rank is what it is, in what is trained on from them too.
  if (r > limit && !stored && lora.init_adapter === null) {
    throw new LabError({ code: 'lora.rank-too-high', where, cause: `rank ${r} is above the smaller dimension of ${module.name}, ${module.out_features} × ${module.in_features}`, action: `give a rank of at most ${limit}` });
  }
  return { ...module, r, lora_alpha, scaling: scalingOf(lora_alpha, r, lora.use_rslora) };
}

const isAllLinear = (targets: string | readonly string[]): boolean => typeof targets === 'string' && targets.toLowerCase() === 'all-linear';
const namesOf = (names: string | readonly string[] | null): readonly string[] => (names === null ? [] : typeof names === 'string' ? [names] : names);

/** True for the saved module itself and for all modules inside of it. PEFT keeps adapters off these, at dots; it saves more than these (isSavedBy). */
export const isInside = (name: string, saved: string): boolean => `.${name}.`.includes(`.${saved}.`);

/** List entries match the end of a name at a dot; a text is an expression for the whole name. */
function matcher(names: string | readonly string[] | null, key: string): (name: string) => boolean {
  if (names === null) return () => false;
  if (typeof names !== 'string') return name => names.some(entry => matchesSuffix(name, entry));
  try { return fullMatcher(names); } catch (error) { throw invalidExpression(names, key, error); }
}

function endMatcher(expression: string, key: string): RegExp {
  try { return pythonRegExp(expression, '(?:.*\\.)?', '$'); } catch (error) { throw invalidExpression(expression, key, error); }
}

const invalidExpression = (expression: string, key: string, error: unknown): LabError => new LabError({
  code: 'lora.regex-invalid', where: `lora.${key}`, cause: `"${expression}" is not a valid regular expression: ${(error as Error).message.replace(/^Invalid regular expression: /, '')}`, action: 'correct the expression, or give a list of module names',
}, { cause: error });

/** What to do where embeddings and output layer are one and should not be. */
export const UNTIED = `use a base that stores an output layer of its own (${OUTPUT_LAYER}.weight, with "tie_word_embeddings": false in config.json)`;

/** PEFT puts an adapter on the one use of the weight as output layer. */
const tiedOutput = (embeddings: string): LabError => new LabError({
  code: 'lora.target-tied', where: 'lora.target_modules', cause: `${OUTPUT_LAYER} is ${embeddings} in this model (tie_word_embeddings), and an adapter on such an output layer is not supported`,
  action: `leave ${OUTPUT_LAYER} out, or ${UNTIED}`,
});

/** Every entry must match at least one module: a name that is misspelt must not be left out unseen. */
function checkTargets(targets: string | readonly string[], names: string[], isWhole: (name: string) => boolean): void {
  for (const target of typeof targets === 'string' ? [targets] : targets) {
    const matches = matcher(typeof targets === 'string' ? target : [target], 'target_modules');
    const found = names.filter(matches);
    if (found.length && !found.every(isWhole)) continue;
    const near = nearestNames(target.slice(0, 200), suffixes(names.filter(name => !isWhole(name))), 3).map(name => `"${name}"`).join(', ');
    const cause = found.length === 0 ? `"${target}" matches no linear layer or embedding of this model`
      : `"${target}" matches only ${found[0]}, which is trained whole (modules_to_save)`;
    throw new LabError({ code: 'lora.target-not-found', where: 'lora.target_modules', cause, action: found.length ? 'remove one of the two' : `did you mean ${near}?` });
  }
}

/** As PEFT, layers are counted only where `target_modules` is a list; unlike PEFT, a layer that is not there is an error in an experiment. */
function checkLayers(targets: string | readonly string[], layers: readonly number[], pattern: LoraSettings['layers_pattern'], names: readonly string[], stored: boolean): void {
  const problem = (key: string, cause: string, action: string): LabError => new LabError({ code: 'lora.layers', where: `lora.${key}`, cause, action });
  if (!layers.length) throw problem('layers_pattern', 'is given without layers_to_transform', 'name the layers, or remove it');
  if (typeof targets === 'string') throw problem('layers_to_transform', `cannot be used with the expression "${targets}"`, 'give target_modules as a list, or name the layers in the expression');
  if (stored) return;
  const found = [...new Set(names.map(name => layerOf(name, pattern)).filter(layer => layer !== undefined))];
  const absent = layers.find(layer => !found.includes(layer));
  if (absent === undefined) return;
  throw problem('layers_to_transform', `no target module lies in a layer ${absent}`, found.length ? `name layers from ${Math.min(...found)} to ${Math.max(...found)}` : 'correct layers_pattern, or remove both');
}

function checkPatternKeys(pattern: Readonly<Record<string, number>>, key: string, names: string[]): void {
  for (const entry of Object.keys(pattern)) {
    const expression = endMatcher(entry, key);
    if (names.some(name => expression.test(name))) continue;
    const near = nearestNames(entry.slice(0, 200), suffixes(names), 3).map(name => `"${name}"`).join(', ');
    throw new LabError({ code: 'lora.pattern-not-found', where: `lora.${key}`, cause: `"${entry}" matches no linear layer or embedding of this model`, action: `did you mean ${near}?` });
  }
}

/** What a person may have meant: the last part of every name, the last two, and the whole name. */
function suffixes(names: readonly string[]): string[] {
  const all = new Set<string>();
  for (const count of [1, 2, Infinity]) {
    for (const name of names) {
      const suffix = name.split('.').slice(-count).join('.');
      if (!/^\d+$/.test(suffix)) all.add(suffix);
    }
  }
  return [...all].slice(0, 2000);
}
