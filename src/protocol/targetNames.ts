/** The other direction of adapterMath: from a set of ticked modules to the shortest keys that match exactly that set. */
import { matchedModules, matchesSuffix, patternValue, type AdapterSettings } from './adapterMath';
import type { ModuleInfo } from './engine';
import type { SettingChange } from './experiment';

/** The changes of an experiment file with which exactly the ticked modules are targets. */
export function targetChanges(model: Parameters<typeof matchedModules>[0], lora: AdapterSettings, ticked: ReadonlySet<string>): SettingChange[] {
  const target_modules = shortestTargets(ticked, model.modules);
  // A module that `exclude_modules` names can be ticked only if it is no longer excluded.
  const excluded = lora.exclude_modules !== null && matchedModules(model, { ...lora, target_modules, layers_to_transform: null }).length < ticked.size;
  // The names say by themselves which layers are meant.
  const removed = [...excluded ? ['exclude_modules'] : [], ...lora.layers_to_transform === null ? [] : ['layers_to_transform', 'layers_pattern']];
  return [{ path: ['lora', 'target_modules'], value: target_modules }, ...removed.map(key => ({ path: ['lora', key] }))];
}

/**
 * Shortest `target_modules` that match exactly the ticked modules: `all-linear`, else the shortest suffixes
 * (`query`; `0.attention.self.query` where only some layers are ticked).
 * `modules` are all modules of the model; names that a suffix would also match, but that are not ticked, rule it out.
 */
export function shortestTargets(ticked: ReadonlySet<string>, modules: readonly ModuleInfo[]): string | string[] {
  const all = modules.filter(m => m.adaptable && !m.saved && m.output !== true && m.type !== 'Embedding');
  if (all.length > 0 && ticked.size === all.length && all.every(m => ticked.has(m.name))) return 'all-linear';
  return shortestSuffixes(ticked, modules.map(m => m.name));
}

/** Shortest suffixes of dotted names that cover `chosen` and nothing else of `names`, in the order of `names`. */
export function shortestSuffixes(chosen: ReadonlySet<string>, names: readonly string[]): string[] {
  const suffixes: string[] = [];
  for (const name of names) {
    if (!chosen.has(name) || suffixes.some(suffix => matchesSuffix(name, suffix))) continue;
    suffixes.push(shortestSuffix(name, chosen, names));
  }
  return suffixes;
}

function shortestSuffix(name: string, chosen: ReadonlySet<string>, names: readonly string[]): string {
  const parts = name.split('.');
  for (let count = 1; count < parts.length; count++) {
    const suffix = parts.slice(-count).join('.');
    // A layer number alone reads as nothing, and `0` would be a suffix of every list.
    if (/^\d+$/.test(suffix)) continue;
    if (names.every(other => chosen.has(other) || !matchesSuffix(other, suffix))) return suffix;
  }
  return name;
}

/**
 * A `rank_pattern` or `alpha_pattern` in which the modules `changed` have the given value and all others keep theirs.
 * Keys that touch no changed module stay as the person wrote them.
 */
export function withPatternValue(
  pattern: Readonly<Record<string, number>>, fallback: number, changed: ReadonlySet<string>, value: number, names: readonly string[],
): Record<string, number> {
  const touches = (key: string): boolean => names.some(name => changed.has(name) && matchesKey(key, name));
  const kept = Object.entries(pattern).filter(([key]) => !touches(key));
  const result = Object.fromEntries(kept);
  const wanted = new Map(names.map(name => [name, changed.has(name) ? value : patternValue(pattern, name, fallback)]));
  const open = names.filter(name => wanted.get(name) !== patternValue(result, name, fallback));
  // A kept key may stand before a new one and win; a name that a kept key matches therefore never needs a new key.
  for (const number of new Set(open.map(name => wanted.get(name)!))) {
    const same = new Set(names.filter(name => wanted.get(name) === number));
    const needed = new Set(open.filter(name => wanted.get(name) === number));
    for (const suffix of coveringSuffixes(needed, same, names)) result[suffix] = number;
  }
  return result;
}

/** Suffixes that cover all of `needed` and nothing outside `allowed`. */
function coveringSuffixes(needed: ReadonlySet<string>, allowed: ReadonlySet<string>, names: readonly string[]): string[] {
  const suffixes: string[] = [];
  for (const name of names) {
    if (!needed.has(name) || suffixes.some(suffix => matchesSuffix(name, suffix))) continue;
    suffixes.push(shortestSuffix(name, allowed, names));
  }
  return suffixes;
}

const matchesKey = (key: string, name: string): boolean => patternValue({ [key]: 1 }, name, 0) === 1;
