/** What the settings on the panel cost, before anything is trained. Pure. */
import { countAdapter, ratioPercent, type AdapterCount } from '../src/protocol/adapterMath';
import type { ExperimentValues, ModelView } from '../src/protocol/panel';
import { fittingChanges, type FittingChange } from '../src/protocol/fittingChanges';
import { neededMemory, type MemoryEstimate, type MemorySettings, type MemoryView } from '../src/protocol/memory';

export interface Cost {
  count: AdapterCount;
  /** Trainable share in percent, as PEFT prints it. */
  percent: number;
  memory: MemoryCost;
  groups: { id: 'adapters' | 'saved' | 'frozen'; label: string; parameters: number }[];
}

export interface MemoryCost {
  estimate: MemoryEstimate;
  /** The estimate, corrected if a step was measured. */
  total: number;
  /** A step was measured with these settings, or with others. */
  measured: 'this' | 'other' | false;
  /** Memory that the run can have; null where it is not known. */
  available: number | null;
  /** Changes that make it fit, if it does not. */
  changes: FittingChange[];
}

/** Counts, size and memory of an experiment on its model. */
export function costOf(model: ModelView, values: ExperimentValues, memory?: MemoryView): Cost {
  const count = countAdapter(model, values.lora);
  const adapters = count.adapters.reduce((sum, adapter) => sum + adapter.parameters, 0);
  return {
    count,
    percent: ratioPercent(count.trainable_parameters, count.all_parameters),
    memory: memoryOf(model, count.trainable_parameters, values, memory),
    groups: [
      { id: 'adapters', label: 'Adapters A and B', parameters: adapters },
      { id: 'saved', label: values.lora.full ? 'The whole model is trained' : `Trained whole: ${count.saved.join(', ') || 'none'}`, parameters: count.trainable_parameters - adapters },
      { id: 'frozen', label: 'Frozen base', parameters: values.lora.full ? 0 : model.base_parameters },
    ],
  };
}

function memoryOf(model: ModelView, trainable: number, values: ExperimentValues, memory: MemoryView | undefined): MemoryCost {
  const need = neededMemory(model, trainable, values, memory);
  const available = availableBytes(values, memory);
  const changes = available === null || need.total <= available ? [] : fittingChanges(values, available, (other: MemorySettings) => neededMemory(model, trainable, other, memory).total);
  return { ...need, available, changes };
}

/** What is free on the machine; of a GPU its own memory, known once a step ran on it. */
function availableBytes({ engine: { device } }: ExperimentValues, memory: MemoryView | undefined): number | null {
  if (!memory) return null;
  const ran = memory.measured?.result;
  if (ran && !ran.device.startsWith('cpu')) return ran.device_memory_bytes;
  return device === 'auto' || device === 'cpu' ? memory.available_bytes : null;
}

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
