/** Target modules as rows of boxes: one row for each kind of linear layer or embedding, whatever the number of layers. Pure. */
import { adapterShape, isSaved, matchedModules } from '../src/protocol/adapterMath';
import type { ModuleInfo } from '../src/protocol/engine';
import type { SettingChange } from '../src/protocol/experiment';
import type { ExperimentValues, ModelView } from '../src/protocol/panel';
import { WHOLE_MODEL } from './actions';
import { targetChanges } from '../src/protocol/targetNames';

export interface TargetKind {
  /** Name inside a layer: `attention.self.query`; the whole name outside of layers. */
  kind: string;
  modules: ModuleInfo[];
  ticked: number;
  /** Parameters that adapters on all modules of this kind add at the present ranks. */
  parameters: number;
}

/** The kinds of modules that an adapter can be put on, in the model's order. */
export function targetKinds(model: ModelView, lora: ExperimentValues['lora']): TargetKind[] {
  const ticked = new Set(matchedModules(model, lora).map(m => m.name));
  const kinds = new Map<string, TargetKind>();
  for (const module of model.modules) {
    if (!module.adaptable || isSaved(module, lora)) continue;
    const kind = module.name.replace(/^.*?\.\d+\./, '');
    const entry = kinds.get(kind) ?? { kind, modules: [], ticked: 0, parameters: 0 };
    entry.modules.push(module);
    entry.ticked += ticked.has(module.name) ? 1 : 0;
    entry.parameters += adapterShape(module, lora).parameters;
    kinds.set(kind, entry);
  }
  return [...kinds.values()];
}

/** The changes of the experiment file that tick or untick all modules of one kind. */
export function tickKind(model: ModelView, lora: ExperimentValues['lora'], kind: string, on: boolean): SettingChange[] {
  const ticked = new Set(matchedModules(model, lora).map(m => m.name));
  for (const module of targetKinds(model, lora).find(entry => entry.kind === kind)?.modules ?? []) {
    if (on) ticked.add(module.name);
    else ticked.delete(module.name);
  }
  return targetChanges(model, lora, ticked);
}

/** `query, value · 8 of 24 linear layers`; without a model only what the file says. */
export function describeTargets(model: ModelView | null, lora: ExperimentValues['lora']): string {
  if (lora.full) return WHOLE_MODEL;
  const targets = lora.target_modules ?? model?.default_target_modules ?? 'default of the architecture';
  const all = typeof targets === 'string' ? targets : targets.length ? targets.join(', ') : 'nothing';
  const names = all.length > 80 ? `${all.slice(0, 79)}…` : all;
  if (!model) return names;
  const kinds = targetKinds(model, lora);
  const [linear, embeddings] = [true, false].map(wanted => kinds.filter(({ modules }) => (modules[0].type === 'Linear') === wanted));
  const ticked = (some: TargetKind[]): number => some.reduce((sum, kind) => sum + kind.ticked, 0);
  const adaptable = linear.reduce((sum, kind) => sum + kind.modules.length, 0);
  const also = ticked(embeddings) ? `, ${ticked(embeddings)} embedding${ticked(embeddings) > 1 ? 's' : ''}` : '';
  return `${names}${lora.target_modules === null ? ' (default)' : ''} · ${ticked(linear)} of ${adaptable} linear layers${also}`;
}
