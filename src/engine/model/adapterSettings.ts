/** Whether an adapter computes with given settings what it was trained to compute. */
import { join } from 'node:path';
import { LabError } from '../errors';
import { ADAPTER_CONFIG, settingsFromAdapter, type Adapter } from './adapter';
import type { AdapterPlan } from './lora.types';
import { planAdapter } from './lora';
import type { LoadedModel } from './weights';

/** Error `adapter.settings` if the adapter's own rank or scaling of a module differs from the plan's: the values would mean something else. */
export function checkAdapterSettings(adapter: Adapter, plan: AdapterPlan, model: LoadedModel): void {
  const own = planAdapter(model, settingsFromAdapter(adapter.config, join(adapter.folder, ADAPTER_CONFIG)));
  const theirs = new Map(own.modules.map(module => [module.name, module]));
  for (const { name, r, lora_alpha } of plan.modules) {
    const module = theirs.get(name);
    if (module && module.r === r && module.lora_alpha === lora_alpha) continue;
    const cause = module ? `the adapter has r ${module.r} and lora_alpha ${module.lora_alpha} on ${name}, the experiment r ${r} and lora_alpha ${lora_alpha}`
      : `the adapter does not adapt ${name}, the experiment does`;
    throw new LabError({ code: 'adapter.settings', file: adapter.folder, cause, action: 'write the r, lora_alpha and target_modules of its adapter_config.json into the experiment' });
  }
  const extra = own.modules.find(({ name }) => !plan.modules.some(module => module.name === name));
  if (extra) throw new LabError({ code: 'adapter.settings', file: adapter.folder, cause: `the adapter adapts ${extra.name}, the experiment does not`, action: 'write the target_modules of its adapter_config.json into the experiment' });
}
