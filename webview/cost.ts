/** What the settings on the panel cost, before anything is trained. Pure. */
import { countAdapter, ratioPercent, type AdapterCount } from '../src/protocol/adapterMath';
import type { MemoryMeasurement } from '../src/protocol/engine';
import type { ExperimentValues, ModelView } from '../src/protocol/panel';
import { fittingChanges, type FittingChange } from '../src/protocol/fittingChanges';
import { deviceOf, isGpu, neededMemory, TRUSTED, type MemoryNeed, type MemoryView } from '../src/protocol/memory';
import type { MemorySettings } from '../src/protocol/memoryEstimate';

export interface Cost {
  count: AdapterCount;
  /** Trainable share in percent, as PEFT prints it. */
  percent: number;
  memory: MemoryCost;
  groups: { id: 'adapters' | 'saved' | 'frozen'; label: string; parameters: number }[];
}

export interface MemoryCost extends MemoryNeed {
  /** It is the memory of a GPU. */
  onGpu: boolean;
  /** Memory that the run can have; null where it is not known. */
  available: number | null;
  /** Changes that make it fit, if it does not. */
  changes: FittingChange[];
  /** Bytes that `gradient_checkpointing` saves, or would. */
  recomputed: number;
}

/** Counts, size and memory of an experiment on its model. */
export function costOf(model: ModelView, values: ExperimentValues, memory?: MemoryView): Cost {
  const count = countAdapter(model, values.lora);
  const adapters = count.adapters.reduce((sum, adapter) => sum + adapter.parameters, 0);
  return {
    count,
    percent: ratioPercent(count.trainable_parameters, count.all_parameters),
    memory: memoryOf(model, values, memory),
    groups: [
      { id: 'adapters', label: 'Adapters A and B', parameters: adapters },
      { id: 'saved', label: values.lora.full ? 'The whole model is trained' : `Trained whole: ${count.saved.join(', ') || 'none'}`, parameters: count.trainable_parameters - adapters },
      { id: 'frozen', label: 'Frozen base', parameters: values.lora.full ? 0 : model.base_parameters },
    ],
  };
}

function memoryOf(model: ModelView, values: ExperimentValues, memory: MemoryView | undefined): MemoryCost {
  const need = neededMemory(model, values, memory);
  const gpu = gpuOf(values, memory);
  const device = deviceOf(values, memory);
  const available = !memory ? null : device === 'cpu' ? memory.available_bytes : gpu?.device_memory_bytes ?? null;
  // A step that took too much says that the need was taken for too small, not by how much.
  const limit = available !== null && memory?.held?.exceeded ? Math.min(available, (1 - TRUSTED) * need.total) : available;
  const changes = limit === null || need.total <= limit ? [] : fittingChanges(values, limit, (other: MemorySettings) => neededMemory(model, other, memory).total, { device, half_precision: gpu?.half_precision });
  const { gradient_checkpointing } = values.training;
  const other = neededMemory(model, { ...values, training: { ...values.training, gradient_checkpointing: !gradient_checkpointing } }, memory);
  return { ...need, available, changes, onGpu: isGpu(device), recomputed: (gradient_checkpointing ? 1 : -1) * (other.estimate.total - need.estimate.total) };
}

/** What the newest step or run told of the GPU that it ran on; its own memory is what a run can have there. TensorFlow's executor holds memory as it likes. */
const gpuOf = (values: ExperimentValues, memory: MemoryView | undefined): MemoryMeasurement | undefined =>
  memory?.measured.find(({ settings, result }) => settings.engine.device === values.engine.device && result.device_memory_bytes !== null)?.result;

/** Trainable share at each rank, everything else as it is. The count grows linearly with the rank, so two counts give all. */
export function ratioByRank(model: ModelView, values: ExperimentValues, ranks: readonly number[]): { rank: number; trainable: number; percent: number }[] {
  const at = (r: number): AdapterCount => countAdapter(model, { ...values.lora, r });
  const [first, second] = [at(1), at(2)];
  const slope = second.trainable_parameters - first.trainable_parameters;
  return ranks.map(rank => {
    const trainable = first.trainable_parameters + (rank - 1) * slope;
    return { rank, trainable, percent: ratioPercent(trainable, model.base_parameters + trainable) };
  });
}
