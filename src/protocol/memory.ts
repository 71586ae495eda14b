/** What a run will need in memory: the estimate from shapes, corrected by what was measured. Pure. */
import type { ErrorReport, MemoryMeasurement } from './engine';
import type { ExperimentValues } from './panel';
import { estimateMemory, type MemoryEstimate, type MemoryModel, type MemorySettings } from './memoryEstimate';

/** What a step or a run needed, and the settings that it ran with. */
export interface MeasuredMemory {
  settings: MemorySettings;
  result: MemoryMeasurement;
  /** One step with the longest examples, or a whole run with all that it has beside its steps. */
  of: 'step' | 'run';
}

/** What the host knows of memory. */
export interface MemoryView {
  /** Memory of this machine that is free now. */
  available_bytes: number;
  /** A step is being measured: because somebody asked, or before a run that may not fit. */
  measuring: false | 'asked' | 'start';
  /** The GPU that it is measured on does not answer: it is slow, or hangs. */
  silent: ErrorReport | null;
  /** Everything measured of this checkpoint and data, the newest first. */
  measured: MeasuredMemory[];
  /** A run that was not started, because it would not have fitted. */
  held: HeldRun | null;
}

/** `measured`: the need is that of a step or a run. `exceeded`: a step was ended before it took what was left of the memory. */
export interface HeldRun { needed: number; available: number; measured: boolean; exceeded: boolean }

/** The formula is right to this share: a need that is nearer to what is free is worth measuring before a run. */
export const TRUSTED = 0.15;

export interface MemoryNeed {
  estimate: MemoryEstimate;
  total: number;
  /** These settings were measured, or others, from which the estimate is corrected. */
  measured: 'this' | 'other' | false;
  /** The record behind it. */
  record: MeasuredMemory | undefined;
}

/**
 * What a run needs. What was measured with the same settings is taken as it is; of other settings the newest record moves the estimate by
 * what it needed more or less than its own estimate. Of a GPU its own memory is meant; where no measurement tells that, the estimate is all that is known.
 */
export function neededMemory(model: MemoryModel, values: MemorySettings, memory: Pick<MemoryView, 'measured'> | undefined): MemoryNeed {
  const own = settingsOf(values);
  const device = deviceOf(values, memory);
  const on = <T extends MemorySettings>(settings: T): T => ({ ...settings, engine: { ...settings.engine, device } });
  const usable = memory?.measured.filter(({ settings, result }) => settings.base_model === values.base_model && settings.task === values.task && settings.engine.device === values.engine.device && measuredOn(device, result) !== null) ?? [];
  const record = usable.find(({ settings }) => sameMemory(settings, own)) ?? usable[0];
  const longest = record?.result.longest ?? Infinity;
  const same = record !== undefined && sameMemory(record.settings, own);
  // A step that was cut to max_length says nothing of longer texts.
  const known = record && (same || longest < record.settings.training.max_length) ? longest : Infinity;
  // Packed rows are as many as their length allows.
  const rows = same || !own.training.packing && !record?.settings.training.packing ? record?.result.rows : undefined;
  const estimate = estimateMemory({ ...model, rows }, on(values), known);
  if (!record) return { estimate, total: estimate.total, measured: false, record };
  const then = estimateMemory({ ...model, rows: record.result.rows }, on(record.settings), longest);
  const total = estimate.total + measuredOn(device, record.result)! - then.total + (record.of === 'step' ? then.beside : 0);
  return { estimate, total: Math.max(0, total), measured: same ? 'this' : 'other', record };
}

/** Bytes that were measured where a run computes: of the process, unless it held the base in float32 before, or of the GPU's own memory. Null if it ran elsewhere, or nothing told. */
export function measuredOn(device: MemorySettings['engine']['device'], result: MemoryMeasurement): number | null {
  if (!result.device.startsWith(device)) return null;
  if (device === 'cpu') return result.peak_with_fp32 ? null : result.peak_memory_bytes;
  return isGpu(device) ? result.gpu_memory_bytes ?? null : null;
}

/** Whether it is a GPU whose memory can be computed. TensorFlow's executor holds memory as it likes. */
export const isGpu = (device: MemorySettings['engine']['device']): boolean => device === 'webgpu' || device === 'cuda';

/** Where a run computes: `auto` is what it was the last time, else the CPU, since nobody asks before a run. */
export function deviceOf({ engine: { device } }: Pick<MemorySettings, 'engine'>, memory: Pick<MemoryView, 'measured'> | undefined): MemorySettings['engine']['device'] {
  if (device !== 'auto') return device;
  const ran = memory?.measured.find(({ settings }) => settings.engine.device === 'auto')?.result.device;
  return (['webgpu', 'cuda'] as const).find(name => ran?.startsWith(name)) ?? 'cpu';
}

/** Only what memory depends on, in one order. Alpha, seeds and rates change nothing. */
export function settingsOf({ task, base_model, engine, lora, training, sweep }: Pick<ExperimentValues, 'task' | 'base_model' | 'engine' | 'lora' | 'training' | 'sweep'> | MemorySettings): MemorySettings {
  const { device, precision, prefix_cache, prefix_cache_mb, without = [] } = engine;
  const { per_device_train_batch_size, max_length, gradient_checkpointing, num_train_epochs = 1, max_steps = -1, gradient_accumulation_steps = 1, predict_with_generate, max_target_length, packing } = training;
  return {
    task, base_model, engine: { device, precision, prefix_cache, prefix_cache_mb, ...(without.length ? { without } : {}) },
    // Every epoch after the second finds the same in memory.
    training: { per_device_train_batch_size, max_length, gradient_checkpointing, num_train_epochs: Math.min(2, num_train_epochs), max_steps, gradient_accumulation_steps, predict_with_generate, ...(max_target_length == null ? {} : { max_target_length }), ...(packing ? { packing } : {}) },
    lora: {
      full: lora.full, r: lora.r, lora_alpha: 0, target_modules: lora.target_modules, exclude_modules: lora.exclude_modules, rank_pattern: lora.rank_pattern, modules_to_save: lora.modules_to_save,
      layers_to_transform: lora.layers_to_transform, layers_pattern: lora.layers_pattern, trainable_token_indices: lora.trainable_token_indices, use_dora: lora.use_dora, lora_bias: lora.lora_bias, bias: lora.bias,
      init_lora_weights: lora.init_lora_weights, lora_dropout: lora.lora_dropout,
    },
    ...(sweep ? { sweep } : {}),
  };
}

/** Whether two settings of `settingsOf` take the same memory, but for what a kept prefix may add: steps beyond the first epoch take no more. */
export const sameMemory = (a: MemorySettings, b: MemorySettings): boolean => keyOf(a) === keyOf(b);

const keyOf = ({ training, ...others }: MemorySettings): string =>
  JSON.stringify({ ...others, training: { ...training, max_steps: Math.min(1, training.max_steps ?? -1), gradient_accumulation_steps: undefined } });
