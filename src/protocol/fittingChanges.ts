/** The changes of settings that make a run fit into memory. Pure. */
import type { SettingChange } from './experiment';
import type { MemorySettings } from './memoryEstimate';

/** A change of settings with which a run fits. */
export interface FittingChange { label: string; edits: SettingChange[]; total: number }

/**
 * The smallest change of each kind that brings the need down to `available` bytes: a smaller batch with the accumulation raised so that
 * their product stays, recomputed activations, shorter texts, base weights in fp16 and in int4 where the device may have it. Kinds that cannot are left out. `device` is where the run computes, if `auto` is known
 * to be that; `half_precision`: it is known to compute fp16.
 */
export function fittingChanges(values: MemorySettings & { training: { gradient_accumulation_steps: number } }, available: number, need: (values: MemorySettings) => number, { device = values.engine.device, half_precision = false }: { device?: MemorySettings['engine']['device']; half_precision?: boolean } = {}): FittingChange[] {
  const { training } = values;
  const at = (part: Partial<MemorySettings['training']>): number => need({ ...values, training: { ...training, ...part } });
  const key = (name: string, value: unknown): FittingChange['edits'][number] => ({ path: ['training', name], value });
  const changes: FittingChange[] = [];
  const first = <T>(candidates: T[], total: (candidate: T) => number, change: (candidate: T) => Omit<FittingChange, 'total'>): void => {
    const fits = candidates.find(candidate => total(candidate) <= available);
    if (fits !== undefined) changes.push({ ...change(fits), total: total(fits) });
  };
  const { per_device_train_batch_size: batch, gradient_accumulation_steps: steps, max_length } = training;
  const divisors = Array.from({ length: batch - 1 }, (_, i) => batch - 1 - i).filter(size => batch % size === 0);
  first(divisors, size => at({ per_device_train_batch_size: size }), size => ({
    label: `Batch ${size}, accumulation ${steps * (batch / size)}`, edits: [key('per_device_train_batch_size', size), key('gradient_accumulation_steps', steps * (batch / size))],
  }));
  if (!training.gradient_checkpointing) first([true], () => at({ gradient_checkpointing: true }), () => ({ label: 'Recompute activations', edits: [key('gradient_checkpointing', true)] }));
  const shorter = [0.75, 0.5, 0.375, 0.25, 0.125].map(share => Math.floor(max_length * share)).filter(length => length >= 8);
  first(shorter, length => at({ max_length: length }), length => ({ label: `max_length ${length}`, edits: [key('max_length', length)] }));
  const { precision } = values.engine;
  const rounded = (to: 'fp16' | 'int4'): void => first([to], () => need({ ...values, engine: { ...values.engine, precision: to } }), () => ({ label: `Base weights in ${to}`, edits: [{ path: ['engine', 'precision'], value: to }] }));
  if (precision === 'fp32' && !values.lora.full && device === 'webgpu' && half_precision) rounded('fp16');
  if (precision !== 'int4' && !values.lora.full && !values.lora.use_dora && (device === 'auto' || device === 'cpu' || device === 'webgpu')) rounded('int4');
  return changes;
}
