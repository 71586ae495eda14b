/** Whether an adapter computes with given settings what it was trained to compute. */
import { join } from 'node:path';
import { LabError } from '../errors';
import type { LoraSettings } from '../../protocol/experiment';
import { ADAPTER_CONFIG, checkBase, settingsFromAdapter, type Adapter } from './adapter';
import type { AdapterPlan } from './lora.types';
import { planAdapter } from './lora';
import type { LoadedModel } from './weights';

/** Keys that say how the values are used: with another value they would mean something else. */
const MEANING = ['use_rslora', 'use_dora', 'lora_bias', 'bias', 'trainable_token_indices'] as const;

/** A value as JSON, keys in order. */
const written = (value: unknown): string => JSON.stringify(value, (_, part: unknown) => (typeof part === 'object' && part !== null && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part));

/** Error `adapter.settings` if the adapter's own modules, ranks, scalings or kinds of values differ from the experiment's. */
export function checkAdapterSettings(adapter: Adapter, plan: AdapterPlan, model: LoadedModel, lora: LoraSettings): void {
  const settings = settingsFromAdapter(adapter.config, join(adapter.folder, ADAPTER_CONFIG));
  const differs = (cause: string, keys: string): LabError => new LabError({ code: 'adapter.settings', file: adapter.folder, cause, action: `write the ${keys} of its adapter_config.json into the experiment` });
  for (const key of MEANING) {
    const [then, now] = [settings[key], lora[key]].map(written);
    if (then !== now) throw differs(`the adapter was trained with ${key} ${then}, the experiment has ${now}`, key);
  }
  const own = planAdapter(model, settings, { stored: true });
  const theirs = new Map(own.modules.map(module => [module.name, module]));
  for (const { name, r, lora_alpha } of plan.modules) {
    const module = theirs.get(name);
    if (module && module.r === r && module.lora_alpha === lora_alpha) continue;
    throw differs(module ? `the adapter has r ${module.r} and lora_alpha ${module.lora_alpha} on ${name}, the experiment r ${r} and lora_alpha ${lora_alpha}`
      : `the adapter does not adapt ${name}, the experiment does`, 'r, lora_alpha and target_modules');
  }
  const extra = own.modules.find(({ name }) => !plan.modules.some(module => module.name === name));
  if (extra) throw differs(`the adapter adapts ${extra.name}, the experiment does not`, 'target_modules');
}

/** Error `adapter.task` if the adapter names another task than the one it is to be used for. */
export function checkAdapterTask({ folder, config }: Adapter, task: string): void {
  if (config.task_type == null || config.task_type === task) return;
  throw new LabError({ code: 'adapter.task', file: folder, cause: `the adapter was trained for ${String(config.task_type)}, not for ${task}`, action: 'use an adapter of the same task' });
}

/** What the adapter adapts in this base by its own settings. What of them does not fit is a fault of the pair, not of an experiment. Errors: those of `planAdapter`, `adapter.wrong-base`. */
export function planOf(adapter: Adapter, model: LoadedModel, lora: LoraSettings): AdapterPlan {
  checkBase(adapter, model);
  return onThisBase(adapter, model.folder, () => planAdapter(model, lora, { stored: true }));
}

/** What is not supported is so on the adapter's own base too. */
const OF_THE_ADAPTER = ['lora.target-tied', 'lora.modules-to-save'];

/** Has what `plan` says of settings that do not fit the base say so of the adapter's own. */
export function onThisBase<T>({ folder }: Adapter, base: string, plan: () => T): T {
  try { return plan(); } catch (error) {
    if (!(error instanceof LabError) || error.report.file !== undefined) throw error;
    const { code, where, cause, action } = error.report;
    const file = join(folder, ADAPTER_CONFIG);
    if (OF_THE_ADAPTER.includes(code)) throw new LabError({ code, file, where: where?.replace('lora.', ''), cause, action }, { cause: error });
    throw new LabError({ code, file, where, cause, action: `use the base that the adapter was trained on, or one of its kind; this one is ${base}` }, { cause: error });
  }
}
