/** What the commands for target modules choose among. Pure. */
import type { ModuleInfo } from '../protocol/engine';

/** The part of a name that attention projections lie in, over all families. */
const ATTENTION = /\.(?:attention|attn|self_attn|SelfAttention|EncDecAttention)\./;

/** The projections of queries, keys, values and output. A table of relative positions, as T5 has in there, is none. */
export const isAttention = ({ name, type }: Pick<ModuleInfo, 'name' | 'type'>): boolean => type === 'Linear' && ATTENTION.test(name);

/** Modules that are called the same within their layers: `attention.self.query`. */
export interface ModuleKind { label: string; description: string; modules: ModuleInfo[]; picked: boolean }

/** The kinds of modules. One of which some modules are ticked is not picked, and says how many are. */
export function kindsOf(modules: readonly ModuleInfo[], ticked: ReadonlySet<string>): ModuleKind[] {
  const kinds = new Map<string, ModuleInfo[]>();
  for (const module of modules) {
    const label = module.name.replace(/^.*?\.\d+\./, '');
    kinds.set(label, [...kinds.get(label) ?? [], module]);
  }
  return [...kinds].map(([label, all]) => {
    const chosen = all.filter(({ name }) => ticked.has(name)).length;
    const some = chosen > 0 && chosen < all.length ? ` · ${chosen} of ${all.length} adapted` : '';
    return { label, modules: all, description: `${all.length} × [${all[0].shape.join(', ')}]${some}`, picked: chosen === all.length };
  });
}

/** What is ticked once kinds were picked that were not, or the other way round. The others keep the modules that they had. */
export function toggled(kinds: readonly ModuleKind[], ticked: ReadonlySet<string>): Set<string> {
  const after = new Set(ticked);
  for (const { picked, modules } of kinds) {
    for (const { name } of modules) {
      if (picked) after.delete(name);
      else after.add(name);
    }
  }
  return after;
}
