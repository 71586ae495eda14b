/**
 * The keys of PEFT 0.21's LoraConfig that `SETTINGS.lora` does not have, with PEFT's defaults. In an experiment any other value is
 * refused by name; in adapter_config.json only those are passed over that never change what a trained adapter computes (`inert`).
 */
export interface LoraField {
  readonly default: unknown;
  /** Values beside the default that mean the same here. */
  readonly also?: readonly unknown[];
  /** In an adapter the value does not matter. */
  readonly inert?: true;
  /** What to do instead of setting it in an experiment. */
  readonly instead: string;
}

const remove = 'remove it';
const inPython = 'remove it, or train with PEFT in Python';
const unsupported = (value: unknown = null): LoraField => ({ default: value, instead: inPython });
const recorded = (value: unknown, instead: string): LoraField => ({ default: value, inert: true, instead });

export const LORA_FIELDS: Readonly<Record<string, LoraField>> = {
  // What PEFT records of a trained adapter.
  task_type: { default: null, instead: 'set "task" at the top of the experiment' },
  peft_type: { default: null, also: ['LORA'], instead: 'remove it: every adapter here is a LORA' },
  base_model_name_or_path: recorded(null, 'set "base_model" at the top of the experiment'),
  revision: recorded(null, remove),
  auto_mapping: recorded(null, remove),
  peft_version: recorded(null, remove),
  inference_mode: recorded(false, remove),
  // It follows from the base: PEFT corrects a wrong value, too.
  fan_in_fan_out: { default: false, also: [true], inert: true, instead: remove },
  // Of starts and libraries that other keys would have to turn on.
  megatron_config: unsupported(),
  megatron_core: recorded('megatron.core', inPython),
  qalora_group_size: recorded(16, inPython),
  eva_config: recorded(null, inPython),
  loftq_config: unsupported({}),
  corda_config: unsupported(),
  lora_ga_config: unsupported(),
  runtime_config: { default: { ephemeral_gpu_offload: false }, instead: remove },
  // Other ways to compute.
  alora_invocation_tokens: unsupported(),
  arrow_config: unsupported(),
  ensure_weight_tying: { default: false, instead: 'remove it: adapters on embeddings leave a tied output layer as it is, trained tokens reach it' },
  kasa_config: unsupported(),
  layer_replication: unsupported(),
  monteclora_config: unsupported(),
  target_parameters: unsupported(),
  use_bdlora: unsupported(),
  use_qalora: unsupported(false),
  velora_config: unsupported(),
};

/** True for the values of a field that stand for "not used". */
export function isDefault(field: LoraField, value: unknown): boolean {
  const json = JSON.stringify(value);
  return value === null || [field.default, ...field.also ?? []].some(possible => JSON.stringify(possible) === json);
}
